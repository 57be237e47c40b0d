//! Traces over real sockets: the SDK's own exporter by gRPC, protobuf by HTTP, limits, and the tree.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::net::SocketAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use opentelemetry::trace::{
    Link, SpanBuilder, SpanContext, SpanKind as Kind, Status, TraceContextExt, Tracer,
    TracerProvider,
};
use opentelemetry::{Context, KeyValue};
use opentelemetry_otlp::WithExportConfig;
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SdkTracerProvider;
use prost::Message;
use sandbox::otlp::{Receiver, SpanKind, SpanStatus, StoreLimits, TraceStore, TraceTree};
use tokio_util::sync::CancellationToken;

const DEADLINE: Duration = Duration::from_secs(10);

fn any_port() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

fn zero() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_800_000_000)
}

async fn receiver(limits: StoreLimits) -> (Receiver, CancellationToken) {
    let token = CancellationToken::new();
    let store = TraceStore::new(limits);
    let receiver = Receiver::start(any_port(), any_port(), store, &token).await.unwrap();
    (receiver, token)
}

fn sdk(receiver: &Receiver, service: &'static str) -> SdkTracerProvider {
    let exporter = opentelemetry_otlp::SpanExporter::builder()
        .with_tonic()
        .with_endpoint(format!("http://{}", receiver.grpc_addr()))
        .build()
        .unwrap();
    let resource = Resource::builder_empty().with_service_name(service).build();
    SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource).build()
}

async fn flush(provider: SdkTracerProvider) {
    tokio::task::spawn_blocking(move || provider.shutdown()).await.unwrap().unwrap();
}

/// A span that began and ended so many milliseconds after `zero`.
fn span(
    provider: &SdkTracerProvider,
    parent: &Context,
    builder: SpanBuilder,
    zero: SystemTime,
    (from, to): (u64, u64),
) -> Context {
    let at = |ms| zero + Duration::from_millis(ms);
    let tracer = provider.tracer("test");
    let builder = builder.with_start_time(at(from));
    let context = parent.with_span(tracer.build_with_context(builder, parent));
    context.span().end_with_timestamp(at(to));
    context
}

fn named(name: &'static str, kind: Kind) -> SpanBuilder {
    SpanBuilder::from_name(name).with_kind(kind)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trace_of_two_services_sent_by_grpc_becomes_one_tree_with_its_waits() {
    let (receiver, _token) = receiver(StoreLimits::default()).await;
    let (order, inventory) = (sdk(&receiver, "order"), sdk(&receiver, "inventory"));
    let zero = zero();
    let http = span(&order, &Context::new(), named("POST /orders", Kind::Server), zero, (0, 12));
    let create = span(&order, &http, named("create shop", Kind::Producer), zero, (4, 5));
    span(&order, &create, named("publish shop", Kind::Client), zero, (20, 23));
    let process = named("process shop", Kind::Consumer)
        .with_attributes([KeyValue::new("messaging.system", "rabbitmq"), KeyValue::new("n", 7)])
        .with_links(vec![Link::with_context(create.span().span_context().clone())]);
    let process = span(&inventory, &create, process, zero, (25, 40));
    let trace_id = http.span().span_context().trace_id().to_string();
    drop((http, create, process));
    flush(order).await;
    flush(inventory).await;

    let spans = receiver.store().wait_for(&trace_id, DEADLINE, |s| s.len() == 4).await.unwrap();
    let tree = TraceTree::build(spans);
    assert!(tree.is_connected());
    let root = tree.root().unwrap();
    assert_eq!(
        (&*root.service, root.name.as_str(), root.kind),
        ("order", "POST /orders", SpanKind::Server)
    );
    let create = tree.children(&root.span_id)[0];
    let below: Vec<_> = tree.children(&create.span_id).iter().map(|s| s.name.clone()).collect();
    assert_eq!(below, ["publish shop", "process shop"]);
    let process = tree.find("inventory", "process shop")[0];
    assert_eq!(process.text("messaging.system"), Some("rabbitmq"));
    assert_eq!(process.attributes["n"], 7);
    assert_eq!(process.links[0].span_id, create.span_id);
    assert_eq!(process.duration_ns(), 15_000_000);
    let waits: Vec<_> =
        tree.rows().iter().map(|r| (r.gap_in, r.gap_ns.unwrap_or(0) / 1_000_000)).collect();
    assert_eq!(waits, [("", 0), ("", 0), ("outbox", 15), ("queue", 2)]);
    assert_eq!(receiver.store().services(), ["inventory", "order"]);
    assert_eq!(receiver.store().traces_of("inventory", 10).len(), 1);
    receiver.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_rendered_tree_shows_offsets_waits_errors_and_links_elsewhere() {
    let (receiver, _token) = receiver(StoreLimits::default()).await;
    let order = sdk(&receiver, "order");
    let zero = zero();
    let root = span(&order, &Context::new(), named("POST /orders", Kind::Server), zero, (0, 10));
    let elsewhere = SpanContext::new(
        opentelemetry::trace::TraceId::from(0xabcd_u128),
        opentelemetry::trace::SpanId::from(0x12_u64),
        opentelemetry::TraceFlags::SAMPLED,
        true,
        opentelemetry::trace::TraceState::NONE,
    );
    let failing = named("charge\x1b[31m", Kind::Client)
        .with_start_time(zero + Duration::from_millis(2))
        .with_links(vec![Link::with_context(elsewhere)]);
    let failing = root.with_span(order.tracer("test").build_with_context(failing, &root));
    failing.span().set_status(Status::error("no answer"));
    failing.span().end_with_timestamp(zero + Duration::from_millis(8));
    drop(failing);
    span(&order, &root, named("settle", Kind::Internal), zero, (110, 111));
    let trace_id = root.span().span_context().trace_id().to_string();
    drop(root);
    flush(order).await;
    let spans = receiver.store().wait_for(&trace_id, DEADLINE, |s| s.len() == 3).await.unwrap();

    let text = TraceTree::build(spans).render();
    let expected = format!(
        "trace {trace_id}  3 spans  1 service  111.0 ms\n\
         \x20 start ms     took ms\n\
         \x20      0.0        10.0  order: POST /orders        server\n\
         \x20      2.0         6.0    order: charge\\u{{1b}}[31m  client  ERROR: no answer  \
         ↪ trace 0000000000000000000000000000abcd\n\
         \x20     10.0       100.0    ┆ idle\n\
         \x20    110.0         1.0    order: settle            internal\n"
    );
    assert_eq!(text, expected);
}

fn export(spans: Vec<Span>) -> Vec<u8> {
    let scope_spans = vec![ScopeSpans { spans, ..Default::default() }];
    let resource_spans = vec![ResourceSpans { scope_spans, ..Default::default() }];
    ExportTraceServiceRequest { resource_spans }.encode_to_vec()
}

fn raw_span(trace: u8, span: u8, parent: Option<u8>) -> Span {
    Span {
        trace_id: vec![trace; 16],
        span_id: vec![span; 8],
        parent_span_id: parent.map(|id| vec![id; 8]).unwrap_or_default(),
        name: format!("span {span}"),
        start_time_unix_nano: 1_700_000_000_000_000_000 + u64::from(span),
        end_time_unix_nano: 1_700_000_000_000_000_100,
        ..Span::default()
    }
}

async fn post(receiver: &Receiver, headers: &[(&str, &str)], body: Vec<u8>) -> reqwest::Response {
    let url = format!("http://{}/v1/traces", receiver.http_addr());
    let mut request = reqwest::Client::new().post(url).body(body);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.send().await.unwrap()
}

const PROTOBUF: (&str, &str) = ("content-type", "application/x-protobuf");

#[tokio::test]
async fn protobuf_over_http_is_taken_and_bad_spans_are_reported_back() {
    let (receiver, _token) = receiver(StoreLimits::default()).await;
    let bad = Span { trace_id: vec![], ..raw_span(1, 2, None) };
    let answer = post(&receiver, &[PROTOBUF], export(vec![raw_span(1, 1, None), bad])).await;
    assert_eq!(answer.status(), 200);
    let answer = ExportTraceServiceResponse::decode(answer.bytes().await.unwrap()).unwrap();
    assert_eq!(answer.partial_success.unwrap().rejected_spans, 1);
    let spans = receiver.store().trace(&"01".repeat(16));
    assert_eq!((spans.len(), spans[0].status.clone()), (1, SpanStatus::Unset));
    assert_eq!(receiver.store().counters().malformed_spans, 1);
}

#[tokio::test]
async fn what_is_no_plain_protobuf_is_refused_with_the_reason() {
    let (receiver, _token) = receiver(StoreLimits::default()).await;
    let json = post(&receiver, &[("content-type", "application/json")], b"{}".to_vec()).await;
    assert_eq!(json.status(), 415);
    assert!(json.text().await.unwrap().contains("application/x-protobuf"));
    let gzip = post(&receiver, &[PROTOBUF, ("content-encoding", "gzip")], vec![31, 139]).await;
    assert_eq!(gzip.status(), 415);
    assert!(gzip.text().await.unwrap().contains("compress"));
    assert_eq!(post(&receiver, &[PROTOBUF], b"\xff\xff\xff".to_vec()).await.status(), 400);
    assert!(receiver.store().is_empty());
}

#[tokio::test]
async fn a_batch_that_is_sent_twice_counts_once() {
    let (receiver, _token) = receiver(StoreLimits::default()).await;
    let batch = export(vec![raw_span(1, 1, None), raw_span(1, 2, Some(1))]);
    post(&receiver, &[PROTOBUF], batch.clone()).await;
    post(&receiver, &[PROTOBUF], batch).await;
    assert_eq!(receiver.store().trace(&"01".repeat(16)).len(), 2);
    assert_eq!(receiver.store().counters().duplicate_spans, 2);
}

#[tokio::test]
async fn the_oldest_traces_go_when_there_are_too_many_traces_or_spans() {
    let (receiver, _token) = receiver(StoreLimits { traces: 3, spans: 5 }).await;
    let store = receiver.store();
    for trace in 1..=4 {
        post(&receiver, &[PROTOBUF], export(vec![raw_span(trace, 1, None)])).await;
    }
    assert_eq!((store.len(), store.counters().dropped_traces), (3, 1));
    assert!(store.trace(&"01".repeat(16)).is_empty());
    // The newest trace grows: two older ones make room, then nothing more is left to drop.
    let more = (2..=9).map(|span| raw_span(4, span, Some(1))).collect();
    post(&receiver, &[PROTOBUF], export(more)).await;
    assert_eq!((store.len(), store.span_count()), (1, 5));
    assert_eq!(store.trace(&"04".repeat(16)).len(), 5);
    assert_eq!(store.counters().dropped_spans, 3 + 4);
}

#[tokio::test]
async fn a_missing_parent_and_a_ring_of_parents_lose_no_span() {
    let (receiver, _token) = receiver(StoreLimits::default()).await;
    let spans = vec![
        raw_span(1, 1, None),
        raw_span(1, 2, Some(99)),
        raw_span(1, 3, Some(4)),
        raw_span(1, 4, Some(3)),
        raw_span(1, 5, Some(5)),
    ];
    post(&receiver, &[PROTOBUF], export(spans)).await;
    let tree = TraceTree::build(receiver.store().trace(&"01".repeat(16)));
    assert_eq!(tree.rows().len(), 5);
    assert!(!tree.is_connected());
    let missing: Vec<_> = tree.missing_parents().iter().map(|s| s.name.as_str()).collect();
    assert_eq!(missing, ["span 2"]);
    assert!(tree.render().contains("(parent 6363636363636363 missing)"));
}

#[tokio::test]
async fn waiting_for_a_trace_that_stays_away_says_what_had_come() {
    let (receiver, _token) = receiver(StoreLimits::default()).await;
    post(&receiver, &[PROTOBUF], export(vec![raw_span(1, 1, None)])).await;
    let short = Duration::from_millis(50);
    let waited = receiver.store().wait_for(&"01".repeat(16), short, |s| s.len() == 2).await;
    assert!(waited.unwrap_err().to_string().contains("unknown_service: span 1"));
}

#[tokio::test]
async fn an_occupied_address_is_named_and_the_other_one_is_not_left_open() {
    let (first, _token) = receiver(StoreLimits::default()).await;
    let token = CancellationToken::new();
    let taken = first.http_addr();
    let second = Receiver::start(any_port(), taken, TraceStore::default(), &token).await;
    assert!(second.unwrap_err().to_string().contains(&taken.to_string()));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_token_stops_both_receivers_though_an_exporter_is_connected() {
    let (receiver, token) = receiver(StoreLimits::default()).await;
    let provider = sdk(&receiver, "order");
    let root = span(&provider, &Context::new(), named("x", Kind::Internal), zero(), (0, 1));
    drop(root);
    provider.force_flush().unwrap();
    let (grpc, http) = (receiver.grpc_addr(), receiver.http_addr());
    token.cancel();
    tokio::time::timeout(DEADLINE, receiver.join()).await.unwrap().unwrap();
    for addr in [grpc, http] {
        assert!(tokio::net::TcpStream::connect(addr).await.is_err(), "{addr} is still open");
    }
}
