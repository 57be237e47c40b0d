//! A service's database together with who publishes from it.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use chrono::TimeDelta;
use envelope::signature::Signer;
use envelope::{Clock, Identity};
use opentelemetry::global::{self, BoxedTracer};
use sqlx::PgPool;
use uuid::Uuid;

use crate::answers;
use crate::connection::{Connection, Kept};
use crate::partition::{PARTITIONS, Partitions};
use crate::room::Room;
use crate::step::Signal;

/// A connection pool that knows in whose name events are written. Cheap to clone.
#[derive(Clone)]
pub struct Pool(Arc<Inner>);

struct Inner {
    pg: PgPool,
    kept: Kept,
    identity: Identity,
    signer: Signer,
    clock: Clock,
    tracer: BoxedTracer,
    instance: Instance,
    outbox_written: Signal,
    wake_others: Signal,
    replays: Signal,
    owned: AtomicU32,
    absent: AtomicBool,
    /// Others may have changed who holds what.
    leases_changed: AtomicBool,
    /// Given when this process shows itself to the others again.
    present: Mutex<Vec<Signal>>,
    some_wait: AtomicBool,
    answers_kept_ms: AtomicI64,
    room: Room,
}

/// The number of this process among all that share the database, for leases.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Instance(i32);

impl Instance {
    fn draw(clock: &Clock) -> Self {
        // 1..=i32::MAX: zero and negative numbers do not survive the trip through an oid.
        Self(1 + (clock.unit() * f64::from(i32::MAX - 1)) as i32)
    }

    /// As it stands in lease columns.
    pub fn number(self) -> i32 {
        self.0
    }

    pub(crate) fn from_number(number: i32) -> Self {
        Self(number)
    }

    #[cfg(test)]
    pub(crate) fn numbered(number: i32) -> Self {
        Self(number)
    }
}

impl Pool {
    /// `pg` is the service's own database; events are written as `identity`, signed by `signer`,
    /// timed by `clock`.
    ///
    /// Telemetry must be set up first: the tracer is taken here, once.
    pub fn new(pg: PgPool, identity: Identity, signer: Signer, clock: Clock) -> Self {
        Self(Arc::new(Inner {
            kept: Kept::beside(&pg),
            pg,
            identity,
            signer,
            tracer: global::tracer("messaging"),
            instance: Instance::draw(&clock),
            clock,
            outbox_written: Signal::new(),
            wake_others: Signal::new(),
            replays: Signal::new(),
            owned: AtomicU32::new(0),
            absent: AtomicBool::new(false),
            leases_changed: AtomicBool::new(false),
            present: Mutex::default(),
            some_wait: AtomicBool::new(true),
            answers_kept_ms: AtomicI64::new(answers::USUALLY_KEPT.num_milliseconds()),
            room: Room::default(),
        }))
    }

    /// Events that may wait in the outbox (default 100,000) before requests that would add to them
    /// are refused with [`TxError::OutboxFull`](crate::TxError::OutboxFull). Handlers of messages and
    /// leased tasks are not: what is under way already comes to its end. Where several processes
    /// write to one outbox, each may be late by what the others write within a second.
    pub fn set_outbox_cap(&self, events: u32) {
        self.0.room.set_cap(events);
    }

    pub(crate) fn room(&self) -> &Room {
        &self.0.room
    }

    /// Tells the relays of other processes that there is something to publish: for a program that
    /// writes events and runs no relay. Without it they look after some seconds.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn wake_relays(&self) -> Result<(), sqlx::Error> {
        crate::presence::tell(self.pg(), crate::presence::WRITTEN).await
    }

    /// For what is read or marked all the time, without a transaction.
    ///
    /// # Errors
    /// The database's own, when there is no connection to be had.
    pub async fn connection(&self) -> Result<Connection, sqlx::Error> {
        Connection::take(self).await
    }

    pub(crate) fn kept(&self) -> &Kept {
        &self.0.kept
    }

    /// Closes all connections, those first that are at hand, which the closing of [`pg`](Self::pg) alone
    /// would wait for. What uses one is waited for, and nothing gets one any more.
    pub async fn close(&self) {
        let closed = self.pg().close();
        self.0.kept.clear();
        closed.await;
    }

    /// For reads that need no transaction. Writes go through [`Tx`](crate::Tx).
    pub fn pg(&self) -> &PgPool {
        &self.0.pg
    }

    /// Time, ids and randomness.
    pub fn clock(&self) -> &Clock {
        &self.0.clock
    }

    /// Who publishes from here.
    pub fn identity(&self) -> &Identity {
        &self.0.identity
    }

    /// This process, for lease columns.
    pub fn instance(&self) -> Instance {
        self.0.instance
    }

    /// A new UUIDv7.
    pub fn new_id(&self) -> Uuid {
        self.0.clock.new_id()
    }

    pub(crate) fn signer(&self) -> &Signer {
        &self.0.signer
    }

    pub(crate) fn tracer(&self) -> &BoxedTracer {
        &self.0.tracer
    }

    /// Given whenever there may be something to publish.
    pub(crate) fn outbox_written(&self) -> &Signal {
        &self.0.outbox_written
    }

    /// Given when rows were written that another replica's relay has to publish.
    pub(crate) fn wake_others(&self) -> &Signal {
        &self.0.wake_others
    }

    /// Given when there may be a dead letter to replay.
    pub(crate) fn replays(&self) -> &Signal {
        &self.0.replays
    }

    /// Whether this process shows itself to the others. While it wants to and cannot, they may take
    /// over what it holds, so it must hold nothing.
    pub(crate) fn set_absent(&self, absent: bool) {
        self.0.absent.store(absent, Ordering::Release);
        self.0.outbox_written.notify();
        if !absent {
            let signals = self.0.present.lock().unwrap_or_else(PoisonError::into_inner);
            signals.iter().for_each(Signal::notify);
        }
    }

    /// From now on `signal` is given whenever this process shows itself to the others again.
    pub(crate) fn tell_when_present(&self, signal: &Signal) {
        let mut signals = self.0.present.lock().unwrap_or_else(PoisonError::into_inner);
        signals.push(signal.clone());
    }

    /// Another process has handed something back, or has come: look at the leases now.
    pub(crate) fn leases_changed(&self) {
        self.0.leases_changed.store(true, Ordering::Release);
        self.0.outbox_written.notify();
    }

    /// Whether the leases are to be looked at before their time; asking resets it.
    pub(crate) fn take_leases_changed(&self) -> bool {
        self.0.leases_changed.swap(false, Ordering::AcqRel)
    }

    /// Whether some row may be waiting for its time, which is worth a query when idle.
    pub(crate) fn some_wait(&self) -> bool {
        self.0.some_wait.load(Ordering::Relaxed)
    }

    pub(crate) fn set_some_wait(&self, yes: bool) {
        self.0.some_wait.store(yes, Ordering::Relaxed);
    }

    /// How long the answer to a request is given again.
    pub(crate) fn answers_kept(&self) -> TimeDelta {
        TimeDelta::milliseconds(self.0.answers_kept_ms.load(Ordering::Relaxed))
    }

    pub(crate) fn set_answers_kept(&self, kept: TimeDelta) {
        self.0.answers_kept_ms.store(kept.num_milliseconds(), Ordering::Relaxed);
    }

    pub(crate) fn is_absent(&self) -> bool {
        self.0.absent.load(Ordering::Acquire)
    }

    /// The partitions that this process's relay publishes.
    pub(crate) fn set_owned(&self, owned: Partitions) {
        self.0.owned.store(owned.bits(), Ordering::Relaxed);
    }

    /// Whether this process publishes all partitions. Then it shares its database with no other replica,
    /// or with one that has come within the last four seconds.
    pub(crate) fn is_alone(&self) -> bool {
        let owned = Partitions::from_bits(self.0.owned.load(Ordering::Relaxed));
        (0..PARTITIONS).collect::<Partitions>().is_subset(owned)
    }

    /// Wakes whoever publishes these partitions: our own relay at once, others by a notification.
    pub(crate) fn written(&self, written: Partitions) {
        let owned = Partitions::from_bits(self.0.owned.load(Ordering::Relaxed));
        if written.intersects(owned) {
            self.0.outbox_written.notify();
        }
        if !written.is_subset(owned) {
            self.0.wake_others.notify();
        }
    }
}
