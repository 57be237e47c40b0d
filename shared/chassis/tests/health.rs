//! Probes, metrics and shutdown of a whole HTTP side.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use axum::routing::get;
use chassis::health::{Health, Status};
use chassis::http::Api;
use chassis::http::ApiRouter;
use chassis::metrics;
use chassis::service::HttpService;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use support::get as fetch;

async fn bind(health: &Health) -> HttpService {
    let metrics = metrics::install("shop").unwrap();
    let api = Api::new(ApiRouter::new().route("/things/{id}", get(|| async { "{}" })));
    let loopback = SocketAddr::from(([127, 0, 0, 1], 0));
    HttpService::bind(loopback, api, health, &metrics).await.unwrap()
}

async fn start(health: &Health) -> (SocketAddr, CancellationToken, JoinSet<anyhow::Result<()>>) {
    let http = bind(health).await;
    let (addr, stop, mut tasks) = (http.local_addr(), CancellationToken::new(), JoinSet::new());
    tasks.spawn(http.run(stop.clone()));
    (addr, stop, tasks)
}

#[tokio::test]
async fn ready_names_every_dependency_and_why_it_is_down() {
    let health = Health::new();
    health.check("postgres", || async { Ok(()) });
    health.check("rabbitmq", || async { Err("connection refused".to_owned()) });
    let (addr, _stop, _tasks) = start(&health).await;
    assert_eq!(fetch(addr, "/health/live").await.status, 200);
    let ready = fetch(addr, "/health/ready").await;
    let expected = json!({"dependencies": {
        "postgres": {"status": "up"},
        "rabbitmq": {"status": "down", "reason": "connection refused"},
    }});
    assert_eq!(serde_json::from_str::<Value>(&ready.body).unwrap(), expected);
    assert_eq!((ready.status, ready.header("retry-after")), (503, Some("5")));
}

#[tokio::test]
async fn a_process_without_a_dependency_down_is_ready_until_it_stops() {
    let health = Health::new();
    health.check("postgres", || async { Ok(()) });
    let (addr, stop, mut tasks) = start(&health).await;
    assert_eq!(fetch(addr, "/health/ready").await.status, 200);
    stop.cancel();
    tokio::time::timeout(support::PATIENCE, tasks.join_next()).await.unwrap();
    let readiness = health.readiness().await;
    assert!(!readiness.is_ready());
    assert_eq!(readiness.dependencies["process"].reason.as_deref(), Some("shutting down"));
    assert_eq!(readiness.dependencies["postgres"].status, Status::Up);
}

/// "DB down, pool timeout, outbox over cap, shutting down | 503 + Retry-After (never 500)"
#[tokio::test]
async fn who_comes_while_the_process_stops_is_told_to_come_back() {
    let health = Health::new();
    health.check("postgres", || async { Ok(()) });
    let http = bind(&health).await;
    let (addr, late) = (http.local_addr(), http.late());
    let (stop, last) = (CancellationToken::new(), CancellationToken::new());
    let (mut tasks, mut lates) = (JoinSet::new(), JoinSet::new());
    tasks.spawn(http.run(stop.clone()));
    lates.spawn(late.run(last.clone()));
    assert_eq!(fetch(addr, "/things/7").await.status, 200);

    stop.cancel();
    tokio::time::timeout(support::PATIENCE, tasks.join_next()).await.expect("nothing is in flight");
    for path in ["/things/7", "/nothing"] {
        let refused = fetch(addr, path).await;
        assert_eq!((refused.status, refused.code().as_str()), (503, "unavailable"), "{path}");
        assert_eq!(refused.header("retry-after"), Some("5"), "{path}");
    }
    let ready = fetch(addr, "/health/ready").await;
    assert_eq!((ready.status, ready.header("retry-after")), (503, Some("5")));
    assert!(ready.body.contains("shutting down"), "{}", ready.body);
    assert_eq!(fetch(addr, "/health/live").await.status, 200);
    // One request per connection, or a client that asks on and on would hold up the end.
    let kept = b"GET /health/live HTTP/1.1\r\nHost: a\r\n\r\n";
    assert_eq!(support::exchange(addr, kept).await.status, 200);

    last.cancel();
    let ended = tokio::time::timeout(support::PATIENCE, lates.join_next()).await;
    ended.expect("it ends when it is told to").unwrap().unwrap().unwrap();
    assert!(tokio::net::TcpStream::connect(addr).await.is_err(), "the port is free");
}

#[tokio::test]
async fn many_probes_at_once_ask_a_dependency_once() {
    let asked = Arc::new(AtomicUsize::new(0));
    let health = Health::new();
    let count = Arc::clone(&asked);
    health.check("postgres", move || {
        count.fetch_add(1, Ordering::SeqCst);
        async {
            tokio::task::yield_now().await;
            Ok(())
        }
    });
    let probes = (0..50).map(|_| health.readiness());
    let answers = futures_util::future::join_all(probes).await;
    assert!(answers.iter().all(chassis::health::Readiness::is_ready));
    assert_eq!(asked.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn an_old_answer_is_not_given_again() {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let health = Health::with_timing(Duration::from_secs(1), Duration::ZERO);
    health.check("postgres", move || {
        let first = count.fetch_add(1, Ordering::SeqCst) == 0;
        async move { if first { Err("starting".to_owned()) } else { Ok(()) } }
    });
    assert!(!health.readiness().await.is_ready());
    assert!(health.readiness().await.is_ready());
}

#[tokio::test]
async fn who_has_just_become_ready_is_not_taken_for_down_as_long_as_an_answer_serves() {
    let fresh = Duration::from_secs(10);
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let health = Health::with_timing(Duration::from_secs(1), fresh);
    health.check("postgres", move || {
        let first = count.fetch_add(1, Ordering::SeqCst) == 0;
        async move { if first { Err("starting".to_owned()) } else { Ok(()) } }
    });
    let begun = Instant::now();
    while !health.readiness().await.is_ready() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(begun.elapsed() < fresh, "{:?}", begun.elapsed());
    assert!(health.readiness().await.is_ready());
    assert_eq!(asked.load(Ordering::SeqCst), 2, "what is up is not asked again");
}

#[tokio::test]
async fn checks_that_hang_or_panic_are_down_and_hold_up_nothing() {
    let health = Health::with_timing(Duration::from_millis(100), Duration::from_secs(1));
    for name in ["a", "b", "c"] {
        health.check(name, || async {
            std::future::pending::<()>().await;
            Ok(())
        });
    }
    health.check("d", || async { panic!("secret") });
    let begun = Instant::now();
    let readiness = health.readiness().await;
    assert!(begun.elapsed() < Duration::from_secs(2), "the checks run side by side");
    let reason = |name: &str| readiness.dependencies[name].reason.clone().unwrap();
    assert_eq!(reason("a"), "no answer within 100ms");
    assert_eq!(reason("d"), "the check panicked");
}

#[tokio::test]
async fn metrics_carry_the_prefix_and_buckets_for_their_unit() {
    let (addr, _stop, _tasks) = start(&Health::new()).await;
    ::metrics::counter!("probe_things_total").increment(3);
    ::metrics::histogram!("probe_wait_seconds").record(0.003);
    ::metrics::histogram!("probe_chunk").record(5.0);
    assert_eq!(fetch(addr, "/things/7").await.status, 200);
    let scrape = fetch(addr, "/metrics").await;
    assert!(scrape.header("content-type").unwrap().starts_with("text/plain; version=0.0.4"));
    for line in [
        "shop_probe_things_total 3",
        "shop_probe_wait_seconds_bucket{le=\"0.0025\"} 0",
        "shop_probe_wait_seconds_bucket{le=\"0.005\"} 1",
        "shop_probe_chunk_bucket{le=\"8\"} 1",
        "shop_http_request_duration_seconds_count{method=\"GET\",route=\"/things/{id}\",status=\"200\"} 1",
    ] {
        assert!(scrape.body.contains(line), "{line} is missing from\n{}", scrape.body);
    }
}

#[tokio::test]
async fn metrics_install_once_and_refuse_another_prefix() {
    metrics::install("shop").unwrap();
    metrics::install("shop").unwrap();
    let error = metrics::install("other").unwrap_err();
    assert_eq!(error.to_string(), "metrics are installed already with the prefix \"shop\"");
}
