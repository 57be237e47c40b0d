//! The task that runs errands.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use envelope::Clock;
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

use super::breaker::Breaker;
use super::{Answered, Called, Errand, Leased, Settings};
use crate::crash::{self, Point};
use crate::retry::Backoff;
use crate::step::{Progress, Step, repeat};
use crate::tx::Tx;

/// A call that has ended: whether the other side is there, and what came of it.
type Ended<E> = (bool, AnsweredBy<E>);

type AnsweredBy<E> = Answered<<E as Errand>::Attempt, <E as Errand>::Answer>;

/// Runs errands, several at a time: one that the other side keeps waiting holds up no other.
pub struct Errands<E: Errand> {
    pub(super) errand: Arc<E>,
    settings: Settings,
    /// Calls under way. Tasks of their own: one that nobody drives would time out.
    pub(super) calls: JoinSet<Ended<E>>,
    /// What came of others, until it is stored.
    answered: Vec<AnsweredBy<E>>,
    /// What is being stored, one transaction for all of it, and how much that is. It gives when the
    /// next of these wishes is due.
    storing: JoinSet<Option<Duration>>,
    being_stored: usize,
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
        Self {
            errand: Arc::new(errand),
            settings,
            calls: JoinSet::new(),
            answered: Vec::new(),
            storing: JoinSet::new(),
            being_stored: 0,
            breaker: Breaker::new(settings.name),
            database_away: database_away(),
            look_at: Duration::ZERO,
            in_turn: false,
            stop: CancellationToken::new(),
        }
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
        let (in_flight, poll) = (self.in_flight(), self.settings.poll);
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
                    let call = call(self.errand.clone(), leased);
                    if self.in_turn {
                        let ended = call.await;
                        self.note(Ok(ended));
                        self.store_in_turn().await;
                    } else {
                        self.calls.spawn(call);
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

    /// Attempts that have begun and are not stored.
    pub(super) fn in_flight(&self) -> usize {
        self.calls.len() + self.answered.len() + self.being_stored
    }

    fn note(&mut self, ended: Result<Ended<E>, JoinError>) {
        match ended {
            Ok((true, answered)) => {
                self.breaker.succeeded();
                self.answered.push(answered);
            }
            Ok((false, answered)) => {
                self.breaker.failed(self.errand.pool().clock());
                self.answered.push(answered);
            }
            Err(error) => self.broke_off(&error),
        }
    }

    fn broke_off(&self, error: &JoinError) {
        let task = self.settings.name;
        tracing::error!(task, %error, "an attempt broke off; its lease will run out");
    }

    fn note_stored(&mut self, again_in: Option<Duration>) {
        if let Some(pause) = again_in {
            self.look_at = self.look_at.min(self.clock().running() + pause);
        }
    }

    /// Stores what was answered, unless that is being done with what was answered before. So answers
    /// that come faster than transactions end share one.
    fn store_answered(&mut self) {
        while let Some(ended) = self.calls.try_join_next() {
            self.note(ended);
        }
        if self.being_stored == 0 && !self.answered.is_empty() {
            let answered = std::mem::take(&mut self.answered);
            self.being_stored = answered.len();
            self.storing.spawn(store(self.errand.clone(), self.settings, answered));
        }
    }

    async fn store_in_turn(&mut self) {
        let answered = std::mem::take(&mut self.answered);
        let again_in = store(self.errand.clone(), self.settings, answered).await;
        self.note_stored(again_in);
    }

    fn stored(&mut self, ended: Result<Option<Duration>, JoinError>) {
        self.being_stored = 0;
        match ended {
            Ok(again_in) => self.note_stored(again_in),
            Err(error) => self.broke_off(&error),
        }
    }

    /// Waits until something ends. At most one of both does.
    async fn next_end(&mut self) {
        tokio::select! {
            Some(ended) = self.calls.join_next() => self.note(ended),
            Some(ended) = self.storing.join_next() => self.stored(ended),
        }
        self.store_answered();
    }
}

impl<E: Errand> Step for Errands<E> {
    async fn step(&mut self) -> Progress {
        let pause = self.begin().await;
        if self.in_flight() == 0 {
            return Progress::Idle(pause);
        }
        let (wanted, stop) = (self.errand.wanted().clone(), self.stop.clone());
        tokio::select! {
            () = self.next_end() => {}
            () = wanted.wait() => self.look_at = Duration::ZERO,
            () = stop.cancelled() => {}
            () = tokio::time::sleep(pause) => {}
        }
        Progress::More
    }

    /// The calls under way are answered and stored. One whose answer is too long in coming is left:
    /// its lease runs out, or ends with this process, and it is made again.
    async fn close(&mut self) {
        let within = self.settings.close_within;
        let all = async {
            while self.in_flight() > 0 {
                self.next_end().await;
            }
        };
        if tokio::time::timeout(within, all).await.is_err() {
            let (task, calls) = (self.settings.name, self.in_flight());
            tracing::warn!(task, calls, "calls under way were left");
            self.calls.abort_all();
            self.storing.abort_all();
        }
    }
}

async fn call<E: Errand>(
    errand: Arc<E>,
    Leased { attempt, cause }: Leased<E::Attempt>,
) -> Ended<E> {
    let Called { answer, answered, cause } = errand.call(&attempt, cause).await;
    crash::point(Point::C17);
    let at = errand.pool().clock().running();
    (answered, Answered { attempt, answer, cause, at })
}

/// Stores what came of attempts: in one transaction, and where that fails in one for each, as one of them
/// may be in the way of all. Should that fail for good, the lease runs out and the call is made again.
/// Returns when the next attempt is due.
async fn store<E: Errand>(
    errand: Arc<E>,
    settings: Settings,
    mut answered: Vec<AnsweredBy<E>>,
) -> Option<Duration> {
    let (mut away, mut together) = (database_away(), answered.len() > 1);
    let mut next: Option<Duration> = None;
    loop {
        let size = if together { answered.len() } else { 1 };
        let mut left = Vec::new();
        while !answered.is_empty() {
            let rest = answered.split_off(size);
            match commit(&*errand, &answered).await {
                Ok(again_in) => next = next.into_iter().chain(again_in).min(),
                Err(error) => {
                    let (task, id) = (settings.name, id_of::<E>(&answered));
                    tracing::warn!(task, id, answers = size, %error, "outcome not stored");
                    left.append(&mut answered);
                }
            }
            answered = rest;
        }
        answered = left;
        if !std::mem::take(&mut together) {
            let now = errand.pool().clock().running();
            answered.retain(|one| now.saturating_sub(one.at) < settings.store_for);
            if answered.is_empty() {
                return next;
            }
            tokio::time::sleep(away.next(errand.pool().clock())).await;
        }
    }
}

fn id_of<E: Errand>(answered: &[AnsweredBy<E>]) -> String {
    answered.first().map(|one| E::id(&one.attempt).to_string()).unwrap_or_default()
}

async fn commit<E: Errand>(
    errand: &E,
    answered: &[AnsweredBy<E>],
) -> anyhow::Result<Option<Duration>> {
    let Some(first) = answered.first() else { return Ok(None) };
    let mut tx = Tx::begin(errand.pool(), first.cause.clone()).await?;
    let now = tx.now();
    let next = errand.settle(&mut tx, answered).await?;
    tx.commit().await?;
    Ok(next.map(|due| until(due, now)))
}

fn database_away() -> Backoff {
    Backoff::new(Duration::from_millis(50), Duration::from_secs(1))
}

fn until(due: DateTime<Utc>, now: DateTime<Utc>) -> Duration {
    (due - now).to_std().unwrap_or_default()
}
