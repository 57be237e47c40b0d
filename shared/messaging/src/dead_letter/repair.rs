//! What an operator can do about dead letters: look, replay, cancel, discard. Everything goes by the
//! service's database; the service itself does the work, so a replay outlives whoever asked for it.
//!
//! ```no_run
//! # async fn example(pg: sqlx::PgPool) -> Result<(), sqlx::Error> {
//! use envelope::Clock;
//! use messaging::repair::{Asked, DeadLetters, Filter, Selection};
//!
//! let letters = DeadLetters::new(pg, Clock::system());
//! for group in letters.groups(&Filter::default()).await? {
//!     println!("{}: {} of {:?}", group.reason_code, group.letters, group.event_type);
//! }
//! let rejected = Selection::Group { reason_code: "rejected".into(), event_type: None };
//! let asked = Asked { by: "grace", note: "the discount is right again" };
//! if let Some(replay) = letters.replay(&rejected, 50, asked).await? {
//!     println!("{} letters go back, job {}", replay.pending, replay.job);
//! }
//! # Ok(())
//! # }
//! ```

mod making;
mod reading;

use envelope::Clock;
use serde::Serialize;
use sqlx::PgPool;
use uuid::Uuid;

pub(super) use self::making::{Request, create};
pub use self::reading::{
    Decision, Filter, Group, JobState, JobStatus, Letter, LetterOutcome, Summary,
};
use crate::housekeeping::Retention;
use crate::presence;

/// Letters per second, unless somebody says otherwise.
pub const USUAL_RATE: i32 = 50;
/// The highest rate there is.
pub const HIGHEST_RATE: i32 = 10_000;

/// Why a letter is refused that was replayed or discarded before.
pub(super) const DECIDED: &str = "decided meanwhile";
/// Why a letter is refused that another job has.
const BUSY: &str = "already being replayed";

/// The dead letters of one service. Cheap to clone.
#[derive(Debug, Clone)]
pub struct DeadLetters {
    pg: PgPool,
    clock: Clock,
}

/// Which letters.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Selection {
    /// These, whatever was decided over them: what may not be is told of each.
    Ids(Vec<Uuid>),
    /// All that are parked for one reason, or those of one type, short or full, among them.
    Group {
        /// As [`Code::as_str`](crate::reason::Code::as_str) has it.
        reason_code: String,
        /// The type, if only one is meant.
        #[serde(skip_serializing_if = "Option::is_none")]
        event_type: Option<String>,
    },
    /// All that are parked.
    All,
}

/// Who wants something, and why.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// For the log.
    pub by: &'a str,
    /// In words, for whoever reads the log later.
    pub note: &'a str,
}

/// A letter that something was not done to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Refused {
    /// The letter.
    pub id: Uuid,
    /// Why not.
    pub reason: String,
}

/// A replay that was asked for.
#[derive(Debug, Clone, Serialize)]
pub struct Replay {
    /// To ask for its state by.
    pub job: Uuid,
    /// Letters that go back.
    pub pending: usize,
    /// Those that do not.
    pub refused: Vec<Refused>,
}

/// What a replay would do.
#[derive(Debug, Clone, Serialize)]
pub struct Preview {
    /// Those that would go back, in this order.
    pub pending: Vec<Uuid>,
    /// Those that would not.
    pub refused: Vec<Refused>,
}

/// What became of letters that were to be discarded.
#[derive(Debug, Clone, Serialize)]
pub struct Discarded {
    /// Those that are.
    pub discarded: Vec<Uuid>,
    /// Those that are not.
    pub refused: Vec<Refused>,
}

impl DeadLetters {
    /// Those in a service's database.
    pub fn new(pg: PgPool, clock: Clock) -> Self {
        Self { pg, clock }
    }

    /// Asks for a replay: original bytes and headers, to the queue that they came from and nobody
    /// else, at most `rate` letters per second, in the order of their aggregates' versions. None when
    /// nothing is selected.
    ///
    /// Each letter that is parked and in no other replay goes; of the others it is told why not. The
    /// service works on it: [`status`](Self::status) tells how far it is.
    ///
    /// # Errors
    /// The database's own, also for a rate that is not between 1 and [`HIGHEST_RATE`].
    pub async fn replay(
        &self,
        selection: &Selection,
        rate: i32,
        asked: Asked<'_>,
    ) -> Result<Option<Replay>, sqlx::Error> {
        let request = Request { selection, rate, asked, second_chance: false };
        let mut replay = create(&self.pg, &self.clock, &request).await;
        // A letter that another replay has and that was parked again since, before our look at both.
        if replay.as_ref().is_err_and(making::is_taken) {
            replay = create(&self.pg, &self.clock, &request).await;
        }
        let replay = replay?;
        if replay.is_some() {
            // Without it the service looks within some seconds.
            let _ = presence::tell(&self.pg, presence::REPLAYS).await;
        }
        Ok(replay)
    }

    /// What [`replay`](Self::replay) would do with these letters now; changes nothing. `retention` is
    /// the service's.
    ///
    /// # Errors
    /// The database's own.
    pub async fn preview(
        &self,
        selection: &Selection,
        retention: &Retention,
    ) -> Result<Preview, sqlx::Error> {
        let (ids, reason_code, event_type) = selection.parts();
        let now = self.clock.now();
        let rows = sqlx::query!(
            r#"select id,
                case when exists(select from messaging.replay_letter letter
                        where letter.dead_letter_id = dead.id and outcome = 'pending')
                    or state = 'replaying' then $5
                when state <> 'parked' then $6
                when parked_at < $7 or occurred_at < $8 then 'stale' end as reason
            from messaging.dead_letter dead
            where ($1::uuid[] is null or id = any($1)) and ($2::text is null or reason_code = $2)
              and ($3::text is null or type = $3 or type like '%.' || $4)
              and ($1::uuid[] is not null or state = 'parked')
            order by source, subject, aggversion, parked_at, id"#,
            ids,
            reason_code,
            event_type,
            event_type.map(escaped),
            BUSY,
            DECIDED,
            now - retention.replay,
            now - retention.inbox,
        )
        .fetch_all(&self.pg)
        .await?;
        let (mut pending, mut refused) = (Vec::new(), Vec::new());
        for row in rows {
            match row.reason {
                Some(reason) => refused.push(Refused { id: row.id, reason }),
                None => pending.push(row.id),
            }
        }
        Ok(Preview { pending, refused })
    }

    /// Ends a replay: what has not gone yet stays parked. Returns how many letters that are; None
    /// when there is no such job or it has ended.
    ///
    /// # Errors
    /// The database's own.
    pub async fn cancel(&self, job: Uuid, asked: Asked<'_>) -> Result<Option<u64>, sqlx::Error> {
        let cancelled = sqlx::query_scalar!(
            r#"with job as (
                update messaging.replay_job set state = 'cancelled', ended_at = $2, owner = null
                where id = $1 and state = 'running' returning id),
            letters as (
                update messaging.replay_letter letter set outcome = 'cancelled', at = $2
                from job where letter.job_id = job.id and outcome = 'pending'
                returning letter.dead_letter_id),
            locked as materialized (
                select dead.id from messaging.dead_letter dead
                join letters on letters.dead_letter_id = dead.id
                order by dead.id for update of dead),
            back as (
                update messaging.dead_letter dead set state = 'parked'
                from locked where dead.id = locked.id and dead.state = 'replaying'),
            log as (
                insert into messaging.dead_letter_log
                    (at, who, what, dead_letter_id, job_id, queue, event_id, type, note)
                select $2, $3, 'cancelled', dead.id, $1, dead.queue, dead.event_id, dead.type, $4
                from letters join messaging.dead_letter dead on dead.id = letters.dead_letter_id)
            select (select count(*) from letters) as "n!" from job"#,
            job,
            self.clock.now(),
            asked.by,
            asked.note,
        )
        .fetch_optional(&self.pg)
        .await?;
        Ok(cancelled.map(i64::unsigned_abs))
    }

    /// Decides that letters are never to be handled. They and the decision can be seen until they are
    /// pruned, and the decision for ever.
    ///
    /// # Errors
    /// The database's own.
    pub async fn discard(
        &self,
        selection: &Selection,
        asked: Asked<'_>,
    ) -> Result<Discarded, sqlx::Error> {
        let (ids, reason_code, event_type) = selection.parts();
        let rows = sqlx::query!(
            r#"with chosen as materialized (
                select id, state, exists(select from messaging.replay_letter letter
                    where letter.dead_letter_id = dead.id and outcome = 'pending') as busy
                from messaging.dead_letter dead
                where ($1::uuid[] is null or id = any($1))
                  and ($2::text is null or reason_code = $2)
                  and ($3::text is null or type = $3 or type like '%.' || $4)
                  and ($1::uuid[] is not null or state = 'parked')
                order by id for update),
            gone as (
                update messaging.dead_letter dead set state = 'discarded', decided_at = $5
                from chosen where dead.id = chosen.id and chosen.state = 'parked' and not busy
                returning dead.id, dead.queue, dead.event_id, dead.type),
            log as (
                insert into messaging.dead_letter_log
                    (at, who, what, dead_letter_id, queue, event_id, type, note)
                select $5, $6, 'discarded', id, queue, event_id, type, $7 from gone)
            select id, state, busy as "busy!", exists(select from gone where gone.id = chosen.id)
                as "gone!"
            from chosen order by id"#,
            ids,
            reason_code,
            event_type,
            event_type.map(escaped),
            self.clock.now(),
            asked.by,
            asked.note,
        )
        .fetch_all(&self.pg)
        .await?;
        let mut done = Discarded { discarded: Vec::new(), refused: Vec::new() };
        for row in rows {
            if row.gone {
                done.discarded.push(row.id);
            } else {
                let reason = if row.busy || row.state == "replaying" { BUSY } else { DECIDED };
                done.refused.push(Refused { id: row.id, reason: reason.to_owned() });
            }
        }
        Ok(done)
    }
}

impl Selection {
    /// Ids, reason and type, each as far as it narrows the selection.
    fn parts(&self) -> (Option<&[Uuid]>, Option<&str>, Option<&str>) {
        match self {
            Self::Ids(ids) => (Some(ids), None, None),
            Self::Group { reason_code, event_type } => {
                (None, Some(reason_code), event_type.as_deref())
            }
            Self::All => (None, None, None),
        }
    }
}

/// Text as `like` takes it word for word.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_")
}
