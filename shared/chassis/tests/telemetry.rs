//! Export of spans to a collector that is there, away, or silent.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use chassis::config::{FromSetting as _, HttpUrl};
use chassis::telemetry::{self, TelemetryConfig, TraceSampler};
use opentelemetry::global;
use opentelemetry::trace::{Span as _, Tracer as _};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use tokio::net::TcpListener;
use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinSet;
use tonic::{Request, Response, Status};

/// The tracer provider is one per process, so these tests take turns.
static TURN: Mutex<()> = Mutex::const_new(());

fn config(collector: Option<SocketAddr>) -> TelemetryConfig {
    let otlp_endpoint =
        collector.map(|addr| HttpUrl::from_setting(&format!("http://{addr}")).unwrap());
    TelemetryConfig {
        otlp_endpoint,
        schedule_delay: Duration::from_millis(20),
        environment: "test".to_owned(),
        ..TelemetryConfig::default()
    }
}

async fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    (listener, addr)
}

/// Ends 60 000 spans, more than the queue holds. A span that waited for the collector would take as
/// long as a connection or an answer may, and one batch in a hundred would be enough to show it.
fn end_many_spans_without_waiting() {
    let tracer = global::tracer("test");
    let begun = Instant::now();
    let one = |number: u32| {
        let mut span = tracer.start(format!("span {number}"));
        let begun = Instant::now();
        span.end();
        begun.elapsed()
    };
    let mut took: Vec<Duration> = (0..60_000).map(one).collect();
    let all = begun.elapsed();
    took.sort();
    let p99 = took[took.len() * 99 / 100];
    assert!(p99 < Duration::from_millis(1), "p99 {p99:?}");
    assert!(all < Duration::from_secs(5), "all {all:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collector_that_is_down_costs_no_latency_and_the_end_is_bounded() {
    let _turn = TURN.lock().await;
    let (listener, addr) = listener().await;
    drop(listener);
    let metrics = chassis::metrics::install("shop").unwrap();
    let begun = Instant::now();
    let telemetry = telemetry::init("down", &config(Some(addr))).unwrap();
    assert!(begun.elapsed() < Duration::from_secs(2));
    end_many_spans_without_waiting();
    let begun = Instant::now();
    telemetry.shutdown().await;
    assert!(begun.elapsed() < Duration::from_secs(6), "{:?}", begun.elapsed());
    let lost = metrics.render();
    assert!(lost.contains("shop_telemetry_spans_lost_total"), "{lost}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collector_that_never_answers_costs_no_latency_either() {
    let _turn = TURN.lock().await;
    let (listener, addr) = listener().await;
    let mut silent = JoinSet::new();
    silent.spawn(async move {
        let mut held = Vec::new();
        while let Ok((stream, _)) = listener.accept().await {
            held.push(stream);
        }
    });
    let telemetry = telemetry::init("silent", &config(Some(addr))).unwrap();
    end_many_spans_without_waiting();
    let begun = Instant::now();
    telemetry.shutdown().await;
    assert!(begun.elapsed() < Duration::from_secs(6), "{:?}", begun.elapsed());
}

struct Collector(mpsc::UnboundedSender<ExportTraceServiceRequest>);

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let _ = self.0.send(request.into_inner());
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

async fn collector() -> (SocketAddr, mpsc::UnboundedReceiver<ExportTraceServiceRequest>, JoinSet<()>)
{
    let (listener, addr) = listener().await;
    let (send, received) = mpsc::unbounded_channel();
    let incoming = tonic::transport::server::TcpIncoming::from(listener);
    let service = TraceServiceServer::new(Collector(send));
    let server = tonic::transport::Server::builder().add_service(service);
    let mut tasks = JoinSet::new();
    tasks.spawn(async move { server.serve_with_incoming(incoming).await.unwrap() });
    (addr, received, tasks)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shutdown_sends_the_last_span_with_the_identity_of_the_process() {
    let _turn = TURN.lock().await;
    let (addr, mut received, _tasks) = collector().await;
    let config = TelemetryConfig { schedule_delay: Duration::from_secs(60), ..config(Some(addr)) };
    let telemetry = telemetry::init("greeter", &config).unwrap();
    global::tracer("test").start("the last one").end();
    telemetry.shutdown().await;
    let export = received.try_recv().expect("exported before shutdown returned");
    let resource = export.resource_spans[0].resource.clone().unwrap();
    let text = |attribute: opentelemetry_proto::tonic::common::v1::KeyValue| match attribute
        .value
        .unwrap()
        .value
    {
        Some(Value::StringValue(text)) => (attribute.key, text),
        other => (attribute.key, format!("{other:?}")),
    };
    let resource: HashMap<String, String> = resource.attributes.into_iter().map(text).collect();
    assert_eq!(resource["service.name"], "greeter");
    assert_eq!(resource["deployment.environment.name"], "test");
    assert!(resource.contains_key("service.version"));
    assert!(resource.contains_key("service.instance.id"));
    assert_eq!(export.resource_spans[0].scope_spans[0].spans[0].name, "the last one");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_recording_the_trace_still_has_an_id_that_travels() {
    let _turn = TURN.lock().await;
    let config = TelemetryConfig { sampler: TraceSampler::parent_based(0.0), ..config(None) };
    let telemetry = telemetry::init("quiet", &config).unwrap();
    let span = global::tracer("test").start("unrecorded");
    assert!(span.span_context().is_valid() && !span.span_context().is_sampled());
    telemetry.shutdown().await;
    assert_eq!(telemetry::trace_id(), None);
}
