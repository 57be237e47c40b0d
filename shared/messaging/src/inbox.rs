//! The inbox table and the progress of ordering handlers: all of their SQL.

use std::collections::HashMap;
use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

/// A message that is about to be handled.
pub(crate) struct Entry {
    pub(crate) source: String,
    pub(crate) event_id: Uuid,
    pub(crate) event_type: String,
    pub(crate) subject: String,
    pub(crate) aggversion: i32,
    pub(crate) body_sha256: [u8; 32],
    pub(crate) key_id: String,
}

/// What an inbox says of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Seen {
    /// Never before: its row is now part of this transaction.
    New,
    /// It was handled.
    Before,
    /// Another message was handled under its id.
    Collision,
}

/// Writes the inbox rows of a chunk and says, in order, what each message is. Where another replica
/// handles the same message right now, this waits for its commit.
///
/// No statement behind it in this transaction may run for longer than `deadline`: a handler that is
/// cut off would otherwise leave one running, with the locks of the whole chunk.
pub(crate) async fn insert(
    conn: &mut PgConnection,
    consumer: &str,
    entries: &[Entry],
    deadline: Duration,
    now: DateTime<Utc>,
) -> Result<Vec<Seen>, sqlx::Error> {
    let mut new = insert_new(conn, consumer, entries, deadline, now).await?;
    let mut seen = Vec::with_capacity(entries.len());
    for entry in entries {
        let key = (entry.source.clone(), entry.event_id);
        // Taken out, so that a twin within the same chunk is a duplicate.
        seen.push(match new.remove(&key) {
            Some(hash) if hash == entry.body_sha256 => Seen::New,
            Some(hash) => {
                new.insert(key, hash);
                Seen::Collision
            }
            None => judge(conn, consumer, entry).await?,
        });
    }
    Ok(seen)
}

type Bodies = HashMap<(String, Uuid), Vec<u8>>;

/// The body hashes of those that are new, with one statement.
async fn insert_new(
    conn: &mut PgConnection,
    consumer: &str,
    entries: &[Entry],
    deadline: Duration,
    now: DateTime<Utc>,
) -> Result<Bodies, sqlx::Error> {
    let of =
        |get: fn(&Entry) -> &String| entries.iter().map(|e| get(e).clone()).collect::<Vec<_>>();
    let ids: Vec<Uuid> = entries.iter().map(|e| e.event_id).collect();
    let versions: Vec<i32> = entries.iter().map(|e| e.aggversion).collect();
    let hashes: Vec<&[u8]> = entries.iter().map(|e| e.body_sha256.as_slice()).collect();
    // Sorted, so that two replicas with overlapping chunks wait for each other in one direction; of
    // two bodies under one id, the first one delivered counts.
    let new = sqlx::query!(
        "insert into messaging.inbox
            (consumer, source, event_id, type, subject, aggversion, body_sha256, key_id, handled_at)
        select $1, source, event_id, type, subject, aggversion, body_sha256, key_id, $9
        from unnest($2::text[], $3::uuid[], $4::text[], $5::text[], $6::int[], $7::bytea[],
                    $8::text[]) with ordinality
            as t (source, event_id, type, subject, aggversion, body_sha256, key_id, n)
        order by source, event_id, n
        on conflict do nothing
        returning source, event_id, body_sha256, set_config('statement_timeout', $10, true)",
        consumer,
        &of(|e| &e.source),
        &ids,
        &of(|e| &e.event_type),
        &of(|e| &e.subject),
        &versions,
        &hashes as &[&[u8]],
        &of(|e| &e.key_id),
        now,
        format!("{}ms", deadline.as_millis().clamp(1, i32::MAX as u128)),
    )
    .fetch_all(&mut *conn)
    .await?;
    Ok(new.into_iter().map(|row| ((row.source, row.event_id), row.body_sha256)).collect())
}

async fn judge(
    conn: &mut PgConnection,
    consumer: &str,
    entry: &Entry,
) -> Result<Seen, sqlx::Error> {
    let stored = sqlx::query_scalar!(
        "select body_sha256 from messaging.inbox
        where consumer = $1 and source = $2 and event_id = $3",
        consumer,
        entry.source,
        entry.event_id,
    )
    .fetch_optional(conn)
    .await?;
    Ok(match stored {
        Some(hash) if hash != entry.body_sha256 => Seen::Collision,
        _ => Seen::Before,
    })
}

/// An aggregate, as its source names it.
pub(crate) type Aggregate = (String, String);

/// The last versions of `aggregates` that ordering handlers applied, of those that are known; locked
/// until commit, in one order for all.
pub(crate) async fn last_versions(
    conn: &mut PgConnection,
    consumer: &str,
    aggregates: &[Aggregate],
) -> Result<HashMap<Aggregate, i32>, sqlx::Error> {
    let (sources, subjects): (Vec<String>, Vec<String>) = aggregates.iter().cloned().unzip();
    let rows = sqlx::query!(
        "select source, subject, aggversion from messaging.progress
        where consumer = $1
          and (source, subject) in (select * from unnest($2::text[], $3::text[]))
        order by source, subject for update",
        consumer,
        &sources,
        &subjects,
    )
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(|row| ((row.source, row.subject), row.aggversion)).collect())
}

/// Moves an aggregate on by one version. False when another replica was faster.
pub(crate) async fn advance(
    conn: &mut PgConnection,
    consumer: &str,
    source: &str,
    subject: &str,
    to: i32,
) -> Result<bool, sqlx::Error> {
    let moved = sqlx::query!(
        "insert into messaging.progress (consumer, source, subject, aggversion)
        values ($1, $2, $3, $4)
        on conflict (consumer, source, subject) do update set aggversion = excluded.aggversion
            where progress.aggversion = excluded.aggversion - 1",
        consumer,
        source,
        subject,
        to,
    )
    .execute(conn)
    .await?;
    Ok(moved.rows_affected() == 1)
}

/// Deletes up to `limit` rows handled before `cutoff`; returns how many.
pub(crate) async fn prune(
    pg: &PgPool,
    cutoff: DateTime<Utc>,
    limit: i64,
) -> Result<u64, sqlx::Error> {
    let deleted = sqlx::query!(
        "delete from messaging.inbox where ctid = any(array(
            select ctid from messaging.inbox where handled_at < $1 limit $2))",
        cutoff,
        limit,
    )
    .execute(pg)
    .await?;
    Ok(deleted.rows_affected())
}
