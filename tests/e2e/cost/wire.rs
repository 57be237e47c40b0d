//! A way to a server on which everything that passes is counted.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};

/// What was counted, by its name.
pub type Counts = BTreeMap<String, i64>;

/// Reads the bytes of one direction of a connection.
pub trait Reader: Send {
    /// The next bytes, however they were cut.
    fn read(&mut self, bytes: &[u8], counts: &mut Counts);
}

/// The reader of each direction of a new connection: from the client, and to it.
pub type Protocol = fn() -> (Box<dyn Reader>, Box<dyn Reader>);

/// A counting way to a server, for as long as the runtime.
pub struct Wire {
    pub addr: SocketAddr,
    counts: Arc<Mutex<Counts>>,
}

impl Wire {
    pub async fn to(server: SocketAddr, protocol: Protocol) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let addr = listener.local_addr().unwrap();
        let counts = Arc::new(Mutex::default());
        let counted = Arc::clone(&counts);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(pass(client, server, protocol(), Arc::clone(&counted)));
            }
        });
        Self { addr, counts }
    }

    /// Everything so far.
    pub fn counts(&self) -> Counts {
        self.counts.lock().unwrap().clone()
    }
}

async fn pass(
    client: TcpStream,
    server: SocketAddr,
    (out, back): (Box<dyn Reader>, Box<dyn Reader>),
    counts: Arc<Mutex<Counts>>,
) {
    let Ok(server) = TcpStream::connect(server).await else { return };
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let ((from_client, to_client), (from_server, to_server)) =
        (client.into_split(), server.into_split());
    tokio::join!(
        pump(from_client, to_server, out, "bytes out", &counts),
        pump(from_server, to_client, back, "bytes back", &counts),
    );
}

async fn pump(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut reader: Box<dyn Reader>,
    bytes: &str,
    counts: &Mutex<Counts>,
) {
    let mut piece = vec![0; 64 << 10];
    while let Ok(length @ 1..) = from.read(&mut piece).await {
        {
            let mut counts = counts.lock().unwrap();
            add(&mut counts, bytes, length as i64);
            reader.read(&piece[..length], &mut counts);
        }
        if to.write_all(&piece[..length]).await.is_err() {
            break;
        }
    }
    let _ = to.shutdown().await;
}

pub fn add(counts: &mut Counts, what: &str, times: i64) {
    match counts.get_mut(what) {
        Some(count) => *count += times,
        None => drop(counts.insert(what.to_owned(), times)),
    }
}

/// Cuts a stream into frames: so many bytes of head, which tell how long the whole frame is.
pub struct Frames {
    buffer: Vec<u8>,
    head: usize,
    length: fn(&[u8]) -> usize,
}

impl Frames {
    pub fn new(head: usize, length: fn(&[u8]) -> usize) -> Self {
        Self { buffer: Vec::new(), head, length }
    }

    /// Drops so many bytes that are no frame, once they are there. False until then.
    pub fn skip(&mut self, bytes: usize) -> bool {
        let there = self.buffer.len() >= bytes;
        if there {
            self.buffer.drain(..bytes);
        }
        there
    }

    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    pub fn buffered(&self) -> &[u8] {
        &self.buffer
    }

    pub fn next(&mut self) -> Option<Vec<u8>> {
        let head = self.buffer.get(..self.head)?;
        let length = (self.length)(head);
        if self.buffer.len() < length {
            return None;
        }
        Some(self.buffer.drain(..length).collect())
    }
}
