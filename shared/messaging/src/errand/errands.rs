//! The task that runs errands.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use envelope::Clock;
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

use super::breaker::Breaker;
use super::{Called, Errand, Leased, Settings};
use crate::crash::{self, Point};
use crate::retry::Backoff;
use crate::step::{Progress, Step, repeat};
use crate::tx::Tx;

/// An attempt that has ended.
pub(super) struct Ended {
    answered: bool,
    /// The wish is due again after this long.
    again_in: Option<Duration>,
}

/// Runs errands, several at a time: one that the other side keeps waiting holds up no other.
pub struct Errands<E: Errand> {
    pub(super) errand: Arc<E>,
    settings: Settings,
    /// Tasks of their own: a transaction that nobody drives would keep its connection from the rest.
    pub(super) in_flight: JoinSet<Ended>,
    breaker: Breaker,
    database_away: Backoff,
    /// When to look for what is due while calls are under way, by the clock's running time.
    look_at: Duration,
    /// Whether calls are made one after the other, each within a step.
    in_turn: bool,
    stop: CancellationToken,
}

impl<E: Errand> Errands<E> {
    /// Nothing happens until it is stepped or run.
    pub fn new(errand: E) -> Self {
        let settings = errand.settings();
        let (errand, in_flight) = (Arc::new(errand), JoinSet::new());
        let (breaker, database_away) = (Breaker::new(settings.name), database_away());
        let (look_at, stop) = (Duration::ZERO, CancellationToken::new());
        let in_turn = false;
        Self { errand, settings, in_flight, breaker, database_away, look_at, in_turn, stop }
    }

    /// Makes calls one after the other, each within a step: for whoever makes all steps himself.
    #[must_use]
    pub fn in_turn(self) -> Self {
        Self { in_turn: true, ..self }
    }

    fn clock(&self) -> &Clock {
        self.errand.pool().clock()
    }

    /// Runs until `stop`, woken by [`Errand::wanted`], and drains.
    pub async fn run(mut self, stop: CancellationToken) {
        let wanted = self.errand.wanted().clone();
        self.errand.pool().tell_when_present(&wanted);
        self.stop = stop.clone();
        repeat(self, wanted, stop).await;
    }

    /// Begins what is due, as far as there is room. Returns how long to wait before the next look,
    /// unless something happens.
    async fn begin(&mut self) -> Duration {
        if let Some(left) = self.breaker.open_for(self.clock()) {
            return left;
        }
        let (in_flight, poll) = (self.in_flight.len(), self.settings.poll);
        if self.errand.pool().is_absent() {
            // What we leased now, others would take for that of a dead process. Our return wakes us.
            return poll;
        }
        let free = self.settings.most_in_flight.saturating_sub(in_flight);
        let room = self.breaker.room(free, in_flight, self.clock());
        if room == 0 {
            return poll;
        }
        let left = self.look_at.saturating_sub(self.clock().running());
        if in_flight > 0 && !left.is_zero() {
            return left;
        }
        let pause = match self.errand.take(room).await {
            Ok(taken) => {
                self.database_away.reset();
                // What was called in turn has changed what is due.
                let full = taken.leased.len() == room || self.in_turn && !taken.leased.is_empty();
                if !taken.leased.is_empty() {
                    crash::point(Point::C16);
                }
                for leased in taken.leased {
                    let attempt = attempt(self.errand.clone(), self.settings, leased);
                    if self.in_turn {
                        let ended = attempt.await;
                        self.note(Ok(ended));
                    } else {
                        self.in_flight.spawn(attempt);
                    }
                }
                let now = self.errand.pool().clock().now();
                let next = taken.next_due.map_or(poll, |due| until(due, now));
                if full { Duration::ZERO } else { next.min(poll) }
            }
            Err(error) => {
                tracing::warn!(task = self.settings.name, %error, "what is due cannot be read");
                self.database_away.next(self.errand.pool().clock())
            }
        };
        self.look_at = self.clock().running() + pause;
        pause
    }

    fn note(&mut self, ended: Result<Ended, JoinError>) {
        let ended = ended.unwrap_or_else(|error| {
            let task = self.settings.name;
            tracing::error!(task, %error, "an attempt broke off; its lease will run out");
            Ended { answered: true, again_in: None }
        });
        if ended.answered {
            self.breaker.succeeded();
        } else {
            self.breaker.failed(self.errand.pool().clock());
        }
        if let Some(pause) = ended.again_in {
            self.look_at = self.look_at.min(self.clock().running() + pause);
        }
    }
}

impl<E: Errand> Step for Errands<E> {
    async fn step(&mut self) -> Progress {
        let pause = self.begin().await;
        if self.in_flight.is_empty() {
            return Progress::Idle(pause);
        }
        tokio::select! {
            Some(ended) = self.in_flight.join_next() => self.note(ended),
            () = self.errand.wanted().wait() => self.look_at = Duration::ZERO,
            () = self.stop.cancelled() => {}
            () = tokio::time::sleep(pause) => {}
        }
        Progress::More
    }

    /// The calls under way are answered and stored. One whose answer is too long in coming is left:
    /// its lease runs out, or ends with this process, and it is made again.
    async fn close(&mut self) {
        let all = async { while self.in_flight.join_next().await.is_some() {} };
        if tokio::time::timeout(self.settings.close_within, all).await.is_err() {
            let (task, calls) = (self.settings.name, self.in_flight.len());
            tracing::warn!(task, calls, "calls under way were left");
            self.in_flight.abort_all();
        }
    }
}

async fn attempt<E: Errand>(
    errand: Arc<E>,
    settings: Settings,
    Leased { attempt, cause }: Leased<E::Attempt>,
) -> Ended {
    let called = errand.call(&attempt, cause).await;
    crash::point(Point::C17);
    let again_in = store(&*errand, settings, &attempt, &called).await;
    Ended { answered: called.answered, again_in }
}

/// Stores what came of an attempt. Should that fail for good, the lease runs out and the call is
/// made again.
async fn store<E: Errand>(
    errand: &E,
    settings: Settings,
    attempt: &E::Attempt,
    called: &Called<E::Answer>,
) -> Option<Duration> {
    let begun = errand.pool().clock().running();
    let mut away = database_away();
    loop {
        match commit(errand, attempt, called).await {
            Ok(again_in) => return again_in,
            Err(error) => {
                let (task, id) = (settings.name, E::id(attempt).to_string());
                tracing::warn!(task, id, %error, "outcome not stored");
            }
        }
        if errand.pool().clock().running().saturating_sub(begun) >= settings.store_for {
            return None;
        }
        tokio::time::sleep(away.next(errand.pool().clock())).await;
    }
}

async fn commit<E: Errand>(
    errand: &E,
    attempt: &E::Attempt,
    called: &Called<E::Answer>,
) -> anyhow::Result<Option<Duration>> {
    let mut tx = Tx::begin(errand.pool(), called.cause.clone()).await?;
    let now = tx.now();
    let again = errand.settle(&mut tx, attempt, &called.answer).await?;
    tx.commit().await?;
    Ok(again.map(|due| until(due, now)))
}

fn database_away() -> Backoff {
    Backoff::new(Duration::from_millis(50), Duration::from_secs(1))
}

fn until(due: DateTime<Utc>, now: DateTime<Utc>) -> Duration {
    (due - now).to_std().unwrap_or_default()
}
