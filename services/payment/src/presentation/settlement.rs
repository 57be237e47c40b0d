//! The task that asks the gateway: leases payments, asks outside any transaction, and stores what
//! came of it in one.

use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use messaging::retry::Backoff;
use messaging::step::{Progress, Step};
use messaging::{Cause, Tx};
use tokio::task::{JoinError, JoinSet};

use super::breaker::Breaker;
use crate::application::ports::{Attempt, GatewayError, Outcome, StoreError};
use crate::application::settle_payment::{ask, record};
use crate::{App, Leased, store};

/// Calls to the gateway at a time.
const MOST_IN_FLIGHT: usize = 16;
/// The longest time between two looks at the payments: wake-ups do not cross processes, and a
/// replica that died leaves its leases to the others.
const POLL: Duration = Duration::from_secs(5);
/// How long an outcome is held on to when the database is away; then it is looked up again.
const STORE_FOR: Duration = Duration::from_secs(15);
/// How long calls under way may hold up the end of the process.
const CLOSE_WITHIN: Duration = Duration::from_secs(8);

/// An attempt that has ended.
struct Ended {
    answered: bool,
    /// The payment is due again after this long.
    again_in: Option<Duration>,
}

/// Settles payments, several at a time: one that the gateway keeps waiting holds up no other.
pub struct Settlement {
    app: App,
    /// Tasks of their own: a transaction that nobody drives would keep its connection from the rest.
    in_flight: JoinSet<Ended>,
    breaker: Breaker,
    database_away: Backoff,
    /// When to look for due payments while calls are under way.
    look_at: Instant,
}

impl Settlement {
    /// Settles the payments of `app`.
    pub fn new(app: App) -> Self {
        let database_away = Backoff::new(Duration::from_millis(50), Duration::from_secs(1));
        let (in_flight, breaker, look_at) = (JoinSet::new(), Breaker::new(), Instant::now());
        Self { app, in_flight, breaker, database_away, look_at }
    }

    /// Begins what is due, as far as there is room. Returns how long to wait before the next look,
    /// unless something happens.
    async fn begin(&mut self) -> Duration {
        if let Some(left) = self.breaker.open_for() {
            return left;
        }
        let in_flight = self.in_flight.len();
        let room = self.breaker.room(MOST_IN_FLIGHT - in_flight, in_flight);
        if room == 0 {
            return POLL;
        }
        let left = self.look_at.saturating_duration_since(Instant::now());
        if in_flight > 0 && !left.is_zero() {
            return left;
        }
        let pause = match self.app.leases.take(room).await {
            Ok(taken) => {
                self.database_away.reset();
                let full = taken.leased.len() == room;
                for leased in taken.leased {
                    self.in_flight.spawn(attempt(self.app.clone(), leased));
                }
                let now = self.app.pool.clock().now();
                let next = taken.next_due.map_or(POLL, |due| until(due, now));
                if full { Duration::ZERO } else { next.min(POLL) }
            }
            Err(error) => {
                tracing::warn!(%error, "payments cannot be read");
                self.database_away.next(self.app.pool.clock())
            }
        };
        self.look_at = Instant::now() + pause;
        pause
    }

    fn note(&mut self, ended: Result<Ended, JoinError>) {
        let ended = ended.unwrap_or_else(|error| {
            tracing::error!(%error, "an attempt broke off; its lease will run out");
            Ended { answered: true, again_in: None }
        });
        if ended.answered {
            self.breaker.succeeded();
        } else {
            self.breaker.failed(self.app.pool.clock());
        }
        if let Some(pause) = ended.again_in {
            self.look_at = self.look_at.min(Instant::now() + pause);
        }
    }
}

impl Step for Settlement {
    async fn step(&mut self) -> Progress {
        let pause = self.begin().await;
        if self.in_flight.is_empty() {
            return Progress::Idle(pause);
        }
        tokio::select! {
            Some(ended) = self.in_flight.join_next() => self.note(ended),
            () = self.app.wanted.wait() => self.look_at = Instant::now(),
            () = tokio::time::sleep(pause) => {}
        }
        Progress::More
    }

    /// The calls under way are answered and stored. One whose answer is too long in coming is left,
    /// in doubt: the next process looks it up.
    async fn close(&mut self) {
        let all = async { while self.in_flight.join_next().await.is_some() {} };
        if tokio::time::timeout(CLOSE_WITHIN, all).await.is_err() {
            tracing::warn!(calls = self.in_flight.len(), "calls under way were left");
            self.in_flight.abort_all();
        }
    }
}

async fn attempt(app: App, leased: Leased) -> Ended {
    let Leased { attempt, cause } = leased;
    let mut gateway = app.gateway.talk(cause);
    let answer = ask(&mut gateway, &attempt).await;
    if let Err(error) = &answer {
        let (order_id, number) = (attempt.order_id, attempt.number);
        tracing::info!(%order_id, attempt = number, %error, "payment is not settled yet");
    }
    // A refusal is an answer, too.
    let answered = matches!(answer, Ok(_) | Err(GatewayError::Refused(_)));
    let again_in = settle(&app, &gateway.cause(), &attempt, &answer).await;
    Ended { answered, again_in }
}

/// Stores what came of an attempt. Should that fail for good, the lease runs out and the truth is
/// looked up.
async fn settle(
    app: &App,
    cause: &Cause,
    attempt: &Attempt,
    answer: &Result<Outcome, GatewayError>,
) -> Option<Duration> {
    let begun = Instant::now();
    let mut away = Backoff::new(Duration::from_millis(50), Duration::from_secs(1));
    loop {
        match commit(app, cause.clone(), attempt, answer).await {
            Ok(again_in) => return again_in,
            Err(error) => {
                let order_id = attempt.order_id;
                tracing::warn!(%order_id, error = %anyhow::Error::from(error), "outcome not stored");
            }
        }
        if begun.elapsed() >= STORE_FOR {
            return None;
        }
        tokio::time::sleep(away.next(app.pool.clock())).await;
    }
}

async fn commit(
    app: &App,
    cause: Cause,
    attempt: &Attempt,
    answer: &Result<Outcome, GatewayError>,
) -> Result<Option<Duration>, StoreError> {
    let mut tx = Tx::begin(&app.pool, cause).await?;
    let (now, unit) = (tx.now(), app.pool.clock().unit());
    let again = record(&mut store(&mut tx), attempt, answer, unit, now).await?;
    tx.commit().await?;
    Ok(again.map(|due| until(due, now)))
}

fn until(due: DateTime<Utc>, now: DateTime<Utc>) -> Duration {
    (due - now).to_std().unwrap_or_default()
}
