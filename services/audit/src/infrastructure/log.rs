//! Appending to the log in Postgres.

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

    async fn append(&mut self, link: &Link, entry: &Entry<'_>) -> Result<bool, StoreError> {
        // The inbox keeps repetitions away for as long as it remembers; the log knows for ever.
        let moved = sqlx::query!(
            "with appended as (
                insert into entries (seq, event_id, source, type, subject, aggversion,
                    correlation_id, causation_id, traceparent, occurred_at, received_at, body,
                    signature, key_id, prev_hash, hash, published_at)
                values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16,
                    $17)
                on conflict (source, event_id) do nothing
                returning seq, hash
            )
            update chain_head h set seq = a.seq, hash = a.hash from appended a",
            link.seq,
            entry.event_id,
            entry.source,
            entry.event_type,
            entry.subject,
            entry.aggversion,
            entry.correlation_id,
            entry.causation_id,
            entry.traceparent,
            entry.occurred_at,
            entry.received_at,
            entry.body,
            entry.signature,
            entry.key_id,
            link.prev_hash.as_slice(),
            link.hash.as_slice(),
            entry.published_at,
        )
        .execute(self.0.conn())
        .await?;
        Ok(moved.rows_affected() == 1)
    }
}
