//! A way to the broker that a test can cut.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

/// Passes connections on to a server.
pub struct Proxy {
    pub port: u16,
    open: Arc<Mutex<JoinSet<()>>>,
    accepting: JoinHandle<()>,
}

impl Proxy {
    pub async fn to(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let open = Arc::new(Mutex::new(JoinSet::new()));
        let accepted = open.clone();
        let accepting = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                accepted.lock().unwrap().spawn(pass(client, server));
            }
        });
        Self { port, open, accepting }
    }

    /// Cuts all connections, wherever they are; returns how many there were.
    pub fn cut(&self) -> usize {
        let mut open = self.open.lock().unwrap();
        while open.try_join_next().is_some() {}
        let cut = open.len();
        open.abort_all();
        cut
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn pass(mut client: TcpStream, server: SocketAddr) {
    let Ok(mut server) = TcpStream::connect(server).await else { return };
    // A cut is a reset, not an orderly end.
    let _ = (client.set_zero_linger(), server.set_zero_linger());
    let _ = copy_bidirectional(&mut client, &mut server).await;
}
