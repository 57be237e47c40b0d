//! What changes in a service, as server-sent events: first what has been, then what happens.
//!
//! Changes stand in the database under numbers that all replicas share. One task per process follows
//! them and hands each to the streams that are open there; a stream reads what has been from the
//! database, page by page, and never asks it for what happens. What a stream holds does not grow while
//! its client does not read: one that falls too far behind ends, and the client comes back with the id
//! of the last event that it has seen, to any replica.
//!
//! ```no_run
//! use axum::response::Response;
//! use feed::{Changes, Feed, Stream, Told, last_event_id};
//! use http::HeaderMap;
//! use messaging::Pool;
//! use tokio_util::sync::CancellationToken;
//!
//! #[derive(Clone)]
//! struct Lamps(Pool);
//!
//! /// Lamp `1` was lit as the `0`th.
//! type Lit = (i64, String);
//!
//! impl Changes for Lamps {
//!     type Change = Lit;
//!
//!     fn number(lit: &Lit) -> i64 {
//!         lit.0
//!     }
//!
//!     async fn last(&self) -> anyhow::Result<i64> {
//!         let sql = "select coalesce(max(number), 0) from lit";
//!         Ok(sqlx::query_scalar(sql).fetch_one(self.0.pg()).await?)
//!     }
//!
//!     async fn after(&self, after: i64, limit: i64) -> anyhow::Result<Vec<Lit>> {
//!         let sql = "select number, lamp from lit where number > $1 order by number limit $2";
//!         Ok(sqlx::query_as(sql).bind(after).bind(limit).fetch_all(self.0.pg()).await?)
//!     }
//! }
//!
//! /// Once per process. Its follower runs beside it: `Follower::new(feed).run(stop)`.
//! fn feed(pool: Pool) -> Feed<Lamps> {
//!     Feed::new(Lamps(pool.clone()), |lit| lit.1.clone(), pool, "lit_lamps")
//! }
//!
//! /// Once per client.
//! async fn stream(
//!     feed: &Feed<Lamps>,
//!     headers: &HeaderMap,
//!     stop: CancellationToken,
//! ) -> anyhow::Result<Response> {
//!     let tell = |lit: &Lit| Some(Told { event: "lit", id: lit.0, ends: false });
//!     Stream::of_all(feed, last_event_id(headers), tell, stop).await
//! }
//! ```

mod follower;
mod stream;

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use http::HeaderMap;
use messaging::step::Signal;
use messaging::{Bell, Pool};
use tokio::sync::{Semaphore, broadcast};

pub use follower::Follower;
pub use stream::{MEDIA_TYPE, Stream, Told};

/// Changes that a stream may be behind; all streams share one copy of them.
const BEHIND: usize = 4_096;
/// Streams that read from the database at the same time, so that however many come back at once, they
/// leave connections to others.
const READS: usize = 4;
/// As long as one waits for its turn.
const WAIT_FOR_READ: Duration = Duration::from_secs(3);
const HEARTBEAT: Duration = Duration::from_secs(15);

/// Changes in a database, in one sequence that all replicas share.
pub trait Changes: Clone + Send + Sync + 'static {
    /// A change, as streams are told of it.
    type Change: Send + Sync + 'static;

    /// The number of a change: above those of all changes that were visible before it.
    fn number(change: &Self::Change) -> i64;

    /// The number of the last change; 0 when there was none.
    fn last(&self) -> impl Future<Output = anyhow::Result<i64>> + Send;

    /// At most `limit` changes after the one with the number `after`, in sequence.
    fn after(
        &self,
        after: i64,
        limit: i64,
    ) -> impl Future<Output = anyhow::Result<Vec<Self::Change>>> + Send;

    /// Numbers what was committed without, where numbers are given afterwards; how many.
    fn give_numbers(&self) -> impl Future<Output = anyhow::Result<u64>> + Send {
        std::future::ready(Ok(0))
    }
}

/// What changes come through: the signal that there may be some, and the channel to the streams.
/// Clones share it.
pub struct Feed<C: Changes>(Arc<Inner<C>>);

struct Inner<C: Changes> {
    changes: C,
    render: fn(&C::Change) -> String,
    pool: Pool,
    bell: Bell,
    changed: Signal,
    /// Wakes the task that follows changes.
    look: Signal,
    /// Empty until the task knows from where on it tells of changes: who listens before might miss
    /// some.
    live: OnceLock<broadcast::Sender<Arc<Line<C>>>>,
    reads: Semaphore,
    heartbeat: Duration,
}

impl<C: Changes> Clone for Feed<C> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

/// The process has only just started, or has not found its database yet.
#[derive(Debug, thiserror::Error)]
#[error("changes are not followed yet")]
struct NotBegun;

impl<C: Changes> Feed<C> {
    /// A feed of `changes` in `pool`'s database, over which replicas tell each other of new ones on
    /// `channel`. `render` makes a change what streams send of it: one line.
    pub fn new(
        changes: C,
        render: fn(&C::Change) -> String,
        pool: Pool,
        channel: &'static str,
    ) -> Self {
        let bell = Bell::new(pool.clone(), channel);
        Self::of(changes, render, pool, bell, HEARTBEAT)
    }

    fn of(
        changes: C,
        render: fn(&C::Change) -> String,
        pool: Pool,
        bell: Bell,
        heartbeat: Duration,
    ) -> Self {
        let (changed, look) = (Signal::new(), Signal::new());
        let (live, reads) = (OnceLock::new(), Semaphore::new(READS));
        Self(Arc::new(Inner { changes, render, pool, bell, changed, look, live, reads, heartbeat }))
    }

    /// The same feed anew, with streams that show every `heartbeat` (15 s when nothing is said) that
    /// they are alive.
    #[must_use]
    pub fn with_heartbeat(&self, heartbeat: Duration) -> Self {
        let Inner { changes, render, pool, bell, .. } = &*self.0;
        Self::of(changes.clone(), *render, pool.clone(), bell.clone(), heartbeat)
    }

    /// To be given after each commit that may have changed something.
    pub fn changed(&self) -> &Signal {
        &self.0.changed
    }

    fn look(&self) -> &Signal {
        &self.0.look
    }

    /// The word to the other replicas.
    pub fn bell(&self) -> &Bell {
        &self.0.bell
    }

    /// How many streams wait for changes here at the moment.
    pub fn readers(&self) -> usize {
        self.0.live.get().map_or(0, broadcast::Sender::receiver_count)
    }

    /// What `read` finds, when it is its turn.
    async fn read(
        &self,
        read: impl Future<Output = anyhow::Result<Vec<C::Change>>>,
    ) -> anyhow::Result<Vec<Arc<Line<C>>>> {
        let turn = tokio::time::timeout(WAIT_FOR_READ, self.0.reads.acquire()).await;
        let _turn = turn??;
        Ok(read.await?.into_iter().map(|change| self.line(change)).collect())
    }

    fn line(&self, change: C::Change) -> Arc<Line<C>> {
        Arc::new(Line { data: (self.0.render)(&change), change })
    }

    /// All changes that are told from now on, and the latest that were told to nobody. None before the
    /// task has begun.
    fn subscribe(&self) -> Result<Live<C>, NotBegun> {
        let live = self.0.live.get().map(broadcast::Sender::subscribe).ok_or(NotBegun)?;
        self.look().notify();
        Ok(live)
    }

    /// Those that nobody hears are read from the database when somebody wants them.
    fn tell(&self, change: C::Change) {
        if let Some(live) = self.0.live.get().filter(|live| live.receiver_count() > 0) {
            let _ = live.send(self.line(change));
        }
    }
}

type Live<C> = broadcast::Receiver<Arc<Line<C>>>;

/// A change with what all streams send of it.
struct Line<C: Changes> {
    change: C::Change,
    data: String,
}

/// The `Last-Event-ID` of a client that comes back. None where it cannot be one of ours: then all is
/// told again.
pub fn last_event_id(headers: &HeaderMap) -> Option<i64> {
    let text = headers.get("last-event-id")?.to_str().ok()?;
    let id: i64 = text.parse().ok()?;
    (id > 0 && id.to_string() == text).then_some(id)
}
