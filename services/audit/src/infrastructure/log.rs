//! Appending to the log in Postgres.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::Store;
use crate::application::ports::{Log, StoreError};
use crate::domain::chain::{Entry, Head, Link};

impl Log for Store<'_> {
    async fn head(&mut self) -> Result<Head, StoreError> {
        let row = sqlx::query!("select seq, hash from chain_head for update")
            .fetch_one(self.0.conn())
            .await?;
        Ok(Head { seq: row.seq, hash: super::chain::hash_from(row.hash)? })
    }

    async fn append(&mut self, linked: &[(Link, &Entry<'_>)]) -> Result<usize, StoreError> {
        let Some((last, _)) = linked.last() else { return Ok(0) };
        let of = Columns::of(linked);
        // The inbox keeps repetitions away for as long as it remembers; the log knows for ever.
        let row = sqlx::query!(
            r#"with appended as (
                insert into entries (seq, event_id, source, type, subject, aggversion,
                    correlation_id, causation_id, traceparent, occurred_at, received_at, body,
                    signature, key_id, prev_hash, hash, published_at)
                select * from unnest($1::bigint[], $2::uuid[], $3::text[], $4::text[], $5::text[],
                    $6::integer[], $7::uuid[], $8::uuid[], $9::text[], $10::timestamptz[],
                    $11::timestamptz[], $12::bytea[], $13::bytea[], $14::text[], $15::bytea[],
                    $16::bytea[], $17::timestamptz[])
                on conflict (source, event_id) do nothing
                returning seq
            ),
            moved as (
                update chain_head set seq = $18, hash = $19
                where (select count(*) from appended) = cardinality($1)
            )
            select count(*) as "appended!" from appended"#,
            &of.seq,
            &of.event_id,
            &of.source as &[&str],
            &of.event_type as &[&str],
            &of.subject as &[&str],
            &of.aggversion,
            &of.correlation_id,
            &of.causation_id as &[Option<Uuid>],
            &of.traceparent as &[Option<&str>],
            &of.occurred_at,
            &of.received_at,
            &of.body as &[&[u8]],
            &of.signature as &[&[u8]],
            &of.key_id as &[&str],
            &of.prev_hash as &[&[u8]],
            &of.hash as &[&[u8]],
            &of.published_at as &[Option<DateTime<Utc>>],
            last.seq,
            last.hash.as_slice(),
        )
        .fetch_one(self.0.conn())
        .await?;
        Ok(usize::try_from(row.appended).unwrap_or_default())
    }
}

/// Entries turned on their side, as `unnest` takes them.
#[derive(Default)]
struct Columns<'a> {
    seq: Vec<i64>,
    event_id: Vec<Uuid>,
    source: Vec<&'a str>,
    event_type: Vec<&'a str>,
    subject: Vec<&'a str>,
    aggversion: Vec<i32>,
    correlation_id: Vec<Uuid>,
    causation_id: Vec<Option<Uuid>>,
    traceparent: Vec<Option<&'a str>>,
    occurred_at: Vec<DateTime<Utc>>,
    received_at: Vec<DateTime<Utc>>,
    body: Vec<&'a [u8]>,
    signature: Vec<&'a [u8]>,
    key_id: Vec<&'a str>,
    prev_hash: Vec<&'a [u8]>,
    hash: Vec<&'a [u8]>,
    published_at: Vec<Option<DateTime<Utc>>>,
}

impl<'a> Columns<'a> {
    fn of(linked: &'a [(Link, &'a Entry<'a>)]) -> Self {
        let mut all = Self::default();
        for (link, entry) in linked {
            all.seq.push(link.seq);
            all.event_id.push(entry.event_id);
            all.source.push(entry.source);
            all.event_type.push(entry.event_type);
            all.subject.push(entry.subject);
            all.aggversion.push(entry.aggversion);
            all.correlation_id.push(entry.correlation_id);
            all.causation_id.push(entry.causation_id);
            all.traceparent.push(entry.traceparent);
            all.occurred_at.push(entry.occurred_at);
            all.received_at.push(entry.received_at);
            all.body.push(entry.body);
            all.signature.push(entry.signature);
            all.key_id.push(entry.key_id);
            all.prev_hash.push(&link.prev_hash);
            all.hash.push(&link.hash);
            all.published_at.push(entry.published_at);
        }
        all
    }
}
