//! The replayer's side of jobs and their letters: all of its SQL.
//!
//! Each statement stands for itself: none holds a transaction while somebody talks to the broker.
//! Where one changes letters of a job and dead letters, it takes them in this order.

use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::PgPool;
use sqlx::types::Json;
use uuid::Uuid;

use crate::transport::Properties;

/// What is to be done, in one look.
pub(super) struct Work {
    /// Some job runs, here or elsewhere.
    pub(super) jobs: bool,
    /// Some letter has not had its second chance.
    pub(super) innocent: bool,
}

pub(super) async fn look(pg: &PgPool) -> Result<Work, sqlx::Error> {
    sqlx::query_as!(
        Work,
        r#"select exists(select from messaging.replay_job where state = 'running') as "jobs!",
            exists(select from messaging.dead_letter
                where state = 'parked' and reason_code = 'delivery_limit'
                  and not second_chance) as "innocent!""#
    )
    .fetch_one(pg)
    .await
}

/// A job that this process works on.
pub(super) struct Job {
    pub(super) id: Uuid,
    pub(super) rate: i32,
    pub(super) one_by_one: bool,
    /// Whether some of its letters wait.
    pub(super) pending: bool,
}

/// Takes the lease of a running job, or renews it; those that somebody asked for go first. None while
/// others work on all there are.
pub(super) async fn lease(
    pg: &PgPool,
    me: i32,
    now: DateTime<Utc>,
    until: DateTime<Utc>,
) -> Result<Option<Job>, sqlx::Error> {
    sqlx::query_as!(
        Job,
        r#"update messaging.replay_job job set owner = $1, leased_until = $3
        where id = (
            select id from messaging.replay_job
            where state = 'running'
              and (owner is null or owner = $1 or leased_until < $2
                   or owner not in (select messaging.live_instances()))
            order by one_by_one, asked_at, id limit 1 for update skip locked)
        returning id, rate, one_by_one,
            exists(select from messaging.replay_letter letter
                where letter.job_id = job.id and outcome = 'pending') as "pending!""#,
        me,
        now,
        until,
    )
    .fetch_optional(pg)
    .await
}

/// Gives the leases of this process back.
pub(super) async fn release(pg: &PgPool, me: i32) -> Result<u64, sqlx::Error> {
    let released = sqlx::query!(
        "update messaging.replay_job set owner = null, leased_until = '-infinity'
        where owner = $1 and state = 'running'",
        me,
    )
    .execute(pg)
    .await?;
    Ok(released.rows_affected())
}

/// Whether nobody knows yet what became of some letter that was sent after `since` by a job that goes
/// one by one, this one or another.
pub(super) async fn is_under_way(
    pg: &PgPool,
    consumer: &str,
    since: DateTime<Utc>,
) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar!(
        r#"select exists(
            select from messaging.replay_job job
            join messaging.replay_letter letter on letter.job_id = job.id
            join messaging.dead_letter dead on dead.id = letter.dead_letter_id
            where job.one_by_one and (job.state = 'running' or job.ended_at > $2)
              and letter.outcome = 'replayed' and letter.at > $2 and dead.state = 'replayed'
              and not exists(select from messaging.inbox
                  where consumer = $1 and source = dead.source and event_id = dead.event_id)
        ) as "open!""#,
        consumer,
        since,
    )
    .fetch_one(pg)
    .await
}

/// A letter whose turn it is.
pub(super) struct Due {
    pub(super) place: i32,
    /// As of now, this one included.
    pub(super) tries: i32,
    pub(super) state: String,
    pub(super) parkings: i32,
    pub(super) queue: String,
    pub(super) source: Option<String>,
    pub(super) subject: Option<String>,
    pub(super) event_id: Option<Uuid>,
    pub(super) event_type: Option<String>,
    pub(super) occurred_at: Option<DateTime<Utc>>,
    pub(super) parked_at: DateTime<Utc>,
    pub(super) reason_code: String,
    pub(super) properties: Json<Properties>,
    pub(super) headers: Value,
    pub(super) body: Vec<u8>,
}

/// The next letters of a job, in its order; counts the attempt before it is made, so that a letter
/// which ends this process is not sent for ever.
pub(super) async fn claim(pg: &PgPool, job: Uuid, most: i64) -> Result<Vec<Due>, sqlx::Error> {
    sqlx::query_as!(
        Due,
        r#"with due as (
            select place from messaging.replay_letter
            where job_id = $1 and outcome = 'pending'
            order by place limit $2 for update),
        counted as (
            update messaging.replay_letter letter set tries = letter.tries + 1
            from due where letter.job_id = $1 and letter.place = due.place
            returning letter.place, letter.dead_letter_id, letter.tries)
        select place as "place!", tries as "tries!", state, parkings, queue, source,
            subject, event_id, type as event_type, occurred_at, parked_at, reason_code,
            properties as "properties: Json<Properties>", headers, body
        from counted join messaging.dead_letter dead on dead.id = counted.dead_letter_id
        order by place"#,
        job,
        most,
    )
    .fetch_all(pg)
    .await
}

/// A letter that the broker has confirmed.
pub(super) struct Sent {
    pub(super) place: i32,
    /// As it was when the letter was sent: it may have failed again since, and is parked then.
    pub(super) parkings: i32,
}

/// Stores that letters were replayed.
pub(super) async fn replayed(
    pg: &PgPool,
    job: Uuid,
    sent: &[Sent],
    now: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    let places: Vec<i32> = sent.iter().map(|one| one.place).collect();
    let parkings: Vec<i32> = sent.iter().map(|one| one.parkings).collect();
    // Also those of a job that was cancelled meanwhile: they have gone.
    sqlx::query!(
        "with sent as (
            select * from unnest($2::int[], $3::int[]) as sent (place, parkings)),
        letters as (
            update messaging.replay_letter letter
            set outcome = 'replayed', reason = null, at = $4
            from sent where letter.job_id = $1 and letter.place = sent.place
              and letter.outcome in ('pending', 'cancelled')
            returning letter.dead_letter_id, sent.parkings),
        locked as materialized (
            select dead.id, letters.parkings from messaging.dead_letter dead
            join letters on letters.dead_letter_id = dead.id
            order by dead.id for update of dead),
        done as (
            update messaging.dead_letter dead set state = 'replayed', decided_at = $4
            from locked where dead.id = locked.id and dead.parkings = locked.parkings
              and dead.state in ('parked', 'replaying'))
        insert into messaging.dead_letter_log
            (at, who, what, dead_letter_id, job_id, queue, event_id, type, note)
        select $4, job.asked_by, 'replayed', dead.id, job.id, dead.queue, dead.event_id, dead.type,
            ''
        from letters join messaging.dead_letter dead on dead.id = letters.dead_letter_id
        join messaging.replay_job job on job.id = $1",
        job,
        &places,
        &parkings,
        now,
    )
    .execute(pg)
    .await?;
    Ok(())
}

/// Stores that letters may not be replayed, with the reason of each: they stay parked.
pub(super) async fn refused(
    pg: &PgPool,
    job: Uuid,
    refused: &[(i32, &str)],
    now: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    let places: Vec<i32> = refused.iter().map(|(place, _)| *place).collect();
    let reasons: Vec<String> = refused.iter().map(|(_, why)| (*why).to_owned()).collect();
    sqlx::query!(
        "with refused as (
            select * from unnest($2::int[], $3::text[]) as refused (place, reason)),
        letters as (
            update messaging.replay_letter letter
            set outcome = 'refused', reason = refused.reason, at = $4
            from refused where letter.job_id = $1 and letter.place = refused.place
              and letter.outcome = 'pending'
            returning letter.dead_letter_id, refused.reason),
        locked as materialized (
            select dead.id from messaging.dead_letter dead
            join letters on letters.dead_letter_id = dead.id
            order by dead.id for update of dead),
        back as (
            update messaging.dead_letter dead set state = 'parked'
            from locked where dead.id = locked.id and dead.state = 'replaying')
        insert into messaging.dead_letter_log
            (at, who, what, dead_letter_id, job_id, queue, event_id, type, note)
        select $4, job.asked_by, 'refused', dead.id, job.id, dead.queue, dead.event_id, dead.type,
            letters.reason
        from letters join messaging.dead_letter dead on dead.id = letters.dead_letter_id
        join messaging.replay_job job on job.id = $1",
        job,
        &places,
        &reasons,
        now,
    )
    .execute(pg)
    .await?;
    Ok(())
}

/// Stores what letters wait for: their attempts did not count, as we live to tell.
pub(super) async fn waiting(
    pg: &PgPool,
    job: Uuid,
    places: &[i32],
    why: Option<&str>,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update messaging.replay_letter set tries = 0, reason = $3
        where job_id = $1 and place = any($2) and outcome = 'pending'",
        job,
        places,
        why,
    )
    .execute(pg)
    .await?;
    Ok(())
}

/// Stores what holds a job up, if anything does; returns whether that is new.
pub(super) async fn trouble(
    pg: &PgPool,
    job: Uuid,
    why: Option<&str>,
) -> Result<bool, sqlx::Error> {
    let stored = sqlx::query!(
        "update messaging.replay_job set trouble = $2
        where id = $1 and trouble is distinct from $2",
        job,
        why,
    )
    .execute(pg)
    .await?;
    Ok(stored.rows_affected() > 0)
}

/// Ends a job of which nothing waits any more.
pub(super) async fn finish(pg: &PgPool, job: Uuid, now: DateTime<Utc>) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update messaging.replay_job set state = 'done', ended_at = $2, owner = null, trouble = null
        where id = $1 and state = 'running'
          and not exists(select from messaging.replay_letter
              where job_id = $1 and outcome = 'pending')",
        job,
        now,
    )
    .execute(pg)
    .await?;
    Ok(())
}

/// Deletes up to `limit` letters that were decided over before `cutoff`, and as many letters of jobs
/// that ended before it, with the jobs that have none left; returns the most of any.
pub(crate) async fn prune(
    pg: &PgPool,
    cutoff: DateTime<Utc>,
    limit: i64,
) -> Result<u64, sqlx::Error> {
    let letters = sqlx::query!(
        "delete from messaging.dead_letter where ctid = any(array(
            select ctid from messaging.dead_letter
            where state in ('replayed', 'discarded') and coalesce(decided_at, parked_at) < $1
            limit $2))",
        cutoff,
        limit,
    )
    .execute(pg)
    .await?;
    let outcomes = sqlx::query!(
        "delete from messaging.replay_letter where ctid = any(array(
            select letter.ctid from messaging.replay_letter letter
            join messaging.replay_job job on job.id = letter.job_id
            where job.state <> 'running' and job.ended_at < $1 limit $2))",
        cutoff,
        limit,
    )
    .execute(pg)
    .await?;
    let jobs = sqlx::query!(
        "delete from messaging.replay_job where id = any(array(
            select id from messaging.replay_job job
            where state <> 'running' and ended_at < $1
              and not exists(select from messaging.replay_letter where job_id = job.id)
            limit $2))",
        cutoff,
        limit,
    )
    .execute(pg)
    .await?;
    Ok(letters.rows_affected().max(outcomes.rows_affected()).max(jobs.rows_affected()))
}
