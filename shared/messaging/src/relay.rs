//! The relay: takes committed events from the outbox to the broker.
//!
//! Claim, publish, confirm, mark. No transaction is open while it talks to the broker, a row is
//! marked only when its own confirm came, and of one aggregate only one event is in flight.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use metrics::{counter, gauge, histogram};
use opentelemetry::Context;

use crate::crash::{self, Point};
use crate::lease::Leases;
use crate::outbox::{self, Refused, Row};
use crate::pool::Pool;
use crate::retry::Backoff;
use crate::step::{Progress, Step};
use crate::trace;
use crate::transport::{Blocked, Fate, Outgoing, Publisher, Transport};
use crate::vitals::{Part, Vitals};

/// Rows per claim. Large enough to hide the broker's latency, small enough to settle within one.
const BATCH: i64 = 500;
/// How soon a row that no queue wanted, or a full one refused, is tried again: 0.25 s doubling.
const REFUSED_BASE: Duration = Duration::from_millis(250);
const REFUSED_MAX: Duration = Duration::from_secs(5);
/// How often a publish that waits is asked whether the broker holds it back.
const BLOCKED_LOOK: Duration = Duration::from_secs(1);

/// Publishes the partitions that this process holds the lease of.
pub struct Relay {
    pool: Pool,
    transport: Arc<dyn Transport>,
    publisher: Option<Box<dyn Publisher>>,
    leases: Leases,
    vitals: Vitals,
    broker_away: Backoff,
    database_away: Backoff,
    /// The last publish came to nothing: a connection alone is no sign of health then.
    unconfirmed: bool,
}

impl Relay {
    /// A relay of `pool`'s outbox over `transport`. It does nothing until it is stepped.
    pub(crate) fn new(pool: Pool, transport: Arc<dyn Transport>, vitals: Vitals) -> Self {
        let leases = Leases::new(pool.clone());
        // The broker's return is noticed within its cap, so the cap bounds the standstill after it.
        let broker_away = Backoff::new(Duration::from_millis(50), Duration::from_secs(1));
        let database_away = Backoff::new(Duration::from_millis(50), Duration::from_secs(1));
        Self {
            pool,
            transport,
            publisher: None,
            leases,
            vitals,
            broker_away,
            database_away,
            unconfirmed: false,
        }
    }

    async fn advance(&mut self) -> Result<Progress, sqlx::Error> {
        let owned = self.leases.keep().await?;
        #[cfg(feature = "crash-points")]
        let owned = crash::shared(owned);
        if self.pool.is_absent() {
            // Its return gives the signal.
            self.vitals.ill(Part::Relay, "database: no session that others could see".into());
            return Ok(Progress::Idle(self.leases.due_in()));
        }
        // Also with nothing to publish, so that the first event does not wait for a handshake and
        // the health check knows.
        if !self.connect().await {
            return Ok(Progress::Idle(self.broker_away.next(self.pool.clock())));
        }
        if owned.is_empty() {
            self.owe_nothing();
            return Ok(Progress::Idle(self.leases.due_in()));
        }
        let now = self.pool.clock().now();
        let rows = outbox::pending(self.pool.pg(), owned, now, BATCH).await?;
        if rows.is_empty() {
            self.owe_nothing();
            return self.idle(now).await;
        }
        crash::point(Point::C5);
        let full = rows.len() as i64 == BATCH;
        #[cfg(feature = "crash-points")]
        let (rows, session) = crash::claim(self.pool.pg(), crash::past_cursor(rows)).await?;
        #[cfg(feature = "crash-points")]
        let full = full || session.is_some();
        let all_known = self.publish(rows).await?;
        if !all_known {
            let spent = self.publisher.take();
            let why = spent.map_or_else(String::new, |publisher| publisher.trouble());
            self.vitals.ill(Part::Relay, format!("not confirmed: {why}"));
            self.unconfirmed = true;
            return Ok(Progress::Idle(self.broker_away.next(self.pool.clock())));
        }
        self.broker_away.reset();
        self.unconfirmed = false;
        self.well();
        // A batch that was not full leaves nothing behind but what is written meanwhile, and that
        // gives the signal.
        Ok(if full { Progress::More } else { self.idle(now).await? })
    }

    /// How long there is nothing to do: until the next waiting row is due.
    async fn idle(&self, now: DateTime<Utc>) -> Result<Progress, sqlx::Error> {
        if !self.pool.some_wait() {
            return Ok(Progress::Idle(self.leases.due_in()));
        }
        let due = outbox::next_due(self.pool.pg(), self.leases.owned()).await?;
        self.pool.set_some_wait(due.is_some());
        let longest = self.leases.due_in();
        let until = due.map_or(longest, |due| (due - now).to_std().unwrap_or(Duration::ZERO));
        Ok(Progress::Idle(until.clamp(Duration::from_millis(10), longest)))
    }

    #[expect(clippy::disallowed_methods, reason = "this is the relay that the ban points to")]
    async fn connect(&mut self) -> bool {
        self.publisher.take_if(|publisher| !publisher.connected());
        if self.publisher.is_none() {
            match self.transport.publisher().await {
                Ok(publisher) => self.publisher = Some(publisher),
                Err(error) => self.vitals.ill(Part::Relay, error.to_string()),
            }
        }
        self.publisher.is_some()
    }

    /// There is nothing to publish, so nothing is unconfirmed either: another relay may have published it.
    fn owe_nothing(&mut self) {
        self.unconfirmed = false;
        self.well();
    }

    fn well(&self) {
        if !self.unconfirmed {
            self.vitals.well(Part::Relay);
        }
    }

    /// Publishes the rows in waves: of each aggregate one event per wave, the next only when the
    /// one before is confirmed. False when some fate is unknown.
    async fn publish(&mut self, rows: Vec<Row>) -> Result<bool, sqlx::Error> {
        let mut rest = rows;
        let mut fates = Fates::default();
        while !rest.is_empty() {
            let (wave, later) = next_wave(rest, &fates.held);
            rest = later;
            if wave.is_empty() || !self.leases.hold() {
                break;
            }
            let sent = self.send(&wave).await;
            fates.take(&wave, &sent, self.pool.clock().now());
            if fates.unknown {
                break;
            }
        }
        crash::point(Point::C6b);
        self.settle(&fates).await?;
        Ok(!fates.unknown)
    }

    #[expect(clippy::disallowed_methods, reason = "this is the relay that the ban points to")]
    async fn send(&mut self, wave: &[Row]) -> Vec<Fate> {
        let Some(publisher) = self.publisher.as_mut() else {
            return vec![Fate::Unknown; wave.len()];
        };
        let identity = self.pool.identity();
        let now = self.pool.clock().now();
        let spans: Vec<Context> =
            wave.iter().map(|row| publish_span(&self.pool, row, now)).collect();
        let batch: Vec<Outgoing<'_>> = wave
            .iter()
            .map(|row| Outgoing {
                id: row.event_id,
                short_type: identity.short_type(&row.event_type).unwrap_or(&row.event_type),
                full_type: &row.event_type,
                service: identity.service(),
                namespace: identity.namespace(),
                correlation_id: row.correlation_id,
                body: &row.body,
                signature: &row.signature,
                key_id: &row.key_id,
                traceparent: row.traceparent.as_deref(),
                tracestate: row.tracestate.as_deref(),
                created_at: row.created_at,
                published_at: now,
            })
            .collect();
        let blocked = publisher.blocked();
        let fates = telling(publisher.publish(&batch), &blocked).await;
        for (span, fate) in spans.iter().zip(&fates) {
            if *fate != Fate::Confirmed {
                trace::fail(span, fate_name(fate), fate_name(fate));
            }
            trace::end(span);
        }
        fates
    }

    /// Stores what became of a batch, in one statement per outcome.
    async fn settle(&mut self, fates: &Fates) -> Result<(), sqlx::Error> {
        if !fates.confirmed.is_empty() {
            let now = self.pool.clock().now();
            outbox::mark_published(self.pool.pg(), &fates.confirmed, now).await?;
        }
        if !fates.refused.is_empty() {
            self.pool.set_some_wait(true);
            outbox::mark_refused(self.pool.pg(), &fates.refused).await?;
        }
        Ok(())
    }
}

/// Tells whether the broker holds us back for as long as `publishing` goes on, which may be as long as
/// it does.
async fn telling<T>(publishing: impl Future<Output = T>, blocked: &Blocked) -> T {
    tokio::pin!(publishing);
    loop {
        match tokio::time::timeout(BLOCKED_LOOK, &mut publishing).await {
            Ok(done) => return done,
            Err(_) => tell_blocked(blocked()),
        }
    }
}

fn tell_blocked(blocked: bool) {
    gauge!("broker_blocked").set(f64::from(u8::from(blocked)));
}

/// What became of a batch.
#[derive(Default)]
struct Fates {
    confirmed: Vec<i64>,
    refused: Vec<Refused>,
    /// Aggregates whose later events have to wait.
    held: HashSet<String>,
    /// Whether nobody knows of some.
    unknown: bool,
}

impl Fates {
    fn take(&mut self, wave: &[Row], fates: &[Fate], now: DateTime<Utc>) {
        let mut new = HashMap::new();
        for (row, fate) in wave.iter().zip(fates) {
            counter!("outbox_publish_total", "fate" => fate_name(fate)).increment(1);
            match fate {
                Fate::Confirmed => {
                    let took = now.signed_duration_since(row.due_at).to_std();
                    histogram!("commit_to_confirm_seconds").record(took.unwrap_or_default());
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

/// The rows that may go now (the first of each aggregate that is not held), and those after them.
fn next_wave(rows: Vec<Row>, held: &HashSet<String>) -> (Vec<Row>, Vec<Row>) {
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

fn publish_span(pool: &Pool, row: &Row, now: DateTime<Utc>) -> Context {
    let creation = trace::extract(row.traceparent.as_deref(), row.tracestate.as_deref());
    let short = pool.identity().short_type(&row.event_type).unwrap_or(&row.event_type);
    let about = trace::About {
        system: crate::topology::SYSTEM,
        destination: &crate::topology::destination(short),
        event_id: row.event_id.to_string(),
        event_type: &row.event_type,
        subject: &row.subject,
        correlation_id: row.correlation_id.to_string(),
    };
    let waited = now.signed_duration_since(row.due_at).to_std().unwrap_or_default();
    trace::publish(pool.tracer(), &creation, about, waited)
}

/// The metrics of relays, by the values of their labels.
pub(crate) fn name_metrics() {
    for fate in [Fate::Confirmed, Fate::Unroutable, Fate::Refused, Fate::Unknown] {
        counter!("outbox_publish_total", "fate" => fate_name(&fate)).increment(0);
    }
    let _ = histogram!("commit_to_confirm_seconds");
    gauge!("broker_blocked").increment(0.0);
}

fn fate_name(fate: &Fate) -> &'static str {
    match fate {
        Fate::Confirmed => "confirmed",
        Fate::Unroutable => "unroutable",
        Fate::Refused => "refused",
        Fate::Unknown => "unknown",
    }
}

impl Step for Relay {
    async fn step(&mut self) -> Progress {
        let advanced = self.advance().await;
        // Also with nothing to publish: an alarm is over for those, too, who wait for no confirm.
        tell_blocked(self.publisher.as_ref().is_some_and(|publisher| publisher.blocked()()));
        match advanced {
            Ok(progress) => {
                self.database_away.reset();
                progress
            }
            Err(error) => {
                self.vitals.ill(Part::Relay, format!("database: {error}"));
                Progress::Idle(self.database_away.next(self.pool.clock()))
            }
        }
    }

    async fn close(&mut self) {
        // What was committed while the loop was ending leaves before the door closes.
        if let Err(error) = self.advance().await {
            tracing::debug!(%error, "last events stay in the outbox");
        }
        if let Some(publisher) = self.publisher.take() {
            publisher.close().await;
        }
        self.leases.release().await;
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
