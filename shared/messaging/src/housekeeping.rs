//! Deletes what nobody needs any more, in small bites away from the hot end of the tables.

use std::time::Duration;

use chrono::TimeDelta;
use metrics::counter;

use crate::pool::Pool;
use crate::step::{Progress, Step};
use crate::{answers, dead_letter, inbox, outbox};

/// Rows per bite: short enough that nobody waits for its locks.
const BITE: i64 = 1_000;
const PAUSE: Duration = Duration::from_secs(300);
/// An inbox row outlives its message by this: a message may be a day ahead of our clock, and our clock
/// some way ahead of that of the replica that handles it.
const INBOX_MARGIN: TimeDelta = TimeDelta::hours(26);

/// How long rows are kept.
#[derive(Debug, Clone)]
pub struct Retention {
    /// Published outbox rows; default 30 days.
    pub outbox: TimeDelta,
    /// Inbox rows, at least; default 30 days. A message older than this is not believed to be new.
    /// Must exceed everything after which one can still arrive: the retry ladder and `replay`.
    pub inbox: TimeDelta,
    /// The longest after its parking that a message may be replayed; default 14 days.
    pub replay: TimeDelta,
    /// Dead letters that were replayed or discarded, and the records of replays; default 30 days. Those
    /// that are parked stay, and so does the log of what was decided.
    pub decided: TimeDelta,
    /// [Answers to requests](crate::answers); default 24 hours. A key that was answered longer ago
    /// is a new key, whether or not its row is still there.
    pub answers: TimeDelta,
}

impl Default for Retention {
    fn default() -> Self {
        let month = TimeDelta::days(30);
        let replay = TimeDelta::days(14);
        let answers = answers::USUALLY_KEPT;
        Self { outbox: month, inbox: month, replay, decided: month, answers }
    }
}

/// Prunes outbox, inbox, answers, and the dead letters that were decided over.
pub struct Housekeeping {
    pool: Pool,
    retention: Retention,
}

impl Housekeeping {
    /// Prunes `pool`'s tables by `retention`.
    pub fn new(pool: Pool, retention: Retention) -> Self {
        Self { pool, retention }
    }

    async fn prune(&self) -> Result<u64, sqlx::Error> {
        let (pg, now) = (self.pool.pg(), self.pool.clock().now());
        let published = outbox::prune(pg, now - self.retention.outbox, BITE).await?;
        let handled = inbox::prune(pg, now - self.retention.inbox - INBOX_MARGIN, BITE).await?;
        let answered = answers::prune(pg, now - self.retention.answers, BITE).await?;
        let decided = dead_letter::prune(pg, now - self.retention.decided, BITE).await?;
        counter!("pruned_total", "table" => "dead_letter").increment(decided);
        counter!("pruned_total", "table" => "outbox").increment(published);
        counter!("pruned_total", "table" => "inbox").increment(handled);
        counter!("pruned_total", "table" => "answer").increment(answered);
        Ok(published.max(handled).max(answered).max(decided))
    }
}

impl Step for Housekeeping {
    async fn step(&mut self) -> Progress {
        match self.prune().await {
            // A full bite: there is more, but others want the disk too.
            Ok(deleted) if deleted >= BITE.unsigned_abs() => {
                Progress::Idle(Duration::from_millis(50))
            }
            Ok(_) => Progress::Idle(PAUSE),
            Err(error) => {
                tracing::debug!(%error, "housekeeping waits");
                Progress::Idle(PAUSE)
            }
        }
    }
}
