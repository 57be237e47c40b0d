//! Calls to the outside world: a payment gateway, a mail server, anything that is not this service's
//! database or broker.
//!
//! Such a call belongs neither inside a transaction nor inside a message handler. Inside a
//! transaction it holds a connection and its locks for as long as the other side pleases, and a
//! rollback does not take it back. Inside a handler, which runs in a transaction too, it also holds
//! up the messages behind it, and is made again whenever the message comes again.
//!
//! So the call is an errand. A handler only stores the wish, in its transaction, and gives a
//! [`Signal`] with [`Tx::after_commit`]. [`Errands`], a supervised task, then
//! 1. leases what is due, so that of all replicas one is at it;
//! 2. makes the calls, several at a time, outside of any transaction;
//! 3. stores what came of each in a [`Tx`], together with the events that tell of it, and tries
//!    that again while the database is away. Answers that come faster than it is stored share one.
//!
//! A process can die between 2 and 3, and a lease can run out while its call is under way. Calls are
//! therefore made *at least* once: give each an idempotency key that is the same in every attempt,
//! and count attempts in the row, so that a late answer is known for what it is.
//!
//! ```no_run
//! use std::fmt::Display;
//!
//! use chrono::{DateTime, TimeDelta, Utc};
//! use messaging::errand::{Answered, Called, Errand, Errands, Leased, Settings, Taken};
//! use messaging::step::Signal;
//! use messaging::{Cause, Pool, Tx, trace};
//! use uuid::Uuid;
//!
//! # async fn order_repair(lamp: Uuid, key: String) -> std::io::Result<()> { Ok(()) }
//! /// Has broken lamps repaired by a firm.
//! struct Repairs {
//!     pool: Pool,
//!     wanted: Signal,
//! }
//!
//! impl Errand for Repairs {
//!     /// The lamp, and the number of the attempt.
//!     type Attempt = (Uuid, i32);
//!     type Answer = std::io::Result<()>;
//!
//!     fn settings(&self) -> Settings {
//!         Settings { most_in_flight: 4, ..Settings::new("repairs") }
//!     }
//!
//!     fn pool(&self) -> &Pool {
//!         &self.pool
//!     }
//!
//!     fn wanted(&self) -> &Signal {
//!         &self.wanted
//!     }
//!
//!     fn id((lamp, _): &Self::Attempt) -> impl Display {
//!         lamp
//!     }
//!
//!     async fn take(&self, most: usize) -> Result<Taken<Self::Attempt>, sqlx::Error> {
//!         let now = self.pool.clock().now();
//!         let rows: Vec<(Uuid, i32, Uuid)> = sqlx::query_as(
//!             "with due as (
//!                 select lamp from repairs
//!                 where next_attempt_at <= $1
//!                   and (lease_owner is null or lease_until < $1 or (lease_owner <> $2
//!                        and lease_owner not in (select messaging.live_instances())))
//!                 order by next_attempt_at limit $3
//!                 for update skip locked)
//!             update repairs r
//!             set attempts = attempts + 1, lease_owner = $2, lease_until = $4
//!             from due where r.lamp = due.lamp
//!             returning r.lamp, r.attempts, r.correlation_id",
//!         )
//!         .bind(now)
//!         .bind(self.pool.instance().number())
//!         .bind(i64::try_from(most).unwrap_or(i64::MAX))
//!         .bind(now + TimeDelta::seconds(30))
//!         .fetch_all(self.pool.pg())
//!         .await?;
//!         let next_due = "select min(next_attempt_at) from repairs where next_attempt_at > $1";
//!         let next_due = sqlx::query_scalar(next_due).bind(now).fetch_one(self.pool.pg()).await?;
//!         let leased = rows.into_iter().map(|(lamp, number, chain)| {
//!             Leased { attempt: (lamp, number), cause: Cause::resumed(chain, None, None, None) }
//!         });
//!         Ok(Taken { leased: leased.collect(), next_due })
//!     }
//!
//!     async fn call(&self, (lamp, _): &Self::Attempt, cause: Cause) -> Called<Self::Answer> {
//!         let span = trace::call(&self.pool, cause.context(), "order_repair");
//!         let answer = order_repair(*lamp, format!("repair-{lamp}")).await;
//!         trace::finish(&span, answer.is_err().then_some("no_answer"));
//!         Called { answered: answer.is_ok(), answer, cause: cause.within(span) }
//!     }
//!
//!     async fn settle(
//!         &self,
//!         tx: &mut Tx,
//!         answered: &[Answered<Self::Attempt, Self::Answer>],
//!     ) -> anyhow::Result<Option<DateTime<Utc>>> {
//!         let again = tx.now() + TimeDelta::seconds(10);
//!         // The failure of an older attempt must not end the lease of the present one.
//!         let sql = "update repairs
//!             set lease_owner = null, lease_until = null, next_attempt_at = $2
//!             where lamp = $1 and ($2::timestamptz is null or attempts = $3)";
//!         for Answered { attempt: (lamp, number), answer, .. } in answered {
//!             let due = answer.is_err().then_some(again);
//!             sqlx::query(sql).bind(lamp).bind(due).bind(number).execute(tx.conn()).await?;
//!         }
//!         Ok(answered.iter().any(|one| one.answer.is_err()).then_some(again))
//!     }
//! }
//!
//! # async fn example(pool: Pool, wanted: Signal, stop: tokio_util::sync::CancellationToken) {
//! Errands::new(Repairs { pool, wanted }).run(stop).await;
//! # }
//! ```

mod breaker;
mod errands;
#[cfg(test)]
mod tests;

use std::fmt::Display;
use std::future::Future;
use std::time::Duration;

use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::cause::Cause;
use crate::handler::Causes;
use crate::pool::Pool;
use crate::step::Signal;
use crate::tx::Tx;

pub use errands::Errands;

/// How errands are run.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// The task's name, for logs.
    pub name: &'static str,
    /// Calls at a time, at least 1; default 16.
    pub most_in_flight: usize,
    /// The longest time between two looks at what is due; default 5 s. Wake-ups do not cross
    /// processes, and a replica that died leaves its leases to the others.
    pub poll: Duration,
    /// How long an answer is held on to when the database is away; default 15 s. After that the
    /// lease runs out and the call is made again. A lease should outlast this and the call itself.
    pub store_for: Duration,
    /// How long calls under way may hold up the end of the process; default 8 s.
    pub close_within: Duration,
}

impl Settings {
    /// The defaults, for the task `name`.
    pub const fn new(name: &'static str) -> Self {
        Self {
            name,
            most_in_flight: 16,
            poll: Duration::from_secs(5),
            store_for: Duration::from_secs(15),
            close_within: Duration::from_secs(8),
        }
    }
}

/// An attempt that is ours to make.
#[derive(Debug, Clone)]
pub struct Leased<A> {
    /// What to ask for.
    pub attempt: A,
    /// Why.
    pub cause: Cause,
}

/// What a look at the stored wishes gave.
#[derive(Debug, Clone)]
pub struct Taken<A> {
    /// The attempts that are ours now.
    pub leased: Vec<Leased<A>>,
    /// When the next of the others is due; none when no other waits for its time.
    pub next_due: Option<DateTime<Utc>>,
}

/// What came of a call.
#[derive(Debug, Clone)]
pub struct Called<R> {
    /// What there is to store; that nobody answered, too.
    pub answer: R,
    /// Whether the other side is there. A refusal is an answer. After 8 calls in a row without one
    /// it is left alone for a while.
    pub answered: bool,
    /// Why what follows from the call happens: the cause of the attempt, within the call's span.
    pub cause: Cause,
}

/// A call that has ended.
#[derive(Debug, Clone)]
pub struct Answered<A, R> {
    /// What was asked for.
    pub attempt: A,
    /// What there is to store.
    pub answer: R,
    /// Why what follows from the call happens.
    pub cause: Cause,
    /// When it ended, by the clock's running time.
    at: Duration,
}

impl<A, R> Answered<A, R> {
    /// The causes of what follows from these calls, by the id of what each attempt is `about`.
    pub fn causes(answered: &[Self], about: impl Fn(&A) -> Uuid) -> Causes {
        answered.iter().map(|one| (about(&one.attempt), one.cause.clone())).collect()
    }
}

/// What differs between one call to the outside world and another.
pub trait Errand: Send + Sync + 'static {
    /// One attempt at one wish: all that the call needs to know.
    type Attempt: Send + Sync + 'static;
    /// What came of an attempt, or that nothing did.
    type Answer: Send + Sync + 'static;

    /// How it is run; read once.
    fn settings(&self) -> Settings;

    /// The service's database, and the clock.
    fn pool(&self) -> &Pool;

    /// Given when there is a new wish: [`Tx::after_commit`].
    fn wanted(&self) -> &Signal;

    /// What the attempt is about, for logs. No personal data.
    fn id(attempt: &Self::Attempt) -> impl Display;

    /// Leases at most `most` attempts that are due and that nobody alive is at, the longest due
    /// first. An idle task asks this at every look, so keep it cheap: an index on what is due.
    ///
    /// # Errors
    /// The database's own; they are logged, and it is asked again after a pause.
    fn take(
        &self,
        most: usize,
    ) -> impl Future<Output = Result<Taken<Self::Attempt>, sqlx::Error>> + Send;

    /// Calls the outside world because of `cause`. It has to end: give every call a timeout.
    fn call(
        &self,
        attempt: &Self::Attempt,
        cause: Cause,
    ) -> impl Future<Output = Called<Self::Answer>> + Send;

    /// Stores what came of attempts, one at least, in a transaction that is committed after it. Each has
    /// a cause of its own: [`Tx::because_of`]. Where a lease ran out, two may be at one wish. Returns when
    /// the first of the next attempts is due, if there is to be one.
    ///
    /// # Errors
    /// Any; each is tried again alone then, for as long as [`Settings::store_for`] says.
    fn settle(
        &self,
        tx: &mut Tx,
        answered: &[Answered<Self::Attempt, Self::Answer>],
    ) -> impl Future<Output = anyhow::Result<Option<DateTime<Utc>>>> + Send;
}
