//! The task that follows changes and tells the streams of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use messaging::retry::Backoff;
use messaging::step::{Progress, Step, repeat};
use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;

use super::{BEHIND, Changes, Feed};

/// Changes per look.
const BITE: i64 = 1_000;
/// After changes were found, others that are committed within this time are told together.
const PAUSE: Duration = Duration::from_millis(10);
/// While nobody listens here, changes are looked at no more often than this. Who begins to listen
/// meanwhile is told of all of them.
const UNHEARD: Duration = Duration::from_secs(1);
/// The longest time between two looks: a replica may have died between its commit and its word.
const POLL: Duration = Duration::from_secs(5);

/// Follows what is committed, here or elsewhere, and tells the streams here. Any number of them work
/// on one database.
pub struct Follower<C: Changes> {
    feed: Feed<C>,
    /// The number of the last change that was told.
    told: Option<i64>,
    /// When nobody listened at the last look, by the clock's running time.
    unheard: Option<Duration>,
    /// Whether something was committed here, which the others do not know yet.
    own: Arc<AtomicBool>,
    trouble: Backoff,
}

impl<C: Changes> Follower<C> {
    /// Nothing happens until it is stepped or run.
    pub fn new(feed: Feed<C>) -> Self {
        let trouble = Backoff::new(Duration::from_millis(50), POLL);
        Self { feed, told: None, unheard: None, own: Arc::default(), trouble }
    }

    /// Runs until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        let (feed, look, own) =
            (self.feed.clone(), self.feed.look().clone(), Arc::clone(&self.own));
        let ours = async {
            loop {
                feed.changed().wait().await;
                own.store(true, Ordering::Release);
                look.notify();
            }
        };
        tokio::select! {
            () = repeat(self, look.clone(), stop) => {}
            () = ours => {}
            () = feed.bell().hear(&look) => {}
        }
    }

    async fn follow(&mut self) -> anyhow::Result<Progress> {
        // Before the look: what is committed after it gives the signal again.
        let own = self.own.swap(false, Ordering::AcqRel);
        let told = match self.told {
            Some(told) => told,
            None => self.begin().await?,
        };
        if let Some(left) = self.may_wait() {
            if !own {
                return Ok(Progress::Idle(left));
            }
            // Somebody may listen elsewhere.
            self.ring().await;
            return Ok(self.pause().await);
        }
        let numbered = self.feed.0.changes.give_numbers().await?;
        if own || numbered > 0 {
            self.ring().await;
        }
        if self.nobody_listens().await? {
            return Ok(Progress::Idle(POLL));
        }
        let changes = self.feed.0.changes.after(told, BITE).await?;
        let some = !changes.is_empty();
        for change in changes {
            self.told = Some(C::number(&change));
            self.feed.tell(change);
        }
        Ok(if some || numbered > 0 { self.pause().await } else { Progress::Idle(POLL) })
    }

    /// How long the next look has time, while nobody listens.
    fn may_wait(&self) -> Option<Duration> {
        if self.feed.readers() > 0 {
            return None;
        }
        let since = self.feed.0.pool.clock().running().saturating_sub(self.unheard?);
        UNHEARD.checked_sub(since).filter(|left| !left.is_zero())
    }

    /// Then nothing is read for nobody. A stream that begins reads by itself what was there before it
    /// did, so that what was there before the last look at who listens is told.
    async fn nobody_listens(&mut self) -> anyhow::Result<bool> {
        self.unheard = None;
        if self.feed.readers() > 0 {
            return Ok(false);
        }
        let last = self.feed.0.changes.last().await?;
        let nobody = self.feed.readers() == 0;
        if nobody {
            self.told = Some(last);
            self.unheard = Some(self.feed.0.pool.clock().running());
        }
        Ok(nobody)
    }

    async fn pause(&self) -> Progress {
        tokio::time::sleep(PAUSE).await;
        Progress::More
    }

    /// What was before is for the streams themselves to read.
    async fn begin(&mut self) -> anyhow::Result<i64> {
        let last = self.feed.0.changes.last().await?;
        self.told = Some(last);
        self.feed.0.live.get_or_init(|| broadcast::Sender::new(BEHIND));
        Ok(last)
    }

    async fn ring(&self) {
        if let Err(error) = self.feed.bell().ring().await {
            tracing::debug!(%error, "the other replicas are not told; they will look");
        }
    }
}

impl<C: Changes> Step for Follower<C> {
    async fn step(&mut self) -> Progress {
        match self.follow().await {
            Ok(progress) => {
                self.trouble.reset();
                progress
            }
            Err(error) => {
                tracing::warn!(%error, "who follows changes waits");
                Progress::Idle(self.trouble.next(self.feed.0.pool.clock()))
            }
        }
    }
}
