//! What a load came to.

use std::collections::BTreeMap;

use serde::Serialize;
use uuid::Uuid;

use super::catalogue::Prepared;
use super::following::Followed;
use super::placing::Placements;
use super::plan::{Plan, Skipped, Tally};
use super::quantiles::Quantiles;
use crate::commands::client::{OrderDocument, Status};
use crate::output::{Exit, Output, Tone};

/// So many of the orders that did not end are named.
const NAMED: usize = 5;

/// What a load came to.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    orders: Orders,
    products: Prepared,
    rows: Rows,
    /// Requests sent again after a lost connection or a "later".
    repeated_requests: u64,
    /// Seconds from the first request to the last answer.
    placing_s: f64,
    /// Accepted orders per second of placing.
    accepted_per_s: f64,
    /// Orders that ended per second, from the first placed to the last ended.
    ended_per_s: f64,
    /// From sending an order to its answer.
    answer_ms: Quantiles,
    /// From `placed_at` to the terminal status, by the order's own history.
    placed_to_terminal_ms: Quantiles,
    /// The same, of confirmed orders only.
    placed_to_confirmed_ms: Quantiles,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_trouble: Option<String>,
}

#[derive(Debug, Default, Serialize)]
struct Orders {
    planned: usize,
    accepted: usize,
    confirmed: u64,
    /// By reason.
    cancelled: BTreeMap<String, u64>,
    /// By code.
    refused: BTreeMap<String, u64>,
    unanswered: u64,
    not_sent: u64,
    not_terminal: Vec<Uuid>,
    /// Accepted, and then not known to the service.
    lost: Vec<Uuid>,
}

/// How the rows of a file became orders; all zero without a file.
#[derive(Debug, Default, Serialize)]
struct Rows {
    read: u64,
    skipped: BTreeMap<&'static str, u64>,
    #[serde(skip)]
    skipped_in_words: BTreeMap<Skipped, u64>,
    merged: u64,
    invoices: u64,
    split_invoices: u64,
}

impl From<Tally> for Rows {
    fn from(tally: Tally) -> Self {
        Self {
            read: tally.rows,
            skipped: tally.skipped.iter().map(|(reason, count)| (reason.name(), *count)).collect(),
            skipped_in_words: tally.skipped,
            merged: tally.merged,
            invoices: tally.invoices,
            split_invoices: tally.split,
        }
    }
}

impl Report {
    /// Puts together what was planned, placed and seen; `open` are the orders that have not ended.
    #[must_use]
    pub(super) fn new(
        plan: Plan,
        products: Prepared,
        placements: Placements,
        followed: Followed,
        open: Vec<Uuid>,
    ) -> Self {
        let ended = &followed.ended;
        let times = |wanted: fn(Status) -> bool| {
            let wanted = ended.iter().filter(|order| wanted(order.status));
            Quantiles::of(wanted.filter_map(OrderDocument::placed_to_terminal_ms).collect())
        };
        let (terminal, confirmed) = (times(|_| true), times(|status| status == Status::Confirmed));
        let placing_s = placements.took.as_secs_f64();
        Self {
            accepted_per_s: per_second(placements.accepted.len(), placing_s),
            ended_per_s: per_second(ended.len(), seconds_to_the_last_end(ended)),
            placing_s,
            products,
            rows: plan.tally.into(),
            repeated_requests: placements.repetitions,
            answer_ms: Quantiles::of(placements.answer_ms),
            placed_to_terminal_ms: terminal,
            placed_to_confirmed_ms: confirmed,
            last_trouble: placements.last_trouble,
            orders: Orders {
                planned: plan.orders.len(),
                accepted: placements.accepted.len(),
                confirmed: count(ended, Status::Confirmed),
                cancelled: cancelled(ended),
                refused: placements.refused,
                unanswered: placements.unanswered,
                not_sent: placements.not_sent,
                not_terminal: open,
                lost: followed.unknown,
            },
        }
    }

    /// Done when every planned order was accepted and has ended.
    #[must_use]
    pub(super) fn exit(&self) -> Exit {
        let Orders { planned, accepted, not_terminal, lost, .. } = &self.orders;
        let all = planned == accepted && not_terminal.is_empty() && lost.is_empty();
        if all { Exit::Done } else { Exit::Partly }
    }

    /// For people.
    #[must_use]
    pub(super) fn render(&self, out: &Output) -> String {
        let mut text = out.table(&[], &[1], self.counts());
        let times = [
            ("answer", self.answer_ms),
            ("placed to terminal", self.placed_to_terminal_ms),
            ("placed to confirmed", self.placed_to_confirmed_ms),
        ];
        let times = times.into_iter().filter(|(_, times)| times.count > 0).map(|(what, times)| {
            let ms = |time: f64| format!("{time:.1}");
            vec![what.to_owned(), ms(times.p50), ms(times.p95), ms(times.p99), ms(times.max)]
        });
        text += "\n";
        text += &out.table(&["ms", "p50", "p95", "p99", "max"], &[1, 2, 3, 4], times);
        text += &self.troubles(out);
        text
    }

    fn counts(&self) -> Vec<Vec<String>> {
        let mut lines: Vec<(String, String)> = Vec::new();
        let mut line = |what: String, value: String| lines.push((what, value));
        let orders = &self.orders;
        if self.rows.read > 0 {
            line("rows read".into(), self.rows.read.to_string());
            for (reason, count) in &self.rows.skipped_in_words {
                line(format!("  skipped: {}", reason.words()), count.to_string());
            }
            line("  added to an earlier line".into(), self.rows.merged.to_string());
            line("invoices with goods".into(), self.rows.invoices.to_string());
            line("  in more than one order".into(), self.rows.split_invoices.to_string());
        }
        line("products".into(), (self.products.created + self.products.known).to_string());
        line("orders planned".into(), orders.planned.to_string());
        line("  accepted".into(), orders.accepted.to_string());
        line("  confirmed".into(), orders.confirmed.to_string());
        for (reason, count) in &orders.cancelled {
            line(format!("  cancelled: {reason}"), count.to_string());
        }
        for (code, count) in &orders.refused {
            line(format!("  refused: {code}"), count.to_string());
        }
        let rest = [
            ("  unanswered", orders.unanswered),
            ("  not sent", orders.not_sent),
            ("  lost", orders.lost.len() as u64),
        ];
        for (what, count) in rest.into_iter().filter(|(_, count)| *count > 0) {
            line(what.into(), count.to_string());
        }
        line("  not terminal".into(), orders.not_terminal.len().to_string());
        line("requests repeated".into(), self.repeated_requests.to_string());
        line("orders/s accepted".into(), format!("{:.1}", self.accepted_per_s));
        line("orders/s ended".into(), format!("{:.1}", self.ended_per_s));
        lines.into_iter().map(|(what, value)| vec![what, value]).collect()
    }

    fn troubles(&self, out: &Output) -> String {
        let mut text = String::new();
        let orders = &self.orders;
        for (what, ids) in [("not terminal", &orders.not_terminal), ("lost", &orders.lost)] {
            for id in ids.iter().take(NAMED) {
                text += &out.paint(Tone::Bad, format_args!("{what}: {id}"));
                text.push('\n');
            }
        }
        if let Some(trouble) = &self.last_trouble {
            text += &out.paint(Tone::Bad, trouble);
            text.push('\n');
        }
        if text.is_empty() { text } else { format!("\n{text}") }
    }
}

fn count(ended: &[OrderDocument], status: Status) -> u64 {
    ended.iter().filter(|order| order.status == status).count() as u64
}

fn cancelled(ended: &[OrderDocument]) -> BTreeMap<String, u64> {
    let mut reasons = BTreeMap::new();
    for order in ended.iter().filter(|order| order.status == Status::Cancelled) {
        let reason = order.cancel_reason.clone().unwrap_or_else(|| "unknown".to_owned());
        *reasons.entry(reason).or_default() += 1;
    }
    reasons
}

fn seconds_to_the_last_end(ended: &[OrderDocument]) -> f64 {
    let first = ended.iter().map(|order| order.placed_at).min();
    let last = ended.iter().filter_map(|order| order.history.last()).map(|entry| entry.at).max();
    match (first, last) {
        (Some(first), Some(last)) => last.signed_duration_since(first).as_seconds_f64(),
        _ => 0.0,
    }
}

fn per_second(count: usize, seconds: f64) -> f64 {
    if seconds > 0.0 { (count as f64 / seconds * 10.0).round() / 10.0 } else { 0.0 }
}
