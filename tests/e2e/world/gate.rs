//! The way to the payment gateway, on which its replies can be held.

use std::net::{Ipv4Addr, SocketAddr};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// Passes every request on, and the replies while it is open. What was asked for while it is closed
/// is done; only nobody hears of it.
pub struct Gate {
    pub addr: SocketAddr,
    open: watch::Sender<bool>,
}

impl Gate {
    /// An open one before `server`, for as long as the runtime.
    pub async fn before(server: SocketAddr) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let addr = listener.local_addr().unwrap();
        let open = watch::Sender::new(true);
        let state = open.subscribe();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(pass(client, server, state.clone()));
            }
        });
        Self { addr, open }
    }

    /// Holds every reply from now on.
    pub fn close(&self) {
        self.open.send_replace(false);
    }

    /// Lets go what was held.
    pub fn open(&self) {
        self.open.send_replace(true);
    }
}

/// One connection, until both sides have closed it. Either may break it at any time.
async fn pass(client: TcpStream, server: SocketAddr, mut open: watch::Receiver<bool>) {
    let Ok(server) = TcpStream::connect(server).await else { return };
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let (mut requests, mut to_client) = client.into_split();
    let (mut replies, mut to_server) = server.into_split();
    let asking = async {
        let _ = copy(&mut requests, &mut to_server).await;
        let _ = to_server.shutdown().await;
    };
    let answering = async {
        let mut reply = vec![0; 16 << 10];
        while let Ok(length @ 1..) = replies.read(&mut reply).await {
            let held = open.wait_for(|open| *open).await.is_err();
            if held || to_client.write_all(&reply[..length]).await.is_err() {
                break;
            }
        }
        let _ = to_client.shutdown().await;
    };
    tokio::join!(asking, answering);
}
