//! A replica that listens and follows, and clients that hold a stream of it open.

use std::net::SocketAddr;
use std::time::Duration;

use chassis::http::{Limits, Server};
use feed::Follower;
use order::App;
use order::presentation::http::api;
use serde_json::Value;
use testkit::eventually;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::SOON;

/// A process of the service, as far as streams need it.
pub struct Replica {
    pub app: App,
    pub addr: SocketAddr,
    pub stop: CancellationToken,
    pub running: JoinSet<()>,
}

impl Replica {
    pub async fn start(app: &App) -> Self {
        Self::with(app, Limits::default(), Duration::from_secs(15)).await
    }

    pub async fn with(app: &App, limits: Limits, heartbeat: Duration) -> Self {
        let app = App { feed: app.feed.with_heartbeat(heartbeat), ..app.clone() };
        let server = Server::bind(([127, 0, 0, 1], 0).into(), limits).await.unwrap();
        let (addr, stop) = (server.local_addr(), CancellationToken::new());
        let mut running = JoinSet::new();
        let api = api().with_state(app.clone()).limits(limits);
        running.spawn(server.serve(api.into_router(), stop.clone()));
        running.spawn(Follower::new(app.feed.clone()).run(stop.clone()));
        let begun = || async { Client::open(addr, "/orders/events", None).await.status == 200 };
        eventually(SOON, begun).await;
        let replica = Self { app, addr, stop, running };
        replica.wait_for_readers(0).await;
        replica
    }

    pub async fn open(&self, path: &str) -> Client {
        Client::open(self.addr, path, None).await
    }

    pub async fn resume(&self, path: &str, last_id: &str) -> Client {
        Client::open(self.addr, path, Some(last_id)).await
    }

    /// Waits until so many streams are live here.
    pub async fn wait_for_readers(&self, count: usize) {
        let look = || async {
            let readers = self.app.feed.readers();
            if readers == count { Ok(()) } else { Err(format!("{readers} readers")) }
        };
        eventually(SOON, look).await;
    }

    pub async fn end(mut self) {
        self.stop.cancel();
        while let Some(ended) = self.running.join_next().await {
            ended.unwrap();
        }
    }
}

#[derive(Debug, Clone, PartialEq)]
pub struct Told {
    pub id: i64,
    pub data: Value,
}

impl Told {
    pub fn status(&self) -> &str {
        self.data["status"].as_str().unwrap()
    }

    pub fn order(&self) -> String {
        self.data["order_id"].as_str().unwrap().to_owned()
    }
}

/// A client that has its answer's head.
pub struct Client {
    pub status: u16,
    pub head: String,
    socket: BufReader<TcpStream>,
    text: String,
    /// The server said that the stream is over, and did not only close it.
    pub ended: bool,
}

impl Client {
    pub async fn open(addr: SocketAddr, path: &str, last_id: Option<&str>) -> Self {
        Self::on(TcpStream::connect(addr).await.unwrap(), path, last_id).await
    }

    /// One that leaves little room for what it has not read.
    pub async fn narrow(addr: SocketAddr, path: &str) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4 << 10).unwrap();
        Self::on(socket.connect(addr).await.unwrap(), path, None).await
    }

    async fn on(socket: TcpStream, path: &str, last_id: Option<&str>) -> Self {
        let mut socket = BufReader::with_capacity(512, socket);
        let resume = last_id.map(|id| format!("Last-Event-ID: {id}\r\n")).unwrap_or_default();
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: a\r\nAccept: text/event-stream\r\n{resume}\r\n");
        socket.write_all(request.as_bytes()).await.unwrap();
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            let line = timeout(SOON, socket.read_line(&mut head)).await.unwrap();
            assert!(line.unwrap() > 0, "closed within the head: {head}");
        }
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Self { status, head: head.to_lowercase(), socket, text: String::new(), ended: false }
    }

    /// What stands before the next empty line; none when the stream is over.
    pub async fn block(&mut self) -> Option<String> {
        loop {
            if let Some((block, rest)) = self.text.split_once("\n\n") {
                let (block, rest) = (block.to_owned(), rest.to_owned());
                self.text = rest;
                return Some(block);
            }
            let chunk = timeout(SOON, self.chunk()).await.expect("something is told");
            self.text.push_str(&chunk?);
        }
    }

    async fn chunk(&mut self) -> Option<String> {
        let mut size = String::new();
        self.socket.read_line(&mut size).await.ok()?;
        let size = usize::from_str_radix(size.trim_end(), 16).ok()?;
        let mut chunk = vec![0; size + 2];
        self.socket.read_exact(&mut chunk).await.ok()?;
        self.ended = size == 0;
        chunk.truncate(size);
        (!self.ended).then(|| String::from_utf8(chunk).unwrap())
    }

    /// The next event; none when the stream is over.
    pub async fn next(&mut self) -> Option<Told> {
        loop {
            let block = self.block().await?;
            if block == ":" {
                continue;
            }
            let lines: Vec<&str> = block.lines().collect();
            let [event, id, data] = lines[..] else { panic!("{block}") };
            assert_eq!(event, "event: status");
            let id = id.strip_prefix("id: ").unwrap().parse().unwrap();
            let data = serde_json::from_str(data.strip_prefix("data: ").unwrap()).unwrap();
            return Some(Told { id, data });
        }
    }

    pub async fn take(&mut self, count: usize) -> Vec<Told> {
        let mut told = Vec::new();
        while told.len() < count {
            told.push(self.next().await.expect("the stream goes on"));
        }
        told
    }

    /// Everything up to the end.
    pub async fn rest(&mut self) -> Vec<Told> {
        let mut told = Vec::new();
        while let Some(next) = self.next().await {
            told.push(next);
        }
        told
    }
}
