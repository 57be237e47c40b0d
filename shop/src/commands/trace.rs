//! `shop trace`: everything that an order set in motion, as a tree.

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use envelope::Clock;
use sandbox::jaeger::spans_from_json;
use sandbox::otlp::{SpanStatus, TraceTree};
use serde::Serialize;
use uuid::Uuid;

use crate::commands::client::{
    Addresses, CallError, Http, OrderApi, OrderDocument, Patience, duration,
};
use crate::{Exit, Output};

/// How long a service may be away.
const PATIENCE: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(100);
/// A trace without a new span for so long is whole: several times what exporters wait.
const STILL: Duration = Duration::from_millis(800);

const EXAMPLES: &str = "\
Examples:
  shop trace 0192f0c4-7a1e-7c55-b6a4-3f1d2b9e0c11
  shop trace 0192f0c4-7a1e-7c55-b6a4-3f1d2b9e0c11 -o json

A line with a bar is a wait: in the outbox, between the commit and the publish, or in a queue.";

/// `shop trace`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The order's id
    #[arg(value_name = "ORDER")]
    order: Uuid,
    /// How long to wait for the order's end and for late spans
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = duration)]
    wait: Duration,
    #[command(flatten)]
    addresses: Addresses,
}

/// Prints the trace.
///
/// # Errors
/// When the order is not known, has no trace, or the trace view does not answer.
pub async fn run(args: Args, out: &Output) -> anyhow::Result<Exit> {
    let until = Instant::now() + args.wait;
    let api = OrderApi::new(args.addresses.order())?;
    let waiting = out.spinner("waiting for the order and its spans");
    let order = ended(&api, args.order, until).await?;
    let Some(trace_id) = order.trace_id else {
        bail!("order {} was placed without a trace (is OTEL_TRACES_SAMPLER off?)", args.order);
    };
    let traces = Traces(Http::new(args.addresses.traces())?);
    let tree = traces.whole(&trace_id, until).await?;
    waiting.finish_and_clear();
    let answer = Answer::new(args.order, &tree, args.addresses.trace_page(&trace_id));
    out.answer(&answer, || format!("{}\n{}", tree.render(), answer.url))?;
    Ok(if tree.is_connected() { Exit::Done } else { Exit::Partly })
}

/// The order, when it has ended or the time is over.
async fn ended(api: &OrderApi, id: Uuid, until: Instant) -> anyhow::Result<OrderDocument> {
    let clock = Clock::system();
    loop {
        let (order, _) = Patience::of(&clock, PATIENCE).repeat(|| api.order(id)).await;
        let order = match order {
            Err(CallError::Refused { problem, .. }) if problem.status == 404 => {
                bail!("no order {id} is known")
            }
            order => order?,
        };
        if order.status.is_terminal() || Instant::now() >= until {
            return Ok(order);
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// A client of Jaeger's query API.
struct Traces(Http);

impl Traces {
    /// The trace, when no more spans come or the time is over. What follows an order's end (mail,
    /// audit) comes after it, and exporters send late.
    async fn whole(&self, trace_id: &str, until: Instant) -> anyhow::Result<TraceTree> {
        let mut tree = self.tree(trace_id).await?;
        let mut grew = Instant::now();
        loop {
            let now = Instant::now();
            let still = now.duration_since(grew) >= STILL && tree.is_connected();
            if still || now >= until {
                break;
            }
            tokio::time::sleep(PAUSE).await;
            let seen = self.tree(trace_id).await?;
            if seen.spans().len() != tree.spans().len() {
                grew = Instant::now();
            }
            tree = seen;
        }
        if tree.spans().is_empty() {
            bail!("trace {trace_id} is not in the trace view: not sampled, or forgotten");
        }
        Ok(tree)
    }

    /// What has arrived of the trace, perhaps nothing.
    async fn tree(&self, trace_id: &str) -> anyhow::Result<TraceTree> {
        let request = || self.0.send_raw(self.0.get(&format!("/api/traces/{trace_id}")));
        let (answer, _) = Patience::of(&Clock::system(), PATIENCE).repeat(request).await;
        let spans = match answer {
            Ok((_, body)) => spans_from_json(&body)?,
            Err(CallError::Refused { problem, .. }) if problem.status == 404 => Vec::new(),
            Err(error) => return Err(error).context("cannot read the trace"),
        };
        Ok(TraceTree::build(spans))
    }
}

/// The answer for machines.
#[derive(Debug, Serialize)]
struct Answer {
    order_id: Uuid,
    trace_id: String,
    url: String,
    /// One root, and no parent is missing but that of a client.
    connected: bool,
    services: Vec<String>,
    took_ms: f64,
    spans: Vec<Row>,
}

/// A span, in the order in which the tree is read.
#[derive(Debug, PartialEq, Serialize)]
struct Row {
    depth: usize,
    service: String,
    name: String,
    kind: &'static str,
    offset_ms: f64,
    took_ms: f64,
    /// The wait before it, where work was handed over.
    #[serde(skip_serializing_if = "Option::is_none")]
    wait_ms: Option<f64>,
    /// Where: `outbox`, `queue` or `idle`.
    #[serde(skip_serializing_if = "Option::is_none")]
    waited_in: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

impl Answer {
    fn new(order_id: Uuid, tree: &TraceTree, url: String) -> Self {
        let first = tree.spans().first();
        Self {
            order_id,
            trace_id: first.map(|span| span.trace_id.clone()).unwrap_or_default(),
            url,
            connected: tree.is_connected(),
            services: tree.services().into_iter().map(str::to_owned).collect(),
            took_ms: millis(tree.duration_ns()),
            spans: rows(tree),
        }
    }
}

fn rows(tree: &TraceTree) -> Vec<Row> {
    let row = |row: sandbox::otlp::TreeRow<'_>| Row {
        depth: row.depth,
        service: row.span.service.to_string(),
        name: row.span.name.clone(),
        kind: row.span.kind.as_str(),
        offset_ms: millis(row.offset_ns),
        took_ms: millis(row.span.duration_ns()),
        wait_ms: row.gap_ns.map(millis),
        waited_in: row.gap_ns.map(|_| row.gap_in),
        error: match &row.span.status {
            SpanStatus::Error(message) => Some(message.clone()),
            _ => None,
        },
    };
    tree.rows().into_iter().map(row).collect()
}

fn millis(ns: u64) -> f64 {
    // Jaeger keeps microseconds; more digits would be invented.
    (ns / 1_000) as f64 / 1e3
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    /// An order's first steps, as Jaeger tells them: written, 0.8 ms in the outbox, published.
    const TRACE: &str = r#"{"data":[{"traceID":"0af7651916cd43dd","processes":
        {"p1":{"serviceName":"order","tags":[]},"p2":{"serviceName":"inventory","tags":[]}},
         "spans":[
        {"traceID":"0af7651916cd43dd","spanID":"a1","operationName":"POST /orders",
         "references":[],"startTime":1000000,"duration":4000,"processID":"p1",
         "tags":[{"key":"span.kind","type":"string","value":"server"}]},
        {"traceID":"0af7651916cd43dd","spanID":"a2",
         "operationName":"create events:order.placed.v1","startTime":1001000,"duration":200,
         "references":[{"refType":"CHILD_OF","traceID":"0af7651916cd43dd","spanID":"a1"}],
         "processID":"p1","tags":[{"key":"span.kind","type":"string","value":"producer"}]},
        {"traceID":"0af7651916cd43dd","spanID":"a3",
         "operationName":"publish events:order.placed.v1","startTime":1002000,"duration":900,
         "references":[{"refType":"CHILD_OF","traceID":"0af7651916cd43dd","spanID":"a2"}],
         "processID":"p1","tags":[{"key":"span.kind","type":"string","value":"client"}]},
        {"traceID":"0af7651916cd43dd","spanID":"a4",
         "operationName":"process inventory.in","startTime":1003500,"duration":2500,
         "references":[{"refType":"CHILD_OF","traceID":"0af7651916cd43dd","spanID":"a2"}],
         "processID":"p2","tags":[{"key":"span.kind","type":"string","value":"consumer"}]}]}]}"#;

    #[test]
    fn the_wait_in_the_outbox_is_a_stretch_of_its_own() {
        let tree = TraceTree::build(spans_from_json(TRACE.as_bytes()).unwrap());
        let answer = Answer::new(Uuid::nil(), &tree, "http://here/trace/0af7".into());
        assert!(answer.connected);
        assert_eq!((answer.took_ms, answer.services.len()), (6.0, 2));
        let waits: Vec<_> = answer
            .spans
            .iter()
            .map(|row| (row.depth, row.name.as_str(), row.wait_ms, row.waited_in))
            .collect();
        assert_eq!(
            waits,
            [
                (0, "POST /orders", None, None),
                (1, "create events:order.placed.v1", None, None),
                (2, "publish events:order.placed.v1", Some(0.8), Some("outbox")),
                (2, "process inventory.in", Some(0.6), Some("queue")),
            ]
        );
        let text = tree.render();
        let outbox = text.lines().find(|line| line.contains("outbox")).unwrap();
        assert!(outbox.contains("0.80") && outbox.contains('┆'), "{text}");
    }
    /// The same, placed by a client that sent its own trace along.
    fn placed_within_a_trace(kind: &str) -> TraceTree {
        let parent =
            r#""references":[{"refType":"CHILD_OF","traceID":"0af7651916cd43dd","spanID":"b1"}]"#;
        let trace = TRACE.replacen(r#""references":[]"#, parent, 1).replacen("server", kind, 1);
        TraceTree::build(spans_from_json(trace.as_bytes()).unwrap())
    }

    #[test]
    fn the_span_of_a_client_is_not_missed() {
        let tree = placed_within_a_trace("server");
        assert!(Answer::new(Uuid::nil(), &tree, String::new()).connected);
        assert!(!tree.render().contains("missing"), "{}", tree.render());
    }

    #[test]
    fn the_parent_of_anything_else_is_missed() {
        let tree = placed_within_a_trace("consumer");
        assert!(!Answer::new(Uuid::nil(), &tree, String::new()).connected);
        assert!(tree.render().contains("(parent b1 missing)"), "{}", tree.render());
    }
}
