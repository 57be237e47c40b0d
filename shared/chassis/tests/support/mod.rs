//! A server under test, and a client that can misbehave.

// Each test file uses its own part of this.
#![allow(dead_code, unreachable_pub)]

use std::net::SocketAddr;
use std::time::Duration;

use chassis::http::{Api, Server};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Longest wait for anything in a test.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A server on a free port; dropping it cuts it off.
pub struct Running {
    pub addr: SocketAddr,
    pub stop: CancellationToken,
    pub tasks: JoinSet<()>,
}

pub async fn start(api: Api) -> Running {
    let loopback = SocketAddr::from(([127, 0, 0, 1], 0));
    let server = Server::bind(loopback, api.limits_in_force()).await.unwrap();
    let (addr, stop, mut tasks) = (server.local_addr(), CancellationToken::new(), JoinSet::new());
    tasks.spawn(server.serve(api.into_router(), stop.clone()));
    Running { addr, stop, tasks }
}

#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    head: String,
    pub body: String,
}

impl Answer {
    pub fn parse(bytes: &[u8]) -> Self {
        let text = String::from_utf8_lossy(bytes);
        let (head, body) =
            text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no head: {text:?}"));
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Self { status, head: head.to_owned(), body: body.to_owned() }
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().skip(1).filter_map(|line| line.split_once(": "));
        lines.filter(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value).next()
    }

    /// The problem, after checks that hold for every problem.
    pub fn problem(&self) -> Value {
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{self:?}");
        let problem: Value = serde_json::from_str(&self.body).unwrap();
        assert_eq!(problem["status"], self.status, "{self:?}");
        let code = problem["code"].as_str().unwrap();
        assert_eq!(problem["type"], format!("urn:shop:problem:{code}"));
        assert!(problem["title"].is_string() && problem["detail"].is_string());
        let instance = problem["instance"].as_str().unwrap().strip_prefix("urn:uuid:").unwrap();
        assert!(uuid::Uuid::parse_str(instance).is_ok());
        problem
    }

    pub fn code(&self) -> String {
        self.problem()["code"].as_str().unwrap().to_owned()
    }
}

/// Sends the bytes as they are and reads until the server closes. The server may answer, and stop
/// reading, before everything is sent.
pub async fn exchange(addr: SocketAddr, request: impl AsRef<[u8]>) -> Answer {
    let (mut read, mut write) = TcpStream::connect(addr).await.unwrap().into_split();
    let mut answer = Vec::new();
    let both = async {
        let (_, received) =
            tokio::join!(write.write_all(request.as_ref()), read.read_to_end(&mut answer));
        received.unwrap();
    };
    tokio::time::timeout(PATIENCE, both).await.expect("the server closes the connection");
    Answer::parse(&answer)
}

/// A request without a body.
pub async fn get(addr: SocketAddr, path: &str) -> Answer {
    request(addr, "GET", path, &[], "").await
}

pub async fn request(
    addr: SocketAddr,
    method: &str,
    path: &str,
    headers: &[&str],
    body: &str,
) -> Answer {
    let mut head =
        format!("{method} {path} HTTP/1.1\r\nHost: shop.test:80\r\nConnection: close\r\n");
    for header in headers {
        head.push_str(header);
        head.push_str("\r\n");
    }
    if !body.is_empty() {
        head.push_str(&format!("Content-Length: {}\r\n", body.len()));
    }
    exchange(addr, format!("{head}\r\n{body}")).await
}

pub async fn post_json(addr: SocketAddr, path: &str, body: &str) -> Answer {
    request(addr, "POST", path, &["Content-Type: application/json"], body).await
}
