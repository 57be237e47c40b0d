//! The consumer: takes deliveries from the broker to the handlers.
//!
//! Whatever is ready, up to a chunk, is verified together and handled in one transaction; the
//! acknowledgements come after its commit. While what handlers need is away, messages wait and nothing
//! is taken: see [`Breaker`].

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::breaker::{self, Breaker};
use crate::clerk::{self, Away, Batch, Clerk, Settled};
use crate::crash::{self, Point};
use crate::intake::Intake;
use crate::pool::Pool;
use crate::retry::Backoff;
use crate::step::{Progress, Step};
use crate::topology::Topology;
use crate::trace;
use crate::transport::{Delivery, Subscription, Transport, TransportError};
use crate::vitals::{Part, Vitals};

/// How often a settlement that has no place to go is tried again.
const OWED_AGAIN: Duration = Duration::from_secs(1);

/// How a consumer works.
#[derive(Debug, Clone)]
pub struct ConsumerSettings {
    /// Most unsettled deliveries at a time; bounds memory, and what a crash redelivers.
    pub prefetch: u16,
    /// Most deliveries per transaction. 1 switches chunks off.
    pub chunk: usize,
    /// The longest that one handler may take. Keep it under half the broker's consumer time-out.
    pub deadline: Duration,
}

impl Default for ConsumerSettings {
    fn default() -> Self {
        Self { prefetch: 128, chunk: 64, deadline: Duration::from_secs(30) }
    }
}

/// Consumes one service's work queue.
pub struct Consumer {
    clerk: Clerk,
    transport: Arc<dyn Transport>,
    prefetch: u16,
    chunk: usize,
    stop: CancellationToken,
    vitals: Vitals,
    subscription: Option<Box<dyn Subscription>>,
    /// Deliveries that could not be handled, for no fault of theirs; the first one is tried first.
    waiting: VecDeque<Delivery>,
    /// Whether some settlements have no place to go.
    owing: bool,
    breaker: Breaker,
    /// Whether the subscription delivers nothing. The first of those that wait is all it has then.
    paused: bool,
    broker_away: Backoff,
}

impl Consumer {
    pub(crate) fn new(
        pool: Pool,
        transport: Arc<dyn Transport>,
        topology: Topology,
        intake: Arc<Intake>,
        settings: &ConsumerSettings,
        stop: CancellationToken,
        vitals: Vitals,
    ) -> Self {
        let ConsumerSettings { prefetch, chunk, deadline } = *settings;
        Self {
            clerk: Clerk { pool, topology, intake, deadline },
            transport,
            prefetch,
            chunk,
            stop,
            vitals,
            subscription: None,
            waiting: VecDeque::new(),
            owing: false,
            breaker: Breaker::new(),
            paused: false,
            broker_away: Backoff::new(Duration::from_millis(50), Duration::from_secs(1)),
        }
    }

    async fn subscribe(&mut self) -> Result<(), TransportError> {
        // What an ended subscription delivered comes again; settling it here would be in vain.
        self.waiting.clear();
        (self.owing, self.paused) = (false, false);
        let topology = &self.clerk.topology;
        let subscription = self.transport.subscribe(topology, self.prefetch).await?;
        self.subscription = Some(subscription);
        self.breaker.reset();
        self.vitals.well(Part::Consumer);
        Ok(())
    }

    fn subscription(&mut self) -> Result<&mut Box<dyn Subscription>, TransportError> {
        let closed = || TransportError::Away("subscription is closed".into());
        self.subscription.as_mut().ok_or_else(closed)
    }

    async fn advance(&mut self) -> Result<Progress, TransportError> {
        if self.subscription.is_none() {
            // Taking messages only to give them back would count as failed deliveries of theirs.
            if self.breaker.in_doubt()
                && let Err(away) = self.clerk.check_database().await
            {
                return Ok(self.wait(&away));
            }
            self.subscribe().await?;
        }
        let chunk = self.next().await?;
        crash::point(Point::C7);
        let owing = self.owing || self.paused || chunk.is_empty();
        let (accepted, refused) = self.clerk.judge(chunk);
        crash::point(Point::C8);
        let tried = !accepted.is_empty();
        let away = self.work(accepted).await?;
        // What is wrong in itself comes last, so that the good ones do not wait for its copies, and needs
        // no database.
        if !refused.is_empty() || owing {
            self.settle(refused).await?;
        }
        self.broker_away.reset();
        match away {
            Some(away) => self.hold(&away).await,
            None if tried || self.waiting.is_empty() => self.go_on().await,
            None => Ok(Progress::More),
        }
    }

    /// What to work on: in doubt one message, which shows whether there is a reason to doubt.
    async fn next(&mut self) -> Result<Vec<Delivery>, TransportError> {
        if self.breaker.in_doubt()
            && let Some(probe) = self.waiting.pop_front()
        {
            return Ok(vec![probe]);
        }
        if !self.waiting.is_empty() {
            return Ok(self.waiting.drain(..).collect());
        }
        let (max, stop, owing) = (self.chunk, self.stop.clone(), self.owing);
        let subscription = self.subscription()?;
        tokio::select! {
            () = stop.cancelled() => Ok(Vec::new()),
            () = tokio::time::sleep(OWED_AGAIN), if owing => Ok(Vec::new()),
            chunk = subscription.next(max) => chunk,
        }
    }

    /// Handles what may be handled, batch by batch. What could not be, for no fault of its own, waits
    /// in front of what waited before.
    async fn work(&mut self, accepted: Batch) -> Result<Option<Away>, TransportError> {
        let (mut left, mut away) = (Vec::new(), None);
        for batch in self.batches(accepted) {
            if away.is_some() {
                left.extend(batch.into_iter().map(|(delivery, _)| delivery));
                continue;
            }
            #[cfg(feature = "crash-points")]
            if crash::has(crash::Bug::AckBeforeCommit) {
                let done = crate::transport::Settlement::Done;
                let early = batch.iter().map(|(one, _)| (one.clone(), done.clone()));
                self.settle(early.collect()).await?;
            }
            let worked = self.clerk.handle(batch).await;
            left.extend(worked.waiting);
            away = worked.away;
            if !worked.settled.is_empty() {
                crash::point(Point::C13);
                let settled = self.settle(worked.settled).await;
                for copy in &worked.copies {
                    if settled.is_err() || self.owing {
                        trace::fail(copy, "unplaced", "has found no place yet");
                    }
                    trace::end(copy);
                }
                settled?;
                crash::point(Point::C14);
            }
        }
        left.into_iter().rev().for_each(|delivery| self.waiting.push_front(delivery));
        Ok(away)
    }

    /// What comes for the first time goes together. What came before goes alone and is settled before
    /// the next: one of them may have ended the process that had it, and would take the others along
    /// again and again, until the broker gave up on all. In a drawn order, so that those behind the
    /// guilty one get their turn; where order matters, of an aggregate the earlier event first, or each
    /// of them would spend an attempt until chance has dealt with those before it.
    fn batches(&self, accepted: Batch) -> Vec<Batch> {
        let clock = self.clerk.pool.clock();
        let (again, first): (Batch, Batch) =
            accepted.into_iter().partition(|(delivery, _)| delivery.redelivered);
        let mut again: Vec<(f64, Batch)> =
            again.into_iter().map(|one| (clock.unit(), vec![one])).collect();
        again.sort_by(|one, other| one.0.total_cmp(&other.0));
        let mut batches = vec![in_version_order(first, |(_, one)| one.place())];
        let again = again.into_iter().map(|(_, alone)| alone).collect();
        batches.extend(in_version_order(again, |alone| alone.first()?.1.place()));
        batches.retain(|batch| !batch.is_empty());
        batches
    }

    /// What handlers need is away: messages wait, unsettled, and after a while in their queue.
    async fn hold(&mut self, away: &Away) -> Result<Progress, TransportError> {
        let progress = self.wait(away);
        if self.breaker.is_open() && !self.paused {
            self.waiting.truncate(1);
            if let (Some(subscription), Some(probe)) =
                (self.subscription.as_mut(), self.waiting.front())
            {
                subscription.pause(probe).await?;
                self.paused = true;
            }
        }
        Ok(progress)
    }

    fn wait(&mut self, away: &Away) -> Progress {
        let pause = self.breaker.failed(self.clerk.pool.clock());
        let held = if self.breaker.is_open() { "paused; " } else { "" };
        self.vitals.ill(Part::Consumer, format!("{held}{away}"));
        Progress::Idle(pause)
    }

    /// A message got through to its handler, or none is left that could not.
    async fn go_on(&mut self) -> Result<Progress, TransportError> {
        if self.paused {
            self.subscription()?.resume().await?;
            self.paused = false;
        }
        if self.breaker.in_doubt() {
            self.breaker.reset();
            self.thrive();
        }
        Ok(Progress::More)
    }

    fn thrive(&self) {
        if !self.owing && !self.breaker.in_doubt() {
            self.vitals.well(Part::Consumer);
        }
    }

    /// Messages without a place to go are kept, and those behind them pass.
    async fn settle(&mut self, settled: Settled) -> Result<(), TransportError> {
        match self.subscription()?.settle(settled).await {
            Ok(()) => {
                self.owing = false;
                self.thrive();
            }
            Err(TransportError::Topology(why)) => {
                self.owing = true;
                self.vitals.ill(Part::Consumer, why);
            }
            Err(away) => return Err(away),
        }
        Ok(())
    }
}

/// Puts those of one aggregate into the order of their versions, in the places that they have among the
/// others. `place` says of which aggregate one is and which version of it, where that matters.
fn in_version_order<T, A: Ord, V: Ord>(
    all: Vec<T>,
    place: impl Fn(&T) -> Option<(A, V)>,
) -> Vec<T> {
    let places: Vec<Option<(A, V)>> = all.iter().map(place).collect();
    let mut slots: Vec<usize> = (0..all.len()).filter(|n| places[*n].is_some()).collect();
    let mut order = slots.clone();
    let aggregate = |n: &usize| places[*n].as_ref().map(|(aggregate, _)| aggregate);
    slots.sort_by(|one, other| aggregate(one).cmp(&aggregate(other)));
    order.sort_by(|one, other| places[*one].cmp(&places[*other]));
    let mut from: Vec<usize> = (0..all.len()).collect();
    slots.into_iter().zip(order).for_each(|(slot, n)| from[slot] = n);
    let mut all: Vec<Option<T>> = all.into_iter().map(Some).collect();
    from.into_iter().filter_map(|n| all[n].take()).collect()
}

/// The metrics of consumers, before anything has happened.
pub(crate) fn name_metrics() {
    clerk::name_metrics();
    breaker::name_metric(breaker::TASK);
}

impl Step for Consumer {
    async fn step(&mut self) -> Progress {
        match self.advance().await {
            Ok(progress) => progress,
            Err(error) => {
                self.vitals.ill(Part::Consumer, error.to_string());
                if let Some(spent) = self.subscription.take() {
                    spent.close().await;
                }
                Progress::Idle(self.broker_away.next(self.clerk.pool.clock()))
            }
        }
    }

    async fn close(&mut self) {
        if let Some(subscription) = self.subscription.take() {
            subscription.close().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_aggregates_events_are_put_in_order_where_they_stand() {
        let all =
            vec![("a", 3), ("", 9), ("b", 2), ("a", 1), ("", 8), ("b", 1), ("a", 2), ("a", 1)];
        let place = |one: &(&'static str, i32)| (!one.0.is_empty()).then_some(*one);
        let expected =
            [("a", 1), ("", 9), ("b", 1), ("a", 1), ("", 8), ("b", 2), ("a", 2), ("a", 3)];
        assert_eq!(in_version_order(all, place), expected);
        assert_eq!(in_version_order(Vec::new(), place), []);
    }
}
