//! Orders in an even pace, or as many as there is room for.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use futures_util::future::try_join_all;
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use super::World;
use super::customers::place;
use super::watch::Watch;

/// Longer than any order takes that is not lost.
const ENDED_WITHIN: Duration = Duration::from_secs(60);

/// Between two looks of a customer who waits.
const HELD: Duration = Duration::from_millis(10);

/// A load whose orders are followed to their end.
#[derive(Debug)]
pub(crate) struct Load<'a> {
    world: &'a World,
    watch: &'a Watch,
    /// In the idempotency keys: no other load of the same world has it.
    name: &'a str,
    placed: AtomicU64,
    confirmed: AtomicU64,
    held: AtomicBool,
}

/// How long each order of a load took, in milliseconds, in the order of their ends.
#[derive(Debug, Default)]
pub(crate) struct Times {
    /// From the request to its answer.
    pub(crate) answered: Vec<f64>,
    /// From the request until the stream tells that it is confirmed.
    pub(crate) confirmed: Vec<f64>,
}

impl Times {
    fn take(&mut self, (answered, confirmed): (Duration, Duration)) {
        self.answered.push(millis(answered));
        self.confirmed.push(millis(confirmed));
    }
}

impl<'a> Load<'a> {
    pub(crate) fn new(world: &'a World, watch: &'a Watch, name: &'a str) -> Self {
        let (placed, confirmed, held) = Default::default();
        Self { world, watch, name, placed, confirmed, held }
    }

    /// Orders that were placed so far.
    pub(crate) fn placed(&self) -> u64 {
        self.placed.load(Ordering::Relaxed)
    }

    /// Whether customers of a [closed](Self::closed) load place no orders for now.
    pub(crate) fn hold(&self, held: bool) {
        self.held.store(held, Ordering::Relaxed);
    }

    /// Orders that were confirmed so far.
    pub(crate) fn confirmed(&self) -> u64 {
        self.confirmed.load(Ordering::Relaxed)
    }

    /// One order, from its request to its end.
    async fn one(&self) -> anyhow::Result<(Duration, Duration)> {
        let n = self.placed.fetch_add(1, Ordering::Relaxed);
        let placed = place(self.world, self.name, n).await?;
        let ended = timeout(ENDED_WITHIN, self.watch.end_of(placed.order)).await;
        let ended = ended.with_context(|| format!("order {} does not end", placed.order))??;
        ensure!(ended.status == "confirmed", "order {} is {}", placed.order, ended.status);
        self.confirmed.fetch_add(1, Ordering::Relaxed);
        Ok((placed.answered, ended.at.saturating_duration_since(placed.sent)))
    }

    /// So many orders per second, whatever the answers take, and waits for the end of all.
    ///
    /// # Errors
    /// When one is not accepted or not confirmed.
    pub(crate) async fn paced(&self, rate: u32, during: Duration) -> anyhow::Result<Times> {
        let mut ticks = interval(Duration::from_secs(1) / rate);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
        let until = Instant::now() + during;
        let (mut times, mut open) = (Times::default(), FuturesUnordered::new());
        while Instant::now() < until {
            tokio::select! {
                _ = ticks.tick() => open.push(self.one()),
                Some(took) = open.next(), if !open.is_empty() => times.take(took?),
            }
        }
        while let Some(took) = open.next().await {
            times.take(took?);
        }
        Ok(times)
    }

    /// As many orders in flight, for as long, and waits for the end of all.
    ///
    /// # Errors
    /// When one is not accepted or not confirmed.
    pub(crate) async fn closed(&self, in_flight: usize, during: Duration) -> anyhow::Result<()> {
        let until = Instant::now() + during;
        let customer = || async {
            while Instant::now() < until {
                match self.held.load(Ordering::Relaxed) {
                    true => sleep(HELD).await,
                    false => drop(self.one().await?),
                }
            }
            anyhow::Ok(())
        };
        try_join_all((0..in_flight).map(|_| customer())).await?;
        Ok(())
    }
}

/// Milliseconds with their fractions.
pub(crate) fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
