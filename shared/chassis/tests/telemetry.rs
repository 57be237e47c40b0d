//! Export of spans to a collector that is there, away, or silent.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use chassis::config::{FromSetting as _, HttpUrl};
use chassis::telemetry::{self, Telemetry, TelemetryConfig, TraceSampler};
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

/// Longest time for the end of telemetry: the last export's 3 s, and what a busy machine adds.
/// Without an end by force, the batches in the queue would take minutes.
const END: Duration = Duration::from_secs(20);

/// Starts telemetry and ends 60 000 spans, more than the queue holds.
fn end_many_spans(service: &'static str, collector: Option<SocketAddr>) -> (Telemetry, Duration) {
    let begun = Instant::now();
    let telemetry = telemetry::init(service, &config(collector)).unwrap();
    let tracer = global::tracer("test");
    for number in 0..60_000 {
        tracer.start(format!("span {number}")).end();
    }
    (telemetry, begun.elapsed())
}

/// As [`end_many_spans`], and compares with how long it takes without a collector. A single span that
/// waited for the collector would take as long as an answer may: 5 s.
async fn end_many_spans_without_waiting(service: &'static str, collector: SocketAddr) -> Telemetry {
    let (none, alone) = end_many_spans(service, None);
    none.shutdown().await;
    let (telemetry, took) = end_many_spans(service, Some(collector));
    assert!(took < alone * 10 + Duration::from_secs(3), "{took:?}, and {alone:?} without");
    telemetry
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collector_that_is_down_costs_no_latency_and_the_end_is_bounded() {
    let _turn = TURN.lock().await;
    let (listener, addr) = listener().await;
    drop(listener);
    let metrics = chassis::metrics::install("shop").unwrap();
    let lost = || -> f64 {
        let text = metrics.render();
        let mut lines = text.lines();
        let value = lines.find_map(|line| line.strip_prefix("shop_telemetry_spans_lost_total "));
        value.unwrap_or_else(|| panic!("not there: {text}")).parse().unwrap()
    };
    telemetry::init("down", &config(None)).unwrap().shutdown().await;
    let before = lost();
    let telemetry = end_many_spans_without_waiting("down", addr).await;
    let begun = Instant::now();
    telemetry.shutdown().await;
    assert!(begun.elapsed() < END, "{:?}", begun.elapsed());
    assert!(lost() > before, "{} after {before}", lost());
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
    let telemetry = end_many_spans_without_waiting("silent", addr).await;
    let begun = Instant::now();
    telemetry.shutdown().await;
    assert!(begun.elapsed() < END, "{:?}", begun.elapsed());
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
