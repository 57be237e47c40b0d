//! The outbox table: all of its SQL.

use chrono::{DateTime, Utc};
use envelope::Envelope;
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use crate::partition::Partitions;
use crate::pool::Pool;

/// A row to be written with its transaction.
pub(crate) struct NewRow {
    pub(crate) envelope: Envelope,
    pub(crate) body: Vec<u8>,
    pub(crate) signature: [u8; 64],
    pub(crate) key_id: String,
    pub(crate) partition: u8,
    pub(crate) not_before: Option<DateTime<Utc>>,
}

/// A row on its way out.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    pub(crate) seq: i64,
    pub(crate) event_id: Uuid,
    pub(crate) event_type: String,
    pub(crate) subject: String,
    pub(crate) correlation_id: Uuid,
    pub(crate) body: Vec<u8>,
    pub(crate) signature: Vec<u8>,
    pub(crate) key_id: String,
    pub(crate) traceparent: Option<String>,
    pub(crate) tracestate: Option<String>,
    pub(crate) created_at: DateTime<Utc>,
    /// When it could leave at the earliest: written for then, or written at all.
    pub(crate) due_at: DateTime<Utc>,
    pub(crate) attempts: i32,
}

/// Writes all rows with one statement, in the order in which they were published.
pub(crate) async fn insert(conn: &mut PgConnection, rows: &[NewRow]) -> Result<(), sqlx::Error> {
    if rows.is_empty() {
        return Ok(());
    }
    let of = |get: fn(&NewRow) -> String| rows.iter().map(get).collect::<Vec<_>>();
    let ids: Vec<Uuid> = rows.iter().map(|r| r.envelope.id).collect();
    let versions: Vec<i32> = rows.iter().map(|r| r.envelope.aggversion as i32).collect();
    let partitions: Vec<i16> = rows.iter().map(|r| i16::from(r.partition)).collect();
    let correlations: Vec<Uuid> = rows.iter().map(|r| r.envelope.correlationid).collect();
    let bodies: Vec<&[u8]> = rows.iter().map(|r| r.body.as_slice()).collect();
    let signatures: Vec<&[u8]> = rows.iter().map(|r| r.signature.as_slice()).collect();
    let parents: Vec<_> = rows.iter().map(|r| r.envelope.traceparent.clone()).collect();
    let states: Vec<_> = rows.iter().map(|r| r.envelope.tracestate.clone()).collect();
    let created: Vec<_> = rows.iter().map(|r| r.envelope.time).collect();
    let not_before: Vec<_> = rows.iter().map(|r| r.not_before).collect();
    sqlx::query!(
        r#"insert into messaging.outbox
            (event_id, type, subject, aggversion, partition, correlation_id, body, signature,
             key_id, traceparent, tracestate, created_at, not_before)
        select event_id, type, subject, aggversion, partition, correlation_id, body, signature,
             key_id, traceparent, tracestate, created_at, not_before
        from unnest($1::uuid[], $2::text[], $3::text[], $4::int[], $5::smallint[], $6::uuid[],
                    $7::bytea[], $8::bytea[], $9::text[], $10::text[], $11::text[],
                    $12::timestamptz[], $13::timestamptz[])
            with ordinality as t (event_id, type, subject, aggversion, partition, correlation_id,
                body, signature, key_id, traceparent, tracestate, created_at, not_before, n)
        order by n"#,
        &ids,
        &of(|r| r.envelope.event_type.clone()),
        &of(|r| r.envelope.subject.to_string()),
        &versions,
        &partitions,
        &correlations,
        &bodies as &[&[u8]],
        &signatures as &[&[u8]],
        &of(|r| r.key_id.clone()),
        &parents as &[Option<String>],
        &states as &[Option<String>],
        &created,
        &not_before as &[Option<DateTime<Utc>>],
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// The oldest unpublished rows of `partitions`, oldest first, but for those that are `under_way`: by
/// state, never by cursor. An aggregate whose earlier event has to wait is left out whole, or its order
/// would break. Ordered by the expression of the index of pending rows, so that the planner takes no
/// other.
pub(crate) async fn pending(
    pool: &Pool,
    partitions: Partitions,
    now: DateTime<Utc>,
    under_way: &[i64],
    limit: i64,
) -> Result<Vec<Row>, sqlx::Error> {
    let mut conn = pool.connection().await?;
    let rows = sqlx::query_as!(
        Row,
        r#"select seq, event_id, type as event_type, subject, correlation_id, body, signature,
            key_id, traceparent, tracestate, created_at, attempts,
            case when attempts = 0 then greatest(created_at, not_before) else created_at end
                as "due_at!"
        from messaging.outbox o
        where published_at is null and partition = any($1)
          and seq not in (select unnest($4::bigint[]))
          and (not_before is null or not_before <= $2)
          and not exists (
              select from messaging.outbox earlier
              where earlier.published_at is null and earlier.not_before > $2
                and earlier.subject = o.subject and earlier.seq < o.seq)
        order by seq + 0
        limit $3"#,
        &partitions.numbers(),
        now,
        limit,
        under_way,
    )
    .fetch_all(&mut *conn)
    .await?;
    conn.put_back();
    Ok(rows)
}

/// When the next waiting row of `partitions` is due, if any waits.
pub(crate) async fn next_due(
    pool: &Pool,
    partitions: Partitions,
) -> Result<Option<DateTime<Utc>>, sqlx::Error> {
    let mut conn = pool.connection().await?;
    let due = sqlx::query_scalar!(
        r#"select min(not_before) from messaging.outbox
        where published_at is null and not_before is not null and partition = any($1)"#,
        &partitions.numbers(),
    )
    .fetch_one(&mut *conn)
    .await?;
    conn.put_back();
    Ok(due)
}

/// Marks rows as published: the broker has confirmed each of them.
pub(crate) async fn mark_published(
    pool: &Pool,
    seqs: &[i64],
    now: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    let mut conn = pool.connection().await?;
    // Said so that the index of what is pending is no help: the primary key finds these rows, and
    // that index would be read from end to end for each batch of a backlog.
    sqlx::query!(
        "update messaging.outbox set published_at = $2, last_error = null
        where seq = any($1) and coalesce(published_at, 'infinity') = 'infinity'",
        seqs,
        now,
    )
    .execute(&mut *conn)
    .await?;
    conn.put_back();
    Ok(())
}

/// A row that the broker would not take, and until when it rests.
pub(crate) struct Refused {
    pub(crate) seq: i64,
    pub(crate) why: String,
    pub(crate) not_before: DateTime<Utc>,
}

/// Keeps refused rows pending, with the reason, until their next attempt.
pub(crate) async fn mark_refused(pg: &PgPool, refused: &[Refused]) -> Result<(), sqlx::Error> {
    let seqs: Vec<i64> = refused.iter().map(|r| r.seq).collect();
    let why: Vec<String> = refused.iter().map(|r| r.why.clone()).collect();
    let until: Vec<DateTime<Utc>> = refused.iter().map(|r| r.not_before).collect();
    sqlx::query!(
        "update messaging.outbox o
        set attempts = attempts + 1, last_error = t.why, not_before = t.not_before
        from unnest($1::bigint[], $2::text[], $3::timestamptz[]) as t (seq, why, not_before)
        where o.seq = t.seq and o.published_at is null",
        &seqs,
        &why,
        &until,
    )
    .execute(pg)
    .await?;
    Ok(())
}

/// How much waits, counted up to a bound, and since when.
pub(crate) struct Backlog {
    pub(crate) pending: i64,
    /// Since when the oldest could leave: what is published for later waits for nobody until then.
    pub(crate) oldest: Option<DateTime<Utc>>,
    pub(crate) stuck: i64,
}

/// The backlog; the counts stop at 100,000 so that asking costs little when it is long.
pub(crate) async fn backlog(pg: &PgPool, now: DateTime<Utc>) -> Result<Backlog, sqlx::Error> {
    sqlx::query_as!(
        Backlog,
        r#"select count(*) as "pending!",
            count(*) filter (where last_error is not null) as "stuck!",
            min(case when last_error is null then greatest(created_at, not_before)
                     else created_at end) as oldest
        from (select created_at, not_before, last_error from messaging.outbox
              where published_at is null
                and (not_before is null or not_before <= $1 or last_error is not null)
              order by seq + 0 limit 100000) waiting"#,
        now,
    )
    .fetch_one(pg)
    .await
}

/// How many events wait to be published, counted no further than `most`.
pub(crate) async fn count_to(conn: &mut PgConnection, most: i64) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar!(
        r#"select count(*) as "waiting!" from (
            select from messaging.outbox where published_at is null limit $1) waiting"#,
        most,
    )
    .fetch_one(conn)
    .await
}

/// Deletes up to `limit` rows published before `cutoff`, oldest first; returns how many. It reads
/// from the old end of the primary key, past what is still pending there, so it needs no index of
/// its own and never meets the relay, which works at the other end.
pub(crate) async fn prune(
    pg: &PgPool,
    cutoff: DateTime<Utc>,
    limit: i64,
) -> Result<u64, sqlx::Error> {
    let deleted = sqlx::query!(
        "with old as materialized (
            select seq from (
                select seq, published_at from messaging.outbox
                where published_at is not null order by seq limit $2) head
            where published_at < $1)
        delete from messaging.outbox where seq in (select seq from old)",
        cutoff,
        limit,
    )
    .execute(pg)
    .await?;
    Ok(deleted.rows_affected())
}
