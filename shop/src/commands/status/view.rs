//! The report for people: a line per service, then what is wrong in words.

use std::fmt::Display;

use super::report::{Report, Row, State};
use crate::Output;
use crate::output::Tone;

const HEADINGS: [&str; 12] = [
    "service",
    "state",
    "handled/s",
    "p95 ms",
    "outbox",
    "oldest",
    "queue",
    "unacked",
    "retry",
    "dlq",
    "dead",
    "consumers",
];
const NUMBERS: [usize; 10] = [2, 3, 4, 5, 6, 7, 8, 9, 10, 11];
/// The relay publishes in milliseconds. Figures are up to 15 s old, so less than this may be one
/// event that was on its way when they were taken.
const LATE: f64 = 5.0;

/// The table and the remarks.
pub(super) fn render(report: &Report, out: &Output) -> String {
    let mut text = out.table(&HEADINGS, &NUMBERS, report.services.iter().map(|row| line(row, out)));
    for remark in report.services.iter().flat_map(|row| remarks(row, report)) {
        text += &format!("{}\n", out.paint(Tone::Warning, remark));
    }
    if let Some(why) = &report.broker_error {
        text += &format!("{}\n", out.paint(Tone::Warning, format_args!("no queue figures: {why}")));
    }
    text
}

fn line(row: &Row, out: &Output) -> Vec<String> {
    let (tone, state) = match row.state {
        State::Ready => (Tone::Good, "ready"),
        State::NotReady => (Tone::Bad, "not ready"),
        State::Away => (Tone::Bad, "no answer"),
    };
    let cell = |known: Option<String>, alarm: bool| match known {
        None => out.paint(Tone::Faint, "-"),
        Some(text) if alarm => out.paint(Tone::Warning, text),
        Some(text) => text,
    };
    let number = |known: Option<u64>, alarm: bool| cell(known.map(|n| n.to_string()), alarm);
    let decimal = |known: Option<f64>| cell(known.map(|n| format!("{n:.1}")), false);
    let any = |known: Option<u64>| number(known, known.is_some_and(|n| n > 0));
    let (outbox, queues) = (&row.outbox, &row.queues);
    let late = outbox.oldest_age.is_some_and(|age| age >= LATE);
    vec![
        row.service.to_owned(),
        out.paint(tone, state),
        decimal(row.handled_per_second),
        decimal(row.p95_ms),
        number(outbox.pending, late),
        cell(outbox.oldest_age.map(age), late),
        number(queues.ready, false),
        number(queues.unacked, false),
        any(queues.retry),
        any(queues.dead),
        any(row.dead_letters),
        number(queues.consumers, queues.consumers == Some(0)),
    ]
}

/// What the figures of a service do not say by themselves.
fn remarks(row: &Row, report: &Report) -> Vec<String> {
    let (name, reason) = (row.service, row.reason.as_deref().unwrap_or_default());
    let mut remarks = Vec::new();
    match row.state {
        State::Ready => {}
        State::NotReady => remarks.push(format!("{name} is not ready: {reason}")),
        State::Away => remarks.push(format!("{name}: {reason}")),
    }
    if let Some(stuck @ 1..) = row.outbox.stuck {
        remarks.push(format!("{name}: {} in its outbox failed to be published", events(stuck)));
    }
    if row.outbox.blocked == Some(true) {
        remarks.push(format!("{name}: the broker holds its publisher back"));
    }
    if report.broker_error.is_none() && row.queues.ready.is_none() {
        remarks.push(format!("the broker has no queue {name}.in; `shop migrate` makes it"));
    }
    remarks
}

fn events(count: u64) -> impl Display {
    if count == 1 { "1 event".to_owned() } else { format!("{count} events") }
}

/// Seconds as people say them.
fn age(seconds: f64) -> String {
    let (minute, hour, day) = (60.0, 3_600.0, 86_400.0);
    match seconds {
        s if s < 2.0 * minute => format!("{s:.0} s"),
        s if s < 2.0 * hour => format!("{:.0} min", s / minute),
        s if s < 2.0 * day => format!("{:.0} h", s / hour),
        s => format!("{:.0} d", s / day),
    }
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;

    use super::*;
    use crate::commands::status::report::{Outbox, Queues};

    fn known() -> Row {
        let outbox =
            Outbox { pending: Some(12), oldest_age: Some(200.0), stuck: Some(2), blocked: None };
        let (ready, unacked, consumers) = (Some(61), Some(128), Some(1));
        let queues = Queues { ready, unacked, consumers, retry: Some(3), dead: Some(0) };
        Row {
            service: "inventory",
            state: State::Ready,
            reason: None,
            handled_per_second: Some(118.25),
            p95_ms: Some(4.74),
            outbox,
            queues,
            dead_letters: Some(1),
        }
    }

    fn unknown() -> Row {
        Row {
            service: "email",
            state: State::Away,
            reason: Some("not listening".to_owned()),
            handled_per_second: None,
            p95_ms: None,
            outbox: Outbox::default(),
            queues: Queues::default(),
            dead_letters: None,
        }
    }

    #[test]
    fn figures_stand_under_each_other_and_what_is_wrong_follows_in_words() {
        let services = vec![known(), unknown()];
        let broker_error = Some("away".to_owned());
        let report = Report { at: DateTime::UNIX_EPOCH, ready: false, services, broker_error };
        let text = "\
service    state      handled/s  p95 ms  outbox  oldest  queue  unacked  retry  dlq  dead  consumers
inventory  ready          118.2     4.7      12   3 min     61      128      3    0     1          1
email      no answer          -       -       -       -      -        -      -    -     -          -
inventory: 2 events in its outbox failed to be published
email: not listening
no queue figures: away
";
        assert_eq!(render(&report, &Output::plain()), text);
    }

    #[test]
    fn an_age_is_told_in_the_unit_that_people_would_take() {
        let ages = [0.0, 7.5, 119.0, 120.0, 7_200.0, 200_000.0].map(age);
        assert_eq!(ages, ["0 s", "8 s", "119 s", "2 min", "2 h", "2 d"]);
    }
}
