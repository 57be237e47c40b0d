//! The only door to publishing: a database transaction that carries its events with it.

use chrono::{DateTime, Utc};
use envelope::{EncodeError, Envelope, Event};
use metrics::Counter;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::cause::Cause;
use crate::connection::Connection;
use crate::crash::{self, Point};
use crate::outbox::{self, NewRow};
use crate::partition::{Partitions, partition_of};
use crate::pool::Pool;
use crate::step::Signal;
use crate::trace;

/// A transaction on a service's database. What it publishes is written with it, by one statement at
/// commit or by earlier ones of [`flush`](Self::flush), and leaves only if it commits. Dropping it
/// rolls everything back.
///
/// ```no_run
/// # use messaging::{Cause, Pool, Tx, TxError};
/// # async fn example(pool: &Pool, cause: Cause, lit: impl envelope::Event) -> Result<(), TxError> {
/// let mut tx = Tx::begin(pool, cause).await?;
/// sqlx::query("update lamps set lit = true").execute(tx.conn()).await?;
/// tx.publish(&lit, 1)?;
/// tx.commit().await
/// # }
/// ```
pub struct Tx {
    conn: Connection,
    pool: Pool,
    cause: Cause,
    rows: Vec<NewRow>,
    /// What [`flush`](Self::flush) has written already.
    flushed: Partitions,
    some_wait: bool,
    after_commit: Vec<Signal>,
    counted: Vec<Counter>,
    now: DateTime<Utc>,
}

/// Why a transaction failed.
#[derive(Debug, thiserror::Error)]
pub enum TxError {
    /// The database refused or is away. Whether a failed commit took effect is unknown.
    #[error("database error")]
    Database(#[from] sqlx::Error),
    /// The event cannot be written.
    #[error("event cannot be written")]
    Encode(#[from] EncodeError),
    /// Too many events wait to be published; only the work of a request is refused for it. See
    /// [`Pool::set_outbox_cap`](crate::Pool::set_outbox_cap).
    #[error("too many events wait to be published")]
    OutboxFull,
}

impl Tx {
    /// Begins a transaction because of `cause`.
    ///
    /// # Errors
    /// [`TxError::Database`] when there is no connection to be had.
    pub async fn begin(pool: &Pool, cause: Cause) -> Result<Self, TxError> {
        if cause.from_outside {
            crash::point(Point::C1);
        }
        let mut conn = pool.connection().await?;
        conn.begin().await?;
        let now = pool.clock().now();
        let (rows, after_commit, counted) = (Vec::new(), Vec::new(), Vec::new());
        let (flushed, some_wait) = (Partitions::default(), false);
        let pool = pool.clone();
        Ok(Self { conn, pool, cause, rows, flushed, some_wait, after_commit, counted, now })
    }

    /// The connection, for the service's own SQL.
    pub fn conn(&mut self) -> &mut PgConnection {
        &mut self.conn
    }

    /// The one time of this transaction: everything decided in it happens at this instant.
    pub fn now(&self) -> DateTime<Utc> {
        self.now
    }

    /// A new UUIDv7.
    pub fn new_id(&self) -> Uuid {
        self.pool.new_id()
    }

    pub(crate) fn pool(&self) -> &Pool {
        &self.pool
    }

    /// Why this transaction runs.
    pub fn cause(&self) -> &Cause {
        &self.cause
    }

    /// From here on the transaction works because of something else, for one that does several things
    /// at once: what is published is caused by it, and happens now.
    pub fn because_of(&mut self, cause: &Cause) {
        self.cause = cause.clone();
        self.now = self.pool.clock().now();
    }

    /// Publishes `event` as number `version` of its aggregate, if and only if this transaction
    /// commits. Versions count the events of one aggregate: 1, 2, 3, ... without a gap. Returns the
    /// event's id.
    ///
    /// # Errors
    /// [`EncodeError`] when the event does not serialise, is over 64 KiB, or is anything else that its
    /// readers would refuse.
    pub fn publish<E: Event>(&mut self, event: &E, version: u32) -> Result<Uuid, EncodeError> {
        self.write(event, version, None)
    }

    /// As [`publish`](Self::publish), but not before `when`. Later events of the same aggregate
    /// wait behind it, because they leave in version order.
    ///
    /// # Errors
    /// As [`publish`](Self::publish).
    pub fn publish_at<E: Event>(
        &mut self,
        event: &E,
        version: u32,
        when: DateTime<Utc>,
    ) -> Result<Uuid, EncodeError> {
        self.write(event, version, Some(when))
    }

    fn write<E: Event>(
        &mut self,
        event: &E,
        version: u32,
        not_before: Option<DateTime<Utc>>,
    ) -> Result<Uuid, EncodeError> {
        if !self.pool.identity().owns(E::TYPE) {
            return Err(EncodeError::NotOurs(E::TYPE));
        }
        let id = self.pool.new_id();
        let envelope = Envelope::wrap(self.pool.identity(), event, version, id, self.now)?
            .caused_by(self.cause.correlation_id, self.cause.causation_id);
        let destination = crate::topology::destination(E::TYPE);
        let creation = trace::create(
            self.pool.tracer(),
            &self.cause.context,
            trace::About {
                system: crate::topology::SYSTEM,
                destination: &destination,
                event_id: id.to_string(),
                event_type: &envelope.event_type,
                subject: envelope.subject.as_str(),
                correlation_id: self.cause.correlation_id.to_string(),
            },
        );
        let carrier = trace::inject(&creation);
        let envelope = envelope.traced(carrier.traceparent, carrier.tracestate);
        let body = envelope.to_bytes()?;
        let signer = self.pool.signer();
        self.rows.push(NewRow {
            signature: signer.sign(&body),
            key_id: signer.kid().to_owned(),
            partition: partition_of(envelope.subject.as_str()),
            envelope,
            body,
            not_before,
        });
        trace::end(&creation);
        Ok(id)
    }

    /// Writes the events published so far to the outbox, still inside this transaction. For one that
    /// publishes so much that holding it until the commit would take too much memory.
    ///
    /// # Errors
    /// [`TxError::Database`], [`TxError::OutboxFull`].
    pub async fn flush(&mut self) -> Result<(), TxError> {
        let outside = self.cause.from_outside;
        crash::point(if outside { Point::C2 } else { Point::C10 });
        let (events, first) = (self.rows.len(), self.flushed.is_empty());
        if outside && first && events > 0 {
            let fits = self.pool.room().take(&mut self.conn, events, self.now).await?;
            if !fits {
                return Err(TxError::OutboxFull);
            }
        }
        outbox::insert(&mut self.conn, &self.rows).await?;
        crash::point(if outside { Point::C3 } else { Point::C11 });
        for row in self.rows.drain(..) {
            self.flushed.insert(row.partition);
            self.some_wait |= row.not_before.is_some();
        }
        Ok(())
    }

    /// Shows the server that this transaction is still needed, so that it does not end it as idle. For
    /// one that only holds a key while others work.
    ///
    /// # Errors
    /// [`TxError::Database`] when it has ended.
    pub async fn keep_alive(&mut self) -> Result<(), TxError> {
        sqlx::query("select").execute(&mut *self.conn).await?;
        Ok(())
    }

    /// Gives `signal` once this transaction has committed: wakes the task that fulfils a wish
    /// stored here.
    pub fn after_commit(&mut self, signal: &Signal) {
        self.after_commit.push(signal.clone());
    }

    /// Counts one up once this transaction has committed: what is rolled back has not happened.
    pub fn count(&mut self, counter: Counter) {
        self.counted.push(counter);
    }

    /// Writes the outbox rows, commits, and wakes the relay.
    ///
    /// # Errors
    /// [`TxError::OutboxFull`], and [`TxError::Database`]. When the connection broke during the commit itself, nobody knows
    /// whether it took effect: repeat the work, and let its own key or inbox row decide.
    pub async fn commit(mut self) -> Result<(), TxError> {
        if self.rows.is_empty() {
            // Postgres answers the commit of a transaction that an error has ended with a rollback
            // and no error. Any statement before it says so; without events there was none of ours.
            self.keep_alive().await?;
        } else {
            self.flush().await?;
        }
        self.conn.commit().await?;
        self.conn.put_back();
        if self.cause.from_outside {
            crash::point(Point::C4);
        }
        if self.some_wait {
            self.pool.set_some_wait(true);
        }
        if !self.flushed.is_empty() {
            self.pool.written(self.flushed);
        }
        self.counted.iter().for_each(|counter| counter.increment(1));
        self.after_commit.iter().for_each(Signal::notify);
        Ok(())
    }
}
