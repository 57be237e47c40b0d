//! The task that puts committed changes in sequence and hands them to who follows them here.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use messaging::retry::Backoff;
use messaging::step::{Progress, Signal, Step, repeat};
use messaging::{Cause, Tx};
use tokio::sync::{Semaphore, broadcast};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::answers::ChangeBody;
use crate::application::ports::{Changes as _, StoreError};
use crate::application::views::ChangeRow;
use crate::{App, store};

/// Changes per look.
const BITE: i64 = 1_000;
/// Changes that a reader may be behind; all readers share one copy of them. One that is further behind
/// is dropped, and finds what it missed in the database when it is back.
const BEHIND: usize = 4_096;
/// After changes were numbered, others that are committed within this time are numbered together.
const PAUSE: Duration = Duration::from_millis(10);
/// The longest time between two looks: a replica may have died between its commit and its signal.
const POLL: Duration = Duration::from_secs(5);
/// Readers that read from the database at the same time, so that however many come back at once, they
/// leave connections to others.
const READS: usize = 4;
/// As long as one waits for a connection.
const WAIT_FOR_READ: Duration = Duration::from_secs(3);
const HEARTBEAT: Duration = Duration::from_secs(15);

/// A change, as readers are told of it.
pub(super) struct Change {
    /// Its number among the changes of all orders; 0 while it has none.
    pub(super) number: i64,
    pub(super) order_id: Uuid,
    pub(super) version: i64,
    /// Whether it was the order's last.
    pub(super) ends: bool,
    pub(super) data: String,
}

impl TryFrom<ChangeRow> for Change {
    type Error = serde_json::Error;

    fn try_from(row: ChangeRow) -> Result<Self, Self::Error> {
        Ok(Self {
            number: row.feed.unwrap_or_default(),
            order_id: row.order_id,
            version: row.version.into(),
            ends: row.status != "pending",
            data: serde_json::to_string(&ChangeBody::from(&row))?,
        })
    }
}

/// What the changes come through: the signal that there may be some, and the channel to the readers.
#[derive(Clone)]
pub struct Feed(Arc<Inner>);

struct Inner {
    changed: Signal,
    /// Empty until the task knows from where on it tells of changes: who listens before might miss
    /// some.
    live: OnceLock<broadcast::Sender<Arc<Change>>>,
    reads: Semaphore,
    heartbeat: Duration,
}

impl Default for Feed {
    fn default() -> Self {
        Self::with_heartbeat(HEARTBEAT)
    }
}

impl Feed {
    /// A feed whose streams show every `heartbeat` that they are alive.
    pub fn with_heartbeat(heartbeat: Duration) -> Self {
        let (changed, live) = (Signal::new(), OnceLock::new());
        Self(Arc::new(Inner { changed, live, reads: Semaphore::new(READS), heartbeat }))
    }

    /// To be given after each commit that may have changed an order.
    pub fn changed(&self) -> &Signal {
        &self.0.changed
    }

    /// How many streams wait for changes here at the moment.
    pub fn readers(&self) -> usize {
        self.0.live.get().map_or(0, broadcast::Sender::receiver_count)
    }

    pub(super) fn heartbeat(&self) -> Duration {
        self.0.heartbeat
    }

    /// All changes that are numbered from now on. None before the task has begun.
    pub(super) fn subscribe(&self) -> Option<broadcast::Receiver<Arc<Change>>> {
        self.0.live.get().map(broadcast::Sender::subscribe)
    }

    /// What `read` finds, when it is its turn.
    pub(super) async fn read(
        &self,
        read: impl Future<Output = Result<Vec<ChangeRow>, sqlx::Error>>,
    ) -> anyhow::Result<Vec<Change>> {
        let turn = tokio::time::timeout(WAIT_FOR_READ, self.0.reads.acquire()).await;
        let _turn = turn.map_err(|_| sqlx::Error::PoolTimedOut)??;
        Ok(read.await?.into_iter().map(Change::try_from).collect::<Result<_, _>>()?)
    }

    /// Those that nobody hears are read from the database when somebody wants them.
    fn tell(&self, change: Change) {
        if let Some(live) = self.0.live.get() {
            let _ = live.send(Arc::new(change));
        }
    }
}

/// Numbers what was committed, here or elsewhere, and tells the readers here. Any number of them work on
/// one database: they take turns, and each tells of all.
pub struct Follower {
    app: App,
    /// The number of the last change that was told.
    told: Option<i64>,
    trouble: Backoff,
}

impl Follower {
    /// Nothing happens until it is stepped or run.
    pub fn new(app: App) -> Self {
        Self { app, told: None, trouble: Backoff::new(Duration::from_millis(50), POLL) }
    }

    /// Runs until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        let (changed, bell) = (self.app.feed.changed().clone(), self.app.bell.clone());
        tokio::select! {
            () = repeat(self, changed.clone(), stop) => {}
            () = bell.hear(&changed) => {}
        }
    }

    async fn follow(&mut self) -> anyhow::Result<Progress> {
        let told = match self.told {
            Some(told) => told,
            None => self.begin().await?,
        };
        let numbered = self.number().await?;
        let changes = self.app.queries.changes(told, BITE).await?;
        let full = changes.len() as i64 == BITE;
        for change in changes {
            self.told = change.feed.or(self.told);
            self.app.feed.tell(change.try_into()?);
        }
        if numbered > 0 {
            tokio::time::sleep(PAUSE).await;
        }
        Ok(if full || numbered > 0 { Progress::More } else { Progress::Idle(POLL) })
    }

    /// What was before is for the readers themselves to read.
    async fn begin(&mut self) -> Result<i64, sqlx::Error> {
        let last = self.app.queries.last_change().await?;
        self.told = Some(last);
        self.app.feed.0.live.get_or_init(|| broadcast::Sender::new(BEHIND));
        Ok(last)
    }

    async fn number(&self) -> Result<u64, StoreError> {
        if !self.app.queries.some_unnumbered().await? {
            return Ok(0);
        }
        let nobody = Cause::resumed(Uuid::nil(), None, None, None);
        let mut tx = Tx::begin(&self.app.pool, nobody).await?;
        let numbered = store(&mut tx).number(BITE).await?;
        tx.commit().await?;
        if let Err(error) = self.app.bell.ring().await {
            tracing::debug!(%error, "the other replicas are not told; they will look");
        }
        Ok(numbered)
    }
}

impl Step for Follower {
    async fn step(&mut self) -> Progress {
        match self.follow().await {
            Ok(progress) => {
                self.trouble.reset();
                progress
            }
            Err(error) => {
                tracing::warn!(%error, "who follows orders waits");
                Progress::Idle(self.trouble.next(self.app.pool.clock()))
            }
        }
    }
}
