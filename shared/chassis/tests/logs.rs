//! What a failed request leaves in the log. Alone in its file: the subscriber is one per process.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::io;
use std::sync::{Arc, Mutex};

use axum::routing::get;
use chassis::http::Api;
use chassis::http::ApiRouter;
use chassis::problem::Problem;
use opentelemetry::global;
use opentelemetry_sdk::trace::SdkTracerProvider;
use serde_json::Value;

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

async fn fail() -> Result<(), Problem> {
    tracing::info!("asking the database");
    Err(Problem::unavailable(anyhow::anyhow!("timed out").context("no connection")))
}

#[tokio::test]
async fn the_cause_is_logged_beside_the_trace_id_that_the_client_gets() {
    let lines = Lines::default();
    let writer = lines.clone();
    let log = tracing_subscriber::fmt().json().with_writer(move || writer.clone()).finish();
    tracing::subscriber::set_global_default(log).unwrap();
    global::set_tracer_provider(SdkTracerProvider::builder().build());

    let server = support::start(Api::new(ApiRouter::new().route("/fail", get(fail)))).await;
    let problem = support::get(server.addr, "/fail").await.problem();

    let logged = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
    let line = |text: &str| -> Value {
        let line = logged.lines().find(|line| line.contains(text)).unwrap();
        serde_json::from_str(line).unwrap()
    };
    let failed = line("request failed");
    assert_eq!(failed["fields"]["cause"], "no connection: timed out");
    assert_eq!(failed["fields"]["trace_id"], problem["trace_id"]);
    assert_eq!(failed["fields"]["instance"], problem["instance"].as_str().unwrap()[9..]);
    assert_eq!(line("asking the database")["span"]["trace_id"], problem["trace_id"]);
    assert!(problem["trace_id"].is_string());
}
