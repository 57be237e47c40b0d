//! The relay: takes committed events from the outbox to the broker.
//!
//! Claim, publish, confirm, mark. No transaction is open while it talks to the broker, a row is
//! marked only when its own confirm came, and of one aggregate only one event is in flight. While a
//! backlog lasts, the database marks the last batch and reads the next one as the broker takes this
//! one.

mod fates;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use metrics::{counter, gauge, histogram};
use opentelemetry::Context;

use crate::crash::{self, Point};
use crate::lease::Leases;
use crate::outbox::{self, Row};
use crate::partition::Partitions;
use crate::pool::Pool;
use crate::retry::Backoff;
use crate::step::{Progress, Step};
use crate::trace;
use crate::transport::{Blocked, Fate, Outgoing, Publisher, Transport};
use crate::vitals::{Part, Vitals};
use fates::{BATCH, Fates, fate_name, long_batch, next_wave, settle};

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
    backlog: Backlog,
}

/// What a full batch leaves to be done while the next one is under way.
#[derive(Default)]
struct Backlog {
    /// What became of the last batch, not stored yet.
    owed: Fates,
    /// The next batch, read for these partitions while the last one was under way.
    ahead: Option<(Partitions, Batch)>,
}

/// Rows that may go now.
struct Batch {
    rows: Vec<Row>,
    /// Whether there may be more.
    full: bool,
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
            backlog: Backlog::default(),
        }
    }

    async fn advance(&mut self) -> Result<Progress, sqlx::Error> {
        let owned = self.leases.keep().await?;
        #[cfg(feature = "crash-points")]
        let owned = crash::shared(owned);
        if self.pool.is_absent() {
            // Its return gives the signal. Until then others may publish what was read ahead.
            self.backlog.ahead = None;
            self.vitals.ill(Part::Relay, "database: no session that others could see".into());
            return Ok(Progress::Idle(self.leases.due_in()));
        }
        // Also with nothing to publish, so that the first event does not wait for a handshake and
        // the health check knows.
        if !self.connect().await {
            self.backlog.ahead = None;
            return Ok(Progress::Idle(self.broker_away.next(self.pool.clock())));
        }
        if owned.is_empty() {
            self.settle_owed().await?;
            self.owe_nothing();
            return Ok(Progress::Idle(self.leases.due_in()));
        }
        let now = self.pool.clock().now();
        let Batch { rows, full } = self.claim(owned, now).await?;
        if rows.is_empty() && !full {
            self.settle_owed().await?;
            self.owe_nothing();
            return self.idle(now).await;
        }
        crash::point(Point::C5);
        let backlog = full.then_some(owned);
        #[cfg(feature = "crash-points")]
        let (rows, session) = crash::claim(self.pool.pg(), crash::past_cursor(rows)).await?;
        #[cfg(feature = "crash-points")]
        let full = full || session.is_some();
        let all_known = self.publish(rows, backlog).await?;
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

    /// The next batch: the one that was read ahead, unless the leases have changed meanwhile.
    async fn claim(&mut self, owned: Partitions, now: DateTime<Utc>) -> Result<Batch, sqlx::Error> {
        match self.backlog.ahead.take() {
            Some((partitions, batch)) if partitions == owned => Ok(batch),
            _ => {
                self.settle_owed().await?;
                let rows = outbox::pending(&self.pool, owned, now, &[], BATCH).await?;
                let full = rows.len() as i64 == BATCH;
                Ok(Batch { rows, full })
            }
        }
    }

    /// How long there is nothing to do: until the next waiting row is due.
    async fn idle(&self, now: DateTime<Utc>) -> Result<Progress, sqlx::Error> {
        if !self.pool.some_wait() {
            return Ok(Progress::Idle(self.leases.due_in()));
        }
        let due = outbox::next_due(&self.pool, self.leases.owned()).await?;
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

    /// Publishes the rows and stores what became of them. Where partitions have a `backlog`, the
    /// database works meanwhile: on the batch before and the one after. False when some fate is unknown.
    async fn publish(
        &mut self,
        rows: Vec<Row>,
        backlog: Option<Partitions>,
    ) -> Result<bool, sqlx::Error> {
        let Some(partitions) = backlog else {
            self.settle_owed().await?;
            let fates = self.in_waves(rows).await;
            crash::point(Point::C6b);
            settle(&self.pool, &fates).await?;
            return Ok(!fates.unknown);
        };
        // A second wave of a few would cost as much time as the first: it goes with the next batch.
        let (wave, later) = next_wave(rows, &HashSet::new());
        let under_way: Vec<i64> = wave.iter().chain(&later).map(|row| row.seq).collect();
        let room = (long_batch(wave.iter().chain(&later)) - later.len() as i64).max(0);
        let owed = std::mem::take(&mut self.backlog.owed);
        let (pool, now) = (self.pool.clone(), self.pool.clock().now());
        let behind = async {
            settle(&pool, &owed).await?;
            outbox::pending(&pool, partitions, now, &under_way, room).await
        };
        let (fates, ahead) = futures_util::join!(self.in_waves(wave), behind);
        crash::point(Point::C6b);
        if fates.unknown {
            settle(&self.pool, &fates).await?;
            return Ok(false);
        }
        // What comes after events that were not published must not go before them.
        let ahead = ahead.map(|rows| {
            let full = !later.is_empty() || rows.len() as i64 == room;
            let rows = later.into_iter().chain(rows);
            let may_go = rows.filter(|row| !fates.held.contains(&row.subject) && !fates.broken_off);
            (partitions, Batch { rows: may_go.collect(), full })
        });
        self.backlog.owed = fates;
        self.backlog.ahead = Some(ahead?);
        Ok(true)
    }

    /// Stores what became of the last batch of a backlog.
    async fn settle_owed(&mut self) -> Result<(), sqlx::Error> {
        settle(&self.pool, &std::mem::take(&mut self.backlog.owed)).await
    }

    /// Publishes the rows in waves: of each aggregate one event per wave, the next only when the
    /// one before is confirmed.
    async fn in_waves(&mut self, rows: Vec<Row>) -> Fates {
        let mut rest = rows;
        let mut fates = Fates::default();
        while !rest.is_empty() {
            let (wave, later) = next_wave(rest, &fates.held);
            rest = later;
            if wave.is_empty() {
                break;
            }
            if !self.leases.hold() {
                fates.broken_off = true;
                break;
            }
            let sent = self.send(&wave).await;
            fates.take(&wave, &sent, self.pool.clock().now());
            if fates.unknown {
                break;
            }
        }
        fates
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

fn publish_span(pool: &Pool, row: &Row, now: DateTime<Utc>) -> Context {
    if row.traceparent.as_deref().is_some_and(trace::is_unseen) {
        return Context::new();
    }
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
        let left = match self.advance().await {
            Ok(_) => self.settle_owed().await,
            Err(error) => Err(error),
        };
        if let Err(error) = left {
            tracing::debug!(%error, "last events stay in the outbox");
        }
        if let Some(publisher) = self.publisher.take() {
            publisher.close().await;
        }
        self.leases.release().await;
    }
}
