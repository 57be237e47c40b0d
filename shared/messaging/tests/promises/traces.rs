//! One chain of events is one trace, asserted as a tree of what a real exporter sends.

use std::net::SocketAddr;
use std::sync::LazyLock;
use std::time::Duration;

use chrono::TimeDelta;
use messaging::repair::{Asked, Selection};
use messaging::{Cause, Tx, trace};
use opentelemetry::trace::{SpanKind as Kind, TraceContextExt, Tracer, TracerProvider};
use opentelemetry::{Context, global};
use opentelemetry_otlp::WithExportConfig;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{BatchConfigBuilder, BatchSpanProcessor, SdkTracerProvider};
use sandbox::otlp::{Receiver, SpanKind, SpanRecord, TraceStore, TraceTree};
use testkit::eventually;
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

use crate::house::{Dimmed, House, Lit, Mood, Raw, Running, SOON, Service, Switch, Wire};

const LIT: &str = "events:lamp.lit.v1";
const BOOKED: &str = "events:ledger.booked.v1";
const PROCESS: &str = "process events:lamp.lit.v1:ledger.in";

/// A house whose spans are collected. The tracer is the process's: one test per process.
struct Traced {
    house: House,
    store: TraceStore,
    provider: SdkTracerProvider,
    lamp: Service,
    wire: Wire,
    _running: [Running; 2],
    ledger: Service,
}

impl Traced {
    async fn new(switch: &Switch) -> Self {
        let (store, provider) = TELEMETRY.clone();
        let house = House::new().await;
        let lamp = house.lamp().await;
        lamp.provision().await;
        let ledger = house.ledger(switch).await;
        ledger.provision().await;
        let wire = house.wire().await;
        wire.queue("probe", &["ledger.booked.v1"]).await;
        let _running = [lamp.run(), ledger.run()];
        Self { house, store, provider, lamp, wire, _running, ledger }
    }

    /// Tells of a lamp inside a span of the caller's own; returns its trace.
    async fn tell(&self, event: &Lit) -> String {
        let tracer = self.provider.tracer("caller");
        let span = tracer.span_builder("POST /lamps").with_kind(Kind::Server).start(&tracer);
        let request = Context::new().with_span(span);
        let cause = Cause::request(self.lamp.pool.new_id(), request.clone());
        let mut tx = Tx::begin(&self.lamp.pool, cause).await.unwrap();
        tx.publish(event, 1).unwrap();
        tx.commit().await.unwrap();
        request.span().end();
        trace::trace_id(&request).unwrap()
    }

    /// The trace's tree, as soon as it has so many spans.
    async fn tree(&self, trace_id: &str, spans: usize) -> TraceTree {
        let all = self.store.wait_for(trace_id, SOON, |seen| seen.len() >= spans).await;
        let tree = TraceTree::build(all.unwrap_or_else(|timeout| panic!("{timeout}")));
        assert_eq!(tree.spans().len(), spans, "{}", tree.render());
        tree
    }
}

/// One per process, as the tracer is; on a runtime of its own, as it outlives each test's.
static TELEMETRY: LazyLock<(TraceStore, SdkTracerProvider)> = LazyLock::new(|| {
    std::thread::spawn(|| {
        let runtime = Box::leak(Box::new(Runtime::new().unwrap()));
        runtime.block_on(telemetry())
    })
    .join()
    .unwrap()
});

async fn telemetry() -> (TraceStore, SdkTracerProvider) {
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let store = TraceStore::default();
    let receiver =
        Receiver::start(any, any, store.clone(), &CancellationToken::new()).await.unwrap();
    let exporter = opentelemetry_otlp::SpanExporter::builder()
        .with_tonic()
        .with_endpoint(format!("http://{}", receiver.grpc_addr()))
        .build()
        .unwrap();
    let often =
        BatchConfigBuilder::default().with_scheduled_delay(Duration::from_millis(50)).build();
    let processor = BatchSpanProcessor::builder(exporter).with_batch_config(often).build();
    let provider = SdkTracerProvider::builder()
        .with_span_processor(processor)
        .with_resource(Resource::builder_empty().with_service_name("house").build())
        .build();
    global::set_tracer_provider(provider.clone());
    global::set_text_map_propagator(TraceContextPropagator::new());
    (store, provider)
}

/// Each span with its kind, indented under its parent, siblings by name.
fn shape(tree: &TraceTree) -> Vec<String> {
    fn below(tree: &TraceTree, span: &SpanRecord, depth: usize, into: &mut Vec<String>) {
        into.push(format!("{}{} {}", "  ".repeat(depth), span.name, span.kind.as_str()));
        let mut children = tree.children(&span.span_id);
        children.sort_by(|a, b| (&a.name, a.start_ns).cmp(&(&b.name, b.start_ns)));
        children.iter().for_each(|child| below(tree, child, depth + 1, into));
    }
    let mut lines = Vec::new();
    tree.roots().iter().for_each(|root| below(tree, root, 0, &mut lines));
    lines
}

fn only<'a>(tree: &'a TraceTree, name: &str) -> &'a SpanRecord {
    let found = tree.find("house", name);
    assert_eq!(found.len(), 1, "{name} in\n{}", tree.render());
    found[0]
}

fn links_to(span: &SpanRecord, creation: &SpanRecord) -> bool {
    span.links.len() == 1
        && span.links[0].span_id == creation.span_id
        && span.links[0].trace_id == creation.trace_id
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_its_events_and_their_handling_are_one_tree() {
    let traced = Traced::new(&Switch::answering()).await;
    let trace_id = traced.tell(&Lit::new("hall", 1)).await;
    let tree = traced.tree(&trace_id, 6).await;

    let (server, producer, client, consumer) = (
        SpanKind::Server.as_str(),
        SpanKind::Producer.as_str(),
        SpanKind::Client.as_str(),
        SpanKind::Consumer.as_str(),
    );
    let expected = [
        format!("POST /lamps {server}"),
        format!("  create {LIT} {producer}"),
        format!("    {PROCESS} {consumer}"),
        format!("      create {BOOKED} {producer}"),
        format!("        publish {BOOKED} {client}"),
        format!("    publish {LIT} {client}"),
    ];
    assert_eq!(shape(&tree), expected, "{}", tree.render());
    let (create, process) = (only(&tree, &format!("create {LIT}")), only(&tree, PROCESS));
    assert!(links_to(process, create), "{process:?}");
    assert!(only(&tree, &format!("publish {LIT}")).links.is_empty());
    for span in tree.spans() {
        assert!(!span.status.is_error(), "{span:?}");
    }

    let told = traced.wire.take("probe", 1).await.remove(0);
    let booked = only(&tree, &format!("create {BOOKED}"));
    let carried = format!("00-{trace_id}-{}-01", booked.span_id);
    assert_eq!(told.header("traceparent"), Some(carried.clone()));
    let body: serde_json::Value = serde_json::from_slice(&told.body).unwrap();
    assert_eq!(body["traceparent"], carried, "the signed body says the same");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_spans_carry_what_the_conventions_ask_for() {
    let traced = Traced::new(&Switch::new()).await;
    let trace_id = traced.tell(&Lit::new("hall", 1)).await;
    let tree = traced.tree(&trace_id, 4).await;
    for (name, kind, operation, destination) in [
        (format!("create {LIT}"), "create", "create", LIT),
        (format!("publish {LIT}"), "send", "publish", LIT),
        (PROCESS.to_owned(), "process", "process", "events:lamp.lit.v1:ledger.in"),
    ] {
        let span = only(&tree, &name);
        for (key, value) in [
            ("messaging.system", "rabbitmq"),
            ("messaging.operation.type", kind),
            ("messaging.operation.name", operation),
            ("messaging.destination.name", destination),
            ("cloudevents.event_type", "house.lamp.lit.v1"),
            ("cloudevents.event_subject", "lamp/hall"),
        ] {
            assert_eq!(span.text(key), Some(value), "{name}: {key}");
        }
        assert_eq!(span.text("messaging.message.id"), span.text("cloudevents.event_id"));
        assert!(span.text("messaging.message.conversation_id").is_some());
    }
    assert!(
        only(&tree, &format!("publish {LIT}")).attributes["tidings.outbox.wait_ms"].is_number()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_is_another_process_span_of_the_same_trace_and_the_failed_one_says_why() {
    let switch = Switch::new();
    let traced = Traced::new(&switch).await;
    traced.wire.divert("ledger.retry.1s", "resting").await;
    let trace_id = traced.tell(&Lit::with("hall", Mood::Transient)).await;
    let resting = traced.wire.take("resting", 1).await.remove(0);
    switch.heal();
    traced.wire.publish("requeue", "ledger.in", &resting).await;
    let tree = traced.tree(&trace_id, 6).await;
    let create = only(&tree, &format!("create {LIT}"));
    let attempts = tree.find("house", PROCESS);
    assert_eq!(attempts.len(), 2, "{}", tree.render());
    for attempt in &attempts {
        assert_eq!(attempt.parent_span_id.as_ref(), Some(&create.span_id));
        assert!(links_to(attempt, create));
    }
    assert!(attempts[0].status.is_error());
    assert_eq!(attempts[0].text("error.type"), Some("transient"));
    assert!(!attempts[1].status.is_error());
    let copy = only(&tree, "publish ledger.retry.1s");
    assert_eq!(copy.parent_span_id.as_ref(), Some(&attempts[0].span_id));
    assert!(links_to(copy, create) && !copy.status.is_error(), "{}", tree.render());
    assert_eq!(copy.kind.as_str(), SpanKind::Client.as_str());
    assert_eq!(copy.text("messaging.message.id"), Some(resting.id().as_str()));
    assert_eq!(
        (copy.text("messaging.operation.type"), copy.text("messaging.operation.name")),
        (Some("send"), Some("publish")),
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_is_parked_says_so_in_its_trace() {
    let traced = Traced::new(&Switch::new()).await;
    let trace_id = traced.tell(&Lit::with("hall", Mood::Permanent)).await;
    let tree = traced.tree(&trace_id, 5).await;
    let (process, copy) = (only(&tree, PROCESS), only(&tree, "publish ledger.dlq"));
    assert_eq!(process.text("error.type"), Some("permanent"));
    assert_eq!(copy.parent_span_id.as_ref(), Some(&process.span_id));
    assert!(links_to(copy, only(&tree, &format!("create {LIT}"))), "{}", tree.render());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_is_handled_much_later_starts_a_trace_of_its_own_with_a_link_back() {
    let switch = Switch::answering();
    let traced = Traced::new(&switch).await;
    traced.wire.divert("ledger.retry.1s", "resting").await;
    // It was told, and the ledger gets to it two hours later.
    let trace_id = traced.tell(&Lit::with("hall", Mood::Transient)).await;
    let resting = traced.wire.take("resting", 1).await.remove(0);
    switch.heal();
    traced.house.clock.set(TimeDelta::hours(2));
    traced.wire.publish("requeue", "ledger.in", &resting).await;
    // Its answer is not in the first trace.
    let late = eventually(SOON, || async {
        let back = |span: &SpanRecord| span.links.iter().any(|link| link.trace_id == trace_id);
        let fits = |span: &SpanRecord| span.trace_id != trace_id && back(span);
        traced.store.traces_with("house", 1, fits).pop()
    })
    .await;
    let late = traced.tree(&late[0].trace_id, 3).await;
    assert_ne!(late.root().unwrap().trace_id, trace_id);
    let (producer, client) = (SpanKind::Producer.as_str(), SpanKind::Client.as_str());
    let expected = [
        format!("{PROCESS} {}", SpanKind::Consumer.as_str()),
        format!("  create {BOOKED} {producer}"),
        format!("    publish {BOOKED} {client}"),
    ];
    assert_eq!(shape(&late), expected, "{}", late.render());

    // Told, published, handled in vain.
    let first = TraceTree::build(traced.store.trace(&trace_id));
    let create = only(&first, &format!("create {LIT}"));
    assert!(links_to(late.root().unwrap(), create));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_is_linked_to_where_its_event_was_told_and_keeps_its_chain() {
    let switch = Switch::answering();
    let traced = Traced::new(&switch).await;
    let trace_id = traced.tell(&Lit::with("hall", Mood::Permanent)).await;
    let ledger = &traced.ledger;
    eventually(SOON, || async { ledger.dead_letters().await.len() == 1 }).await;
    switch.heal();
    traced.house.clock.set(TimeDelta::hours(2));
    let asked = Asked { by: "grace", note: "" };
    ledger.repair().replay(&Selection::All, 50, asked).await.unwrap().unwrap();

    let name = format!("create {LIT}");
    let told = |seen: &[SpanRecord]| seen.iter().any(|span| span.name == name);
    let first = traced.store.wait_for(&trace_id, SOON, told).await.unwrap();
    let create = first.iter().find(|span| span.name == name).unwrap();
    let chain = create.text("messaging.message.conversation_id");
    for name in ["publish ledger.in", PROCESS] {
        let late = eventually(SOON, || async {
            let fits = |span: &SpanRecord| span.name == name && span.trace_id != trace_id;
            traced.store.traces_with("house", 1, fits).pop()
        })
        .await;
        let span = late.iter().find(|span| span.name == name).unwrap();
        assert!(span.parent_span_id.is_none() && links_to(span, create), "{span:?}");
        assert_eq!(span.text("messaging.message.conversation_id"), chain);
    }
    let told = traced.wire.take("probe", 1).await.remove(0);
    let body: serde_json::Value = serde_json::from_slice(&told.body).unwrap();
    assert_eq!(body["correlationid"].as_str(), chain);
    assert_eq!(body["causationid"].as_str(), create.text("cloudevents.event_id"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_waits_for_its_route_shows_every_attempt() {
    let traced = Traced::new(&Switch::new()).await;
    let tracer = traced.provider.tracer("caller");
    let request = Context::new().with_span(tracer.start("POST /lamps"));
    let cause = Cause::request(traced.lamp.pool.new_id(), request.clone());
    let mut tx = Tx::begin(&traced.lamp.pool, cause).await.unwrap();
    tx.publish(&Dimmed { lamp: "hall".into(), n: 1 }, 1).unwrap();
    tx.commit().await.unwrap();
    request.span().end();
    eventually(SOON, || async { traced.lamp.pending().await.iter().any(|row| row.2 >= 1) }).await;
    traced.wire.bind("probe", "lamp.dimmed.v1").await;
    traced.wire.take("probe", 1).await;

    let trace_id = trace::trace_id(&request).unwrap();
    let published = |spans: &[SpanRecord]| {
        spans.iter().any(|span| span.name.starts_with("publish") && !span.status.is_error())
    };
    let spans = traced.store.wait_for(&trace_id, SOON, published).await.unwrap();
    let tree = TraceTree::build(spans);
    let attempts = tree.find("house", "publish events:lamp.dimmed.v1");
    let (failed, last) = attempts.split_at(attempts.len() - 1);
    assert!(!failed.is_empty(), "{}", tree.render());
    for attempt in failed {
        assert!(attempt.status.is_error());
        assert_eq!(attempt.text("error.type"), Some("unroutable"));
    }
    assert!(!last[0].status.is_error());
    assert_eq!(tree.find("house", "create events:lamp.dimmed.v1").len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_handled_in_one_chunk_stay_in_their_own_traces() {
    let traced = Traced::new(&Switch::answering()).await;
    let mut traces = Vec::new();
    for n in 0..20 {
        traces.push(traced.tell(&Lit::new(format!("lamp-{n}"), 1)).await);
    }
    let booked = format!("publish {BOOKED}");
    for trace_id in &traces {
        let told = |seen: &[SpanRecord]| seen.len() >= 6 && seen.iter().any(|s| s.name == booked);
        let spans = traced.store.wait_for(trace_id, SOON, told).await;
        let tree = TraceTree::build(spans.unwrap_or_else(|timeout| panic!("{timeout}")));
        // A chunk that lost a race is handled again, in the same traces.
        let create = only(&tree, &format!("create {LIT}"));
        let attempts = tree.find("house", PROCESS);
        assert!(attempts.iter().all(|attempt| links_to(attempt, create)), "{}", tree.render());
        let handled: Vec<_> = attempts.iter().filter(|span| !span.status.is_error()).collect();
        assert_eq!(handled.len(), 1, "{}", tree.render());
        assert_eq!(tree.children(&handled[0].span_id)[0].name, format!("create {BOOKED}"));
        only(&tree, &booked);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_without_a_trace_is_handled_in_a_trace_of_its_own() {
    let traced = Traced::new(&Switch::new()).await;
    let raw = Raw::of(&Lit::new("hall", 1), 1);
    traced.wire.publish("events", "lamp.lit.v1", &raw).await;
    let trace = eventually(SOON, || async {
        let id = raw.id();
        let this = |span: &SpanRecord| span.text("messaging.message.id") == Some(&id);
        traced.store.traces_with("house", 1, this).pop()
    })
    .await;
    let tree = TraceTree::build(trace);
    let process = only(&tree, PROCESS);
    assert!(process.parent_span_id.is_none() && process.links.is_empty(), "{}", tree.render());
}
