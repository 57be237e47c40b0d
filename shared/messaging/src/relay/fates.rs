//! What becomes of batches, and what may go together.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use metrics::{counter, histogram};

use crate::outbox::{self, Refused, Row};
use crate::pool::Pool;
use crate::transport::Fate;

/// Rows per claim. Large enough to hide the broker's latency, small enough to settle within one.
pub(super) const BATCH: i64 = 500;
/// Rows per claim while a backlog lasts: between two batches the broker has nothing to do for as long as
/// its last confirm takes to come and the next publish to arrive.
const LONG_BATCH: i64 = 2_000;
/// As many bytes of bodies such a batch may have, by the sizes of the one before.
const LONG_BATCH_BYTES: usize = 4 << 20;
/// How soon a row that no queue wanted, or a full one refused, is tried again: 0.25 s doubling.
const REFUSED_BASE: Duration = Duration::from_millis(250);
const REFUSED_MAX: Duration = Duration::from_secs(5);

/// What became of a batch.
#[derive(Default)]
pub(super) struct Fates {
    confirmed: Vec<i64>,
    refused: Vec<Refused>,
    /// Aggregates whose later events have to wait.
    pub(super) held: HashSet<String>,
    /// Whether nobody knows of some.
    pub(super) unknown: bool,
    /// Whether some were not published at all, because the leases were not held any more.
    pub(super) broken_off: bool,
}

impl Fates {
    pub(super) fn take(&mut self, wave: &[Row], fates: &[Fate], now: DateTime<Utc>) {
        count(fates);
        let waits = histogram!("commit_to_confirm_seconds");
        let mut new = HashMap::new();
        for (row, fate) in wave.iter().zip(fates) {
            match fate {
                Fate::Confirmed => {
                    let took = now.signed_duration_since(row.due_at).to_std();
                    waits.record(took.unwrap_or_default());
                    self.confirmed.push(row.seq);
                    continue;
                }
                // Time that the broker is away spends no attempt.
                Fate::Unknown => self.unknown = true,
                Fate::Unroutable | Fate::Refused => self.refused.push(refusal(row, fate, now)),
            }
            if row.attempts == 0 && *fate != Fate::Unknown {
                *new.entry((&*row.event_type, fate_name(fate))).or_insert(0_u32) += 1;
            }
            self.held.insert(row.subject.clone());
        }
        for ((r#type, fate), events) in new {
            tracing::warn!(r#type, fate, events, "events wait");
        }
    }
}

/// How many rows of the size of these a batch may have.
pub(super) fn long_batch<'a>(rows: impl Iterator<Item = &'a Row>) -> i64 {
    let (count, bytes) =
        rows.fold((0, 0), |(count, bytes), row| (count + 1, bytes + row.body.len()));
    let fit = (LONG_BATCH_BYTES * count).checked_div(bytes).unwrap_or_default();
    i64::try_from(fit).unwrap_or(LONG_BATCH).clamp(BATCH, LONG_BATCH)
}

/// Looks a counter up per fate, and not per message.
fn count(fates: &[Fate]) {
    for fate in [Fate::Confirmed, Fate::Unroutable, Fate::Refused, Fate::Unknown] {
        let times = fates.iter().filter(|one| **one == fate).count() as u64;
        if times > 0 {
            counter!("outbox_publish_total", "fate" => fate_name(&fate)).increment(times);
        }
    }
}

/// The rows that may go now (the first of each aggregate that is not held), and those after them.
pub(super) fn next_wave(rows: Vec<Row>, held: &HashSet<String>) -> (Vec<Row>, Vec<Row>) {
    let mut taken = HashSet::new();
    rows.into_iter()
        .filter(|row| !held.contains(&row.subject))
        .partition(|row| taken.insert(row.subject.clone()))
}

fn refusal(row: &Row, fate: &Fate, now: DateTime<Utc>) -> Refused {
    let doubled = 2_u32.saturating_pow(row.attempts.max(0).unsigned_abs());
    let pause = REFUSED_BASE.saturating_mul(doubled).min(REFUSED_MAX);
    let why = match fate {
        Fate::Unroutable => "no queue is bound for this type",
        _ => "the broker refused it: a queue is full",
    };
    let not_before = now + TimeDelta::from_std(pause).unwrap_or_default();
    Refused { seq: row.seq, why: why.to_owned(), not_before }
}

/// Stores what became of a batch, in one statement per outcome.
pub(super) async fn settle(pool: &Pool, fates: &Fates) -> Result<(), sqlx::Error> {
    if !fates.confirmed.is_empty() {
        outbox::mark_published(pool, &fates.confirmed, pool.clock().now()).await?;
    }
    if !fates.refused.is_empty() {
        pool.set_some_wait(true);
        outbox::mark_refused(pool.pg(), &fates.refused).await?;
    }
    Ok(())
}

pub(super) fn fate_name(fate: &Fate) -> &'static str {
    match fate {
        Fate::Confirmed => "confirmed",
        Fate::Unroutable => "unroutable",
        Fate::Refused => "refused",
        Fate::Unknown => "unknown",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    fn row(seq: i64, subject: &str) -> Row {
        Row {
            seq,
            event_id: Uuid::nil(),
            event_type: String::new(),
            subject: subject.to_owned(),
            correlation_id: Uuid::nil(),
            body: Vec::new(),
            signature: Vec::new(),
            key_id: String::new(),
            traceparent: None,
            tracestate: None,
            created_at: DateTime::UNIX_EPOCH,
            due_at: DateTime::UNIX_EPOCH,
            attempts: 0,
        }
    }

    fn seqs(rows: &[Row]) -> Vec<i64> {
        rows.iter().map(|r| r.seq).collect()
    }

    #[test]
    fn a_backlog_goes_in_long_batches_of_small_rows_and_short_ones_of_large() {
        let of = |bytes: usize| Row { body: vec![0; bytes], ..row(1, "a") };
        assert_eq!(long_batch([].iter()), BATCH);
        assert_eq!(long_batch([of(100), of(300)].iter()), LONG_BATCH);
        assert_eq!(long_batch([of(4 << 10), of(4 << 10)].iter()), 1_024);
        assert_eq!(long_batch([of(64 << 10)].iter()), BATCH);
    }

    #[test]
    fn a_wave_takes_the_first_event_of_each_aggregate_and_leaves_held_ones_out() {
        let rows = vec![row(1, "a"), row(2, "b"), row(3, "a"), row(4, "c"), row(5, "c")];
        let held = HashSet::from(["c".to_owned()]);
        let (wave, rest) = next_wave(rows, &held);
        assert_eq!(seqs(&wave), [1, 2]);
        assert_eq!(seqs(&rest), [3]);
        let (wave, rest) = next_wave(rest, &HashSet::from(["a".to_owned()]));
        assert!(wave.is_empty() && rest.is_empty());
    }
}
