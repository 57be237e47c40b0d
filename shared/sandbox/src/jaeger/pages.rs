//! The pages for a browser: the newest traces, and one trace as bars.

use std::fmt::Write;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use chrono::DateTime;

use super::json::as_text;
use super::normal_id;
use crate::html::{escape, page};
use crate::otlp::{SpanRecord, SpanStatus, TraceStore, TraceSummary, TraceTree, TreeRow, millis};

const SHOWN: usize = 100;
/// Reloads a page whose trace has not arrived: exporters send in batches, seconds later.
const RELOAD: &str = "<meta http-equiv=\"refresh\" content=\"2\">";

const BARS: &str = "<style>.t td{border:0;padding:.1rem .5rem .1rem 0}.t tr:hover{background:#8881}\
.lane{position:relative;width:45%;min-width:16rem;background:linear-gradient(90deg,#8883 1px,transparent 1px) 0 0/25% 100%}\
.bar{position:absolute;top:.35rem;height:.8rem;min-width:2px;border-radius:2px;background:#5b8def}\
.server{background:#3f7de0}.client{background:#8a63d2}.producer{background:#d9822b}.consumer{background:#2e9d6a}\
.gap{background:repeating-linear-gradient(45deg,#8886 0 3px,transparent 3px 6px)}.fail{outline:2px solid #d93025}\
details>div{margin:.2rem 0 .4rem 1rem;font-size:.85rem}summary{cursor:pointer}</style>";

pub(super) async fn index(State(store): State<TraceStore>) -> Response {
    let counters = store.counters();
    let mut body = format!(
        "<h1>Traces</h1><p class=dim>{} traces with {} spans are kept; {} older traces were dropped.</p>",
        store.len(),
        store.span_count(),
        counters.dropped_traces
    );
    body.push_str(
        "<table><tr><th>began (UTC)<th>trace<th>services<th class=num>spans<th class=num>errors\
         <th class=num>ms</tr>",
    );
    for summary in store.newest(SHOWN) {
        listed(&mut body, &summary);
    }
    body.push_str("</table>");
    page(StatusCode::OK, "Traces", "", &body)
}

fn listed(body: &mut String, summary: &TraceSummary) {
    let services: Vec<&str> = summary.services.iter().map(AsRef::as_ref).collect();
    let errors = if summary.errors == 0 { "" } else { " bad" };
    _ = write!(
        body,
        "<tr><td class=num>{}<td><a href=\"/trace/{id}\">{}: {}</a> <span class=dim>{}</span>\
         <td>{}<td class=num>{}<td class=\"num{errors}\">{}<td class=num>{}</tr>",
        utc(summary.start_ns),
        escape(&summary.service),
        escape(&summary.name),
        escape(summary.trace_id.get(..8).unwrap_or(&summary.trace_id)),
        escape(&services.join(", ")),
        summary.spans,
        summary.errors,
        millis(summary.duration_ns),
        id = escape(&summary.trace_id),
    );
}

pub(super) async fn trace(State(store): State<TraceStore>, Path(id): Path<String>) -> Response {
    let Some(id) = normal_id(&id) else {
        return not_found("A trace id is 1 to 32 hexadecimal digits.", "");
    };
    let spans = store.trace(&id);
    if spans.is_empty() {
        return not_found("This trace is not here (yet). The page looks again by itself.", RELOAD);
    }
    let tree = TraceTree::build(spans);
    let title =
        tree.root().map_or_else(|| id.clone(), |root| format!("{}: {}", root.service, root.name));
    let mut body = format!(
        "<p><a href=\"/\">all traces</a></p><h1>{}</h1><p class=dim>{} · began {} UTC · {} spans · {} \
         services · {} ms · <a href=\"/api/traces/{id}\">JSON</a></p>",
        escape(&title),
        escape(&id),
        utc(tree.start_ns()),
        tree.spans().len(),
        tree.services().len(),
        millis(tree.duration_ns()),
    );
    body.push_str("<table class=t>");
    for row in tree.rows() {
        rows(&mut body, &tree, &row);
    }
    body.push_str("</table>");
    page(StatusCode::OK, &title, BARS, &body)
}

pub(super) fn not_found(text: &str, head: &str) -> Response {
    let body = format!("<p><a href=\"/\">all traces</a></p><p>{}</p>", escape(text));
    page(StatusCode::NOT_FOUND, "Not found", head, &body)
}

fn rows(body: &mut String, tree: &TraceTree, row: &TreeRow<'_>) {
    let whole = tree.duration_ns();
    let indent = row.depth.min(40) as f32 * 1.1;
    if let Some(gap) = row.gap_ns {
        let from = row.offset_ns.saturating_sub(gap);
        _ = write!(
            body,
            "<tr class=dim><td style=\"padding-left:{indent}rem\">{}<td class=num>{}<td class=num>{}\
             <td class=lane>{}</tr>",
            row.gap_in,
            millis(from),
            millis(gap),
            bar("gap", from, gap, whole),
        );
    }
    let span = row.span;
    let fail = if span.status.is_error() { " fail" } else { "" };
    let bar = bar(&format!("{}{fail}", span.kind), row.offset_ns, span.duration_ns(), whole);
    _ = write!(
        body,
        "<tr><td style=\"padding-left:{indent}rem\"><details><summary>{}: {} <span class=dim>{}</span>{}\
         </summary>{}</details><td class=num>{}<td class=num>{}<td class=lane>{bar}</tr>",
        escape(&span.service),
        escape(&span.name),
        span.kind,
        if row.parent_missing { " <span class=bad>parent missing</span>" } else { "" },
        details(span),
        millis(row.offset_ns),
        millis(span.duration_ns()),
    );
}

fn bar(class: &str, from_ns: u64, took_ns: u64, whole_ns: u64) -> String {
    let percent = |ns: u64| ns as f64 * 100.0 / whole_ns.max(1) as f64;
    let (left, width) = (percent(from_ns), percent(took_ns));
    format!("<div class=\"bar {class}\" style=\"left:{left:.3}%;width:{width:.3}%\"></div>")
}

fn details(span: &SpanRecord) -> String {
    let mut out = String::from("<div>");
    if let SpanStatus::Error(message) = &span.status {
        _ = write!(out, "<div class=bad>error: {}</div>", escape(message));
    }
    for (key, value) in &span.attributes {
        _ = write!(out, "<div><b>{}</b> {}</div>", escape(key), escape(&as_text(value)));
    }
    for event in &span.events {
        let offset = millis(event.at_ns.saturating_sub(span.start_ns));
        _ = write!(out, "<div>+{offset} ms <b>{}</b>", escape(&event.name));
        for (key, value) in &event.attributes {
            _ = write!(out, " {}={}", escape(key), escape(&as_text(value)));
        }
        out.push_str("</div>");
    }
    for link in &span.links {
        let (trace, id) = (escape(&link.trace_id), escape(&link.span_id));
        _ = write!(out, "<div>link <a href=\"/trace/{trace}\">{trace}</a> {id}</div>");
    }
    _ = write!(out, "<div class=dim>span {}</div></div>", escape(&span.span_id));
    out
}

fn utc(ns: u64) -> String {
    let time = i64::try_from(ns).map(DateTime::from_timestamp_nanos).unwrap_or_default();
    time.format("%Y-%m-%d %H:%M:%S%.3f").to_string()
}
