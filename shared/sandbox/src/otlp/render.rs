//! A trace as text for a terminal.

use std::fmt::Write;

use super::span::{SpanRecord, SpanStatus};
use super::tree::{TraceTree, TreeRow};

/// Deeper levels are shown at this one: a chain of thousands must not make megabytes of blanks.
const MAX_INDENT: usize = 40;

pub(super) fn render(tree: &TraceTree) -> String {
    let Some(first) = tree.spans().first() else { return "no spans\n".to_owned() };
    let mut out = String::new();
    heading(&mut out, tree, &first.trace_id);
    let width = tree.rows().iter().map(|row| label(row).chars().count()).max().unwrap_or_default();
    for row in tree.rows() {
        if let Some(gap_ns) = row.gap_ns {
            let begin = millis(row.offset_ns.saturating_sub(gap_ns));
            let wait = millis(gap_ns);
            let blanks = indent(&row);
            _ = writeln!(out, "{begin:>10}  {wait:>10}  {blanks}┆ {}", row.gap_in);
        }
        line(&mut out, tree, &row, width);
    }
    out
}

fn heading(out: &mut String, tree: &TraceTree, trace_id: &str) {
    let (spans, services) = (tree.spans().len(), tree.services().len());
    let took = millis(tree.duration_ns());
    let many = |count: usize| if count == 1 { "" } else { "s" };
    _ = writeln!(
        out,
        "trace {}  {spans} span{}  {services} service{}  {took} ms",
        printable(trace_id),
        many(spans),
        many(services)
    );
    _ = writeln!(out, "{:>10}  {:>10}", "start ms", "took ms");
}

fn line(out: &mut String, tree: &TraceTree, row: &TreeRow<'_>, width: usize) {
    let span = row.span;
    let (offset, took) = (millis(row.offset_ns), millis(span.duration_ns()));
    let label = label(row);
    let pad = width - label.chars().count();
    _ = write!(out, "{offset:>10}  {took:>10}  {label}{:pad$}  {}", "", span.kind);
    if let SpanStatus::Error(message) = &span.status {
        let colon = if message.is_empty() { "" } else { ": " };
        _ = write!(out, "  ERROR{colon}{}", printable(message));
    }
    if row.parent_missing {
        let parent = span.parent_span_id.as_deref().unwrap_or_default();
        _ = write!(out, "  (parent {} missing)", printable(parent));
    }
    for link in span.links.iter().filter(|link| says_more(link.span_id.as_str(), span)) {
        let here = tree.span(&link.span_id).filter(|other| other.trace_id == link.trace_id);
        _ = match here {
            Some(other) => write!(out, "  ↪ {}", printable(&other.name)),
            None => write!(out, "  ↪ trace {}", printable(&link.trace_id)),
        };
    }
    out.push('\n');
}

/// A link to the parent repeats what the tree shows.
fn says_more(linked: &str, span: &SpanRecord) -> bool {
    span.parent_span_id.as_deref() != Some(linked)
}

fn label(row: &TreeRow<'_>) -> String {
    let (service, name) = (printable(&row.span.service), printable(&row.span.name));
    format!("{}{service}: {name}", indent(row))
}

fn indent(row: &TreeRow<'_>) -> String {
    "  ".repeat(row.depth.min(MAX_INDENT))
}

/// Milliseconds with one decimal; two below a millisecond, where they still tell.
pub(crate) fn millis(ns: u64) -> String {
    let ms = ns as f64 / 1e6;
    if ns > 0 && ns < 1_000_000 { format!("{ms:.2}") } else { format!("{ms:.1}") }
}

/// Control characters made visible: a name that somebody sent must not steer the terminal.
fn printable(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        let steers = c.is_control()
            || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        if steers { out.extend(c.escape_unicode()) } else { out.push(c) }
    }
    out
}
