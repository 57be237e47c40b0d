//! Looking at dead letters and at what was decided over them. Nothing here changes anything.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sqlx::types::Json;
use uuid::Uuid;

use super::{DeadLetters, Refused, escaped};
use crate::transport::Properties;

/// Which letters to look at; each part that is there narrows it.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Those that came from this queue.
    pub queue: Option<String>,
    /// Those that were parked for this reason.
    pub reason_code: Option<String>,
    /// Those of this type, short or full.
    pub event_type: Option<String>,
    /// Those that were decided over, too, and not only those that are parked or being replayed.
    pub decided: bool,
}

/// Letters that were parked for one reason.
#[derive(Debug, Clone, Serialize)]
pub struct Group {
    /// Where they came from.
    pub queue: String,
    /// The reason.
    pub reason_code: String,
    /// Their type, as they claim.
    #[serde(rename = "type")]
    pub event_type: Option<String>,
    /// `parked`, `replaying`, `replayed` or `discarded`.
    pub state: String,
    /// How many there are.
    pub letters: i64,
    /// When the first of them was parked.
    pub first_parked_at: DateTime<Utc>,
    /// When the last of them was parked.
    pub last_parked_at: DateTime<Utc>,
    /// The reason of one of them, in words.
    pub example: String,
}

/// A letter in a list.
#[derive(Debug, Clone, Serialize)]
pub struct Summary {
    /// Its id in this table.
    pub id: Uuid,
    /// Where it came from.
    pub queue: String,
    /// `parked`, `replaying`, `replayed` or `discarded`.
    pub state: String,
    /// Why it was parked.
    pub reason_code: String,
    /// The same in words.
    pub reason: String,
    /// Failed attempts.
    pub attempts: i32,
    /// Its type, as it claims.
    #[serde(rename = "type")]
    pub event_type: Option<String>,
    /// Its aggregate, as it claims.
    pub subject: Option<String>,
    /// Its version in that aggregate, as it claims.
    pub aggversion: Option<i32>,
    /// Its event's id, as it claims.
    pub event_id: Option<Uuid>,
    /// When the first attempt failed.
    pub first_failed_at: Option<DateTime<Utc>>,
    /// When it was parked.
    pub parked_at: DateTime<Utc>,
}

/// A letter with all that is known of it.
#[derive(Debug, Clone)]
pub struct Letter {
    /// What stands in lists.
    pub summary: Summary,
    /// Who published it, as it claims.
    pub source: Option<String>,
    /// How often it was parked.
    pub parkings: i32,
    /// What stood beside its headers.
    pub properties: Properties,
    /// Its headers.
    pub headers: BTreeMap<String, String>,
    /// The exact bytes.
    pub body: Vec<u8>,
    /// What was decided over it, oldest first.
    pub history: Vec<Decision>,
}

/// Something that was decided over a letter, or that came of it.
#[derive(Debug, Clone, Serialize)]
pub struct Decision {
    /// When.
    pub at: DateTime<Utc>,
    /// Who asked for it.
    pub who: String,
    /// `replay`, `replayed`, `refused`, `cancelled` or `discarded`.
    pub what: String,
    /// The replay it belongs to.
    pub job: Option<Uuid>,
    /// Why.
    pub note: String,
}

/// Whether a replay is under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobState {
    /// Some letters have not gone yet.
    Running,
    /// Something became of each.
    Done,
    /// Somebody ended it.
    Cancelled,
}

/// How far a replay is.
#[derive(Debug, Clone, Serialize)]
pub struct JobStatus {
    /// Its id.
    pub job: Uuid,
    /// Whether it is under way.
    pub state: JobState,
    /// Who asked for it.
    pub asked_by: String,
    /// When.
    pub asked_at: DateTime<Utc>,
    /// Why.
    pub note: String,
    /// Letters per second.
    pub rate: i32,
    /// What was asked for.
    pub selection: serde_json::Value,
    /// When it ended.
    pub ended_at: Option<DateTime<Utc>>,
    /// What holds it up.
    pub trouble: Option<String>,
    /// Whether some process of the service has it.
    pub in_hand: bool,
    /// Letters that have not gone yet.
    pub pending: i64,
    /// Letters that the broker has confirmed in their queue.
    pub replayed: i64,
    /// Those of them that are parked again: they have failed once more.
    pub parked_again: i64,
    /// Letters that stayed parked because somebody ended the replay.
    pub cancelled: i64,
    /// Letters that may not be replayed.
    pub refused: Vec<Refused>,
}

/// What became of one letter of a replay.
#[derive(Debug, Clone, Serialize)]
pub struct LetterOutcome {
    /// The letter.
    pub id: Uuid,
    /// `pending`, `replayed`, `refused` or `cancelled`.
    pub outcome: String,
    /// Why it was refused, or what it waits for.
    pub reason: Option<String>,
    /// Since when.
    pub at: Option<DateTime<Utc>>,
}

impl DeadLetters {
    /// The letters by queue, reason, type and state; large groups first.
    ///
    /// # Errors
    /// The database's own.
    pub async fn groups(&self, filter: &Filter) -> Result<Vec<Group>, sqlx::Error> {
        sqlx::query_as!(
            Group,
            r#"select queue, reason_code, type as event_type, state, count(*) as "letters!",
                min(parked_at) as "first_parked_at!", max(parked_at) as "last_parked_at!",
                min(reason) as "example!"
            from messaging.dead_letter
            where ($1::text is null or queue = $1) and ($2::text is null or reason_code = $2)
              and ($3::text is null or type = $3 or type like '%.' || $4)
              and ($5 or state in ('parked', 'replaying'))
            group by queue, reason_code, type, state
            order by count(*) desc, queue, reason_code, type, state"#,
            filter.queue,
            filter.reason_code,
            filter.event_type,
            filter.event_type.as_deref().map(escaped),
            filter.decided,
        )
        .fetch_all(&self.pg)
        .await
    }

    /// Letters one by one, those parked last first, `most` at most.
    ///
    /// # Errors
    /// The database's own.
    pub async fn list(&self, filter: &Filter, most: i64) -> Result<Vec<Summary>, sqlx::Error> {
        sqlx::query_as!(
            Summary,
            "select id, queue, state, reason_code, reason, attempts, type as event_type, subject,
                aggversion, event_id, first_failed_at, parked_at
            from messaging.dead_letter
            where ($1::text is null or queue = $1) and ($2::text is null or reason_code = $2)
              and ($3::text is null or type = $3 or type like '%.' || $4)
              and ($5 or state in ('parked', 'replaying'))
            order by parked_at desc, id desc limit $6",
            filter.queue,
            filter.reason_code,
            filter.event_type,
            filter.event_type.as_deref().map(escaped),
            filter.decided,
            most,
        )
        .fetch_all(&self.pg)
        .await
    }

    /// Which of these are letters here.
    ///
    /// # Errors
    /// The database's own.
    pub async fn known(&self, ids: &[Uuid]) -> Result<Vec<Uuid>, sqlx::Error> {
        sqlx::query_scalar!("select id from messaging.dead_letter where id = any($1)", ids)
            .fetch_all(&self.pg)
            .await
    }

    /// A letter with all that is known of it.
    ///
    /// # Errors
    /// The database's own.
    pub async fn find(&self, id: Uuid) -> Result<Option<Letter>, sqlx::Error> {
        let row = sqlx::query!(
            r#"select id, queue, state, reason_code, reason, attempts, type as event_type, subject,
                aggversion, event_id, first_failed_at, parked_at, source, parkings,
                properties as "properties: Json<Properties>",
                headers as "headers: Json<BTreeMap<String, String>>", body
            from messaging.dead_letter where id = $1"#,
            id,
        )
        .fetch_optional(&self.pg)
        .await?;
        let Some(row) = row else { return Ok(None) };
        let summary = Summary {
            id: row.id,
            queue: row.queue,
            state: row.state,
            reason_code: row.reason_code,
            reason: row.reason,
            attempts: row.attempts,
            event_type: row.event_type,
            subject: row.subject,
            aggversion: row.aggversion,
            event_id: row.event_id,
            first_failed_at: row.first_failed_at,
            parked_at: row.parked_at,
        };
        Ok(Some(Letter {
            summary,
            source: row.source,
            parkings: row.parkings,
            properties: row.properties.0,
            headers: row.headers.0,
            body: row.body,
            history: self.history(id).await?,
        }))
    }

    async fn history(&self, id: Uuid) -> Result<Vec<Decision>, sqlx::Error> {
        sqlx::query_as!(
            Decision,
            "select at, who, what, job_id as job, note from messaging.dead_letter_log
            where dead_letter_id = $1 order by seq",
            id,
        )
        .fetch_all(&self.pg)
        .await
    }

    /// How far a replay is; None when there is none of this id here.
    ///
    /// # Errors
    /// The database's own.
    pub async fn status(&self, job: Uuid) -> Result<Option<JobStatus>, sqlx::Error> {
        let row = sqlx::query!(
            r#"select id, state, asked_by, asked_at, note, rate, selection, ended_at, trouble,
                owner is not null and owner in (select messaging.live_instances()) as "in_hand!",
                (select count(*) from messaging.replay_letter
                    where job_id = $1 and outcome = 'pending') as "pending!",
                (select count(*) from messaging.replay_letter
                    where job_id = $1 and outcome = 'replayed') as "replayed!",
                (select count(*) from messaging.replay_letter letter
                    join messaging.dead_letter dead on dead.id = letter.dead_letter_id
                    where letter.job_id = $1 and letter.outcome = 'replayed'
                      and dead.state in ('parked', 'replaying')) as "parked_again!",
                (select count(*) from messaging.replay_letter
                    where job_id = $1 and outcome = 'cancelled') as "cancelled!"
            from messaging.replay_job where id = $1"#,
            job,
        )
        .fetch_optional(&self.pg)
        .await?;
        let Some(row) = row else { return Ok(None) };
        let refused = sqlx::query_as!(
            Refused,
            r#"select dead_letter_id as id, coalesce(reason, '') as "reason!"
            from messaging.replay_letter where job_id = $1 and outcome = 'refused' order by place"#,
            job,
        )
        .fetch_all(&self.pg)
        .await?;
        Ok(Some(JobStatus {
            job: row.id,
            state: state(&row.state),
            asked_by: row.asked_by,
            asked_at: row.asked_at,
            note: row.note,
            rate: row.rate,
            selection: row.selection,
            ended_at: row.ended_at,
            trouble: row.trouble,
            in_hand: row.in_hand,
            pending: row.pending,
            replayed: row.replayed,
            parked_again: row.parked_again,
            cancelled: row.cancelled,
            refused,
        }))
    }

    /// What became of each letter of a replay, in its order.
    ///
    /// # Errors
    /// The database's own.
    pub async fn outcomes(&self, job: Uuid) -> Result<Vec<LetterOutcome>, sqlx::Error> {
        sqlx::query_as!(
            LetterOutcome,
            "select dead_letter_id as id, outcome, reason, at from messaging.replay_letter
            where job_id = $1 order by place",
            job,
        )
        .fetch_all(&self.pg)
        .await
    }

    /// The replays that run, and up to `most` of those that have ended, newest first.
    ///
    /// # Errors
    /// The database's own.
    pub async fn jobs(&self, most: i64) -> Result<Vec<JobStatus>, sqlx::Error> {
        let ids = sqlx::query_scalar!(
            "select id from messaging.replay_job order by state = 'running' desc, asked_at desc
            limit $1",
            most,
        )
        .fetch_all(&self.pg)
        .await?;
        let mut all = Vec::with_capacity(ids.len());
        for id in ids {
            all.extend(self.status(id).await?);
        }
        Ok(all)
    }
}

fn state(text: &str) -> JobState {
    match text {
        "done" => JobState::Done,
        "cancelled" => JobState::Cancelled,
        _ => JobState::Running,
    }
}
