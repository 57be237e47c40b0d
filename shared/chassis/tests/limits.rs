//! What a client may send, and what it hears when it sends more, over real sockets.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::routing::{get, post};
use chassis::http::ApiRouter;
use chassis::http::{Api, Json, Limits, Stopping, body_problem, read_body};
use chassis::problem::Problem;
use http::Method;
use http_body_util::BodyExt as _;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::{Notify, Semaphore};

use support::{Answer, PATIENCE, exchange, post_json, request, start};

async fn echo(Json(body): Json<Value>) -> Json<Value> {
    Json(body)
}

/// Reads its body as a stream, as an import does.
async fn count(mut body: Body) -> Result<String, Problem> {
    let mut bytes = 0;
    while let Some(frame) = body.frame().await {
        bytes += frame.map_err(body_problem)?.data_ref().map_or(0, |data| data.len());
    }
    Ok(bytes.to_string())
}

async fn length(body: Body) -> Result<String, Problem> {
    Ok(read_body(body).await?.len().to_string())
}

fn api() -> Api {
    let routes = ApiRouter::new()
        .route("/", get(|| async { "hello" }))
        .route("/echo", post(echo))
        .route("/length", post(length))
        .route("/import", post(count).put(count));
    let patient =
        Limits { head_timeout: PATIENCE * 2, body_timeout: PATIENCE * 2, ..Limits::default() };
    Api::new(routes).body_limit(Method::POST, "/import", 1 << 20).limits(patient)
}

/// One that does not wait long for what trickles.
fn impatient_api() -> Api {
    api().limits(Limits {
        head_timeout: Duration::from_millis(300),
        body_timeout: Duration::from_millis(300),
        ..Limits::default()
    })
}

#[tokio::test]
async fn a_body_of_64_kib_is_taken_and_one_byte_more_is_not() {
    let server = start(api()).await;
    let body = |bytes: usize| format!("\"{}\"", "x".repeat(bytes - 2));
    assert_eq!(post_json(server.addr, "/echo", &body(65_536)).await.status, 200);
    let refused = post_json(server.addr, "/echo", &body(65_537)).await;
    assert_eq!((refused.status, refused.code().as_str()), (413, "payload_too_large"));
}

#[tokio::test]
async fn a_body_that_hides_its_size_is_counted() {
    let server = start(api()).await;
    let chunk = format!("4000\r\n{}\r\n", "x".repeat(0x4000));
    let head = "Host: a\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n";
    let send = |path: &str, chunks: usize| {
        format!("POST {path} HTTP/1.1\r\n{head}{}0\r\n\r\n", chunk.repeat(chunks))
    };
    assert_eq!(exchange(server.addr, send("/length", 4)).await.body, "65536");
    let refused = exchange(server.addr, send("/length", 5)).await;
    assert_eq!((refused.status, refused.code().as_str()), (413, "payload_too_large"));
}

/// Many clients look for an answer only after they have sent everything.
#[tokio::test]
async fn a_client_that_sends_megabytes_before_it_listens_hears_the_refusal() {
    let server = start(api()).await;
    let head = "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 8388608\r\n\r\n";
    let mut client = TcpStream::connect(server.addr).await.unwrap();
    client.write_all(head.as_bytes()).await.unwrap();
    client.write_all(&vec![b'x'; 8 << 20]).await.expect("the server reads on until it is heard");
    let mut answer = Vec::new();
    tokio::time::timeout(PATIENCE, client.read_to_end(&mut answer)).await.unwrap().unwrap();
    let refused = Answer::parse(&answer);
    assert_eq!((refused.status, refused.code().as_str()), (413, "payload_too_large"));
}

#[tokio::test]
async fn one_route_can_take_more_than_the_others() {
    let server = start(api()).await;
    let body = "x".repeat(1 << 20);
    assert_eq!(request(server.addr, "POST", "/import", &[], &body).await.body, "1048576");
    let larger = format!("{body}x");
    for (method, body) in [("POST", &larger), ("PUT", &body)] {
        let refused = request(server.addr, method, "/import", &[], body).await;
        assert_eq!((refused.status, refused.code().as_str()), (413, "payload_too_large"));
    }
}

#[tokio::test]
async fn size_is_judged_before_the_media_type() {
    let server = start(api()).await;
    let plain = ["Content-Type: text/plain"];
    let large = request(server.addr, "POST", "/echo", &plain, &"x".repeat(70_000)).await;
    assert_eq!(large.status, 413);
    let small = request(server.addr, "POST", "/echo", &plain, "{}").await;
    assert_eq!((small.status, small.code().as_str()), (415, "unsupported_media_type"));
}

#[tokio::test]
async fn a_long_uri_is_a_414_however_long_it_is() {
    let server = start(api()).await;
    let path = |bytes: usize| format!("/{}", "a".repeat(bytes - 1));
    assert_eq!(support::get(server.addr, &path(8_192)).await.status, 404);
    for bytes in [8_193, 20_000, 40_000, 300_000] {
        let refused = support::get(server.addr, &path(bytes)).await;
        assert_eq!((refused.status, refused.code().as_str()), (414, "uri_too_long"), "{bytes}");
    }
}

#[tokio::test]
async fn large_headers_are_a_431_however_large_they_are() {
    let server = start(api()).await;
    let with = async |bytes: usize| {
        let header = format!("X-Large: {}", "a".repeat(bytes));
        request(server.addr, "GET", "/", &[&header], "").await
    };
    assert_eq!(with(16_000).await.status, 200);
    for bytes in [16_384, 20_000, 60_000, 300_000] {
        let refused = with(bytes).await;
        assert_eq!(
            (refused.status, refused.code().as_str()),
            (431, "headers_too_large"),
            "{bytes}"
        );
    }
}

#[tokio::test]
async fn a_request_that_is_not_http_is_a_problem_too() {
    let server = start(api()).await;
    for bad in ["GET\r\n\r\n", "G\x01T / HTTP/1.1\r\n\r\n", "GET / HTTP/1.1\r\nno colon\r\n\r\n"] {
        let refused = exchange(server.addr, bad).await;
        assert_eq!(
            (refused.status, refused.code().as_str()),
            (400, "malformed_request"),
            "{bad:?}"
        );
    }
}

#[tokio::test]
async fn a_head_that_trickles_is_a_408_and_an_idle_connection_closes_quietly() {
    let server = start(impatient_api()).await;
    let begun = Instant::now();
    let late = exchange(server.addr, "GET / HTTP/1.1\r\nHost: a\r\n").await;
    assert_eq!((late.status, late.code().as_str()), (408, "request_timeout"));
    assert_eq!(late.header("connection"), Some("close"));
    assert!(begun.elapsed() >= Duration::from_millis(250));
    let mut idle = TcpStream::connect(server.addr).await.unwrap();
    let mut said = Vec::new();
    tokio::time::timeout(PATIENCE, idle.read_to_end(&mut said)).await.unwrap().unwrap();
    assert!(said.is_empty());
}

#[tokio::test]
async fn a_body_that_trickles_is_a_408_and_the_connection_closes() {
    let server = start(impatient_api()).await;
    for path in ["/echo", "/length", "/import"] {
        let head = "Host: a\r\nContent-Type: application/json\r\nContent-Length: 10\r\n\r\n{";
        let late = exchange(server.addr, format!("POST {path} HTTP/1.1\r\n{head}")).await;
        assert_eq!((late.status, late.code().as_str()), (408, "request_timeout"), "{path}");
        assert_eq!(late.header("connection"), Some("close"));
    }
}

#[tokio::test]
async fn several_requests_share_a_connection() {
    let server = start(api()).await;
    let one = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    let last = "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    let answer = exchange(server.addr, format!("{one}{one}{last}")).await;
    assert_eq!(answer.body.matches("HTTP/1.1 200 OK").count(), 2);
}

#[tokio::test]
async fn connections_over_the_cap_wait_for_a_place() {
    let most = Arc::new(AtomicUsize::new(0));
    let now = Arc::new(AtomicUsize::new(0));
    let (seen, inside) = (Arc::clone(&most), Arc::clone(&now));
    let handler = move || {
        let (seen, inside) = (Arc::clone(&seen), Arc::clone(&inside));
        async move {
            seen.fetch_max(inside.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            tokio::task::yield_now().await;
            inside.fetch_sub(1, Ordering::SeqCst);
        }
    };
    let limits = Limits { connections: 2, ..Limits::default() };
    let server = start(Api::new(ApiRouter::new().route("/", get(handler))).limits(limits)).await;
    let clients = (0..20).map(|_| support::get(server.addr, "/"));
    let answers = futures_util::future::join_all(clients).await;
    assert!(answers.iter().all(|answer| answer.status == 200));
    assert!(most.load(Ordering::SeqCst) <= 2);
}

#[tokio::test]
async fn a_stopping_server_finishes_what_it_began_and_accepts_nothing_more() {
    let (begun, release) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (saw, wait) = (Arc::clone(&begun), Arc::clone(&release));
    let handler = move || {
        let (saw, wait) = (Arc::clone(&saw), Arc::clone(&wait));
        async move {
            saw.notify_one();
            wait.notified().await;
            "finished"
        }
    };
    let limits = Limits { drain: PATIENCE * 2, ..Limits::default() };
    let mut server =
        start(Api::new(ApiRouter::new().route("/", get(handler))).limits(limits)).await;
    let mut client = TcpStream::connect(server.addr).await.unwrap();
    client.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    let _never_used = TcpStream::connect(server.addr).await.unwrap();
    begun.notified().await;
    server.stop.cancel();
    let refused = async { while TcpStream::connect(server.addr).await.is_ok() {} };
    tokio::time::timeout(PATIENCE, refused).await.expect("the listener closes at once");
    release.notify_one();
    let mut answer = Vec::new();
    tokio::time::timeout(PATIENCE, client.read_to_end(&mut answer)).await.unwrap().unwrap();
    assert_eq!(Answer::parse(&answer).body, "finished");
    let ended = tokio::time::timeout(PATIENCE, server.tasks.join_next()).await;
    ended.expect("idle connections do not hold up the end").unwrap().unwrap();
}

#[tokio::test]
async fn a_stream_that_listens_for_the_stop_ends_with_it() {
    // The request must be there before the stop is, or the connection counts as never used.
    let begun = Arc::new(Notify::new());
    let saw = Arc::clone(&begun);
    let handler = move |Stopping(stop): Stopping| {
        let saw = Arc::clone(&saw);
        async move {
            saw.notify_one();
            stop.cancelled().await;
            "goodbye"
        }
    };
    let mut server = start(Api::new(ApiRouter::new().route("/", get(handler)))).await;
    let mut client = TcpStream::connect(server.addr).await.unwrap();
    client.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    begun.notified().await;
    server.stop.cancel();
    let mut answer = Vec::new();
    tokio::time::timeout(PATIENCE, client.read_to_end(&mut answer)).await.unwrap().unwrap();
    assert_eq!(Answer::parse(&answer).body, "goodbye");
    tokio::time::timeout(PATIENCE, server.tasks.join_next()).await.unwrap();
}

#[tokio::test]
async fn more_requests_than_can_be_answered_are_told_to_come_back_and_probes_are_not() {
    let (begun, gate) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
    let (saw, wait) = (Arc::clone(&begun), Arc::clone(&gate));
    let handler = move || {
        let (saw, wait) = (Arc::clone(&saw), Arc::clone(&wait));
        async move {
            saw.add_permits(1);
            wait.acquire().await.unwrap().forget();
            "done"
        }
    };
    let limits = Limits { requests: 2, ..Limits::default() };
    let api = Api::new(ApiRouter::new().route("/", get(handler))).limits(limits);
    let probe = axum::Router::new().route("/probe", get(|| async { "here" }));
    let server = start(api.untraced(probe)).await;
    let two =
        async { tokio::join!(support::get(server.addr, "/"), support::get(server.addr, "/")) };
    let third = async {
        begun.acquire_many(2).await.unwrap().forget();
        let refused = support::get(server.addr, "/").await;
        let probed = support::get(server.addr, "/probe").await;
        gate.add_permits(2);
        (refused, probed)
    };
    let both = async { tokio::join!(two, third) };
    let ((one, other), (refused, probed)) =
        tokio::time::timeout(PATIENCE, both).await.expect("nobody waits for ever");
    assert_eq!((one.status, other.status, probed.status), (200, 200, 200));
    assert_eq!((refused.status, refused.code().as_str()), (429, "too_many_requests"));
    assert_eq!(refused.header("retry-after"), Some("1"));
    gate.add_permits(1);
    assert_eq!(support::get(server.addr, "/").await.status, 200, "there is room again");
}

#[tokio::test]
async fn a_request_whose_client_goes_away_is_finished_all_the_same() {
    let (begun, gate) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
    let finished = Arc::new(Semaphore::new(0));
    let (saw, wait, done) = (Arc::clone(&begun), Arc::clone(&gate), Arc::clone(&finished));
    let handler = move || {
        let (saw, wait, done) = (Arc::clone(&saw), Arc::clone(&wait), Arc::clone(&done));
        async move {
            saw.add_permits(1);
            wait.acquire().await.unwrap().forget();
            done.add_permits(1);
            "done"
        }
    };
    let server = start(Api::new(ApiRouter::new().route("/", get(handler)))).await;
    let mut client = TcpStream::connect(server.addr).await.unwrap();
    client.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    begun.acquire().await.unwrap().forget();
    drop(client);
    // The server has noticed when it answers somebody who came later.
    assert_eq!(support::get(server.addr, "/nothing").await.status, 404);
    gate.add_permits(1);
    tokio::time::timeout(PATIENCE, finished.acquire()).await.unwrap().unwrap().forget();
}

#[tokio::test]
async fn many_small_headers_are_no_large_ones() {
    let server = start(api()).await;
    for (count, status) in [(900, 200), (1_100, 431)] {
        let many: Vec<String> = (0..count).map(|n| format!("a{n}: b")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        assert_eq!(request(server.addr, "GET", "/", &many, "").await.status, status, "{count}");
    }
}

#[tokio::test]
async fn a_request_names_its_host_once() {
    let server = start(api()).await;
    for hosts in ["", "Host: a\r\nHost: b\r\n"] {
        let request = format!("GET / HTTP/1.1\r\nConnection: close\r\n{hosts}\r\n");
        let answer = support::exchange(server.addr, request.as_bytes()).await;
        assert_eq!((answer.status, answer.code().as_str()), (400, "malformed_request"), "{hosts}");
    }
}

#[tokio::test]
async fn a_request_that_does_not_end_is_cut_after_the_drain_time() {
    let handler = || std::future::pending::<&str>();
    let limits = Limits { drain: Duration::from_millis(100), ..Limits::default() };
    let api = Api::new(ApiRouter::new().route("/", get(handler))).limits(limits);
    let mut server = start(api).await;
    let mut client = TcpStream::connect(server.addr).await.unwrap();
    client.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    server.stop.cancel();
    tokio::time::timeout(PATIENCE, server.tasks.join_next()).await.unwrap().unwrap().unwrap();
    let mut answer = Vec::new();
    let _ = client.read_to_end(&mut answer).await;
    assert!(answer.is_empty());
}

struct OnDrop(Arc<Notify>);

impl Drop for OnDrop {
    fn drop(&mut self) {
        self.0.notify_one();
    }
}

#[tokio::test]
async fn a_client_that_stops_reading_is_cut_off() {
    let dropped = Arc::new(Notify::new());
    let tell = Arc::clone(&dropped);
    let handler = move || {
        let held = OnDrop(Arc::clone(&tell));
        let endless = futures_util::stream::repeat_with(move || {
            let _ = &held;
            Ok::<_, std::convert::Infallible>(vec![b'x'; 16 << 10])
        });
        std::future::ready(Body::from_stream(endless))
    };
    let limits = Limits { write_timeout: Duration::from_millis(200), ..Limits::default() };
    let server = start(Api::new(ApiRouter::new().route("/", get(handler))).limits(limits)).await;
    let mut client = TcpStream::connect(server.addr).await.unwrap();
    client.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    tokio::time::timeout(PATIENCE, dropped.notified()).await.expect("its answer is let go");
}

#[tokio::test]
async fn a_taken_port_is_explained() {
    let server = start(api()).await;
    let error = chassis::http::Server::bind(server.addr, Limits::default()).await.unwrap_err();
    let text = error.to_string();
    assert!(text.contains(&server.addr.to_string()), "{text}");
    assert!(text.contains("another process holds this port"), "{text}");
}
