//! The log in Postgres, for those who check it.

use sqlx::PgPool;

use crate::application::ports::{Chain, StoreError, StoredEntry};
use crate::domain::chain::{Hash, Head};

/// The log in a database.
pub struct StoredChain<'a>(pub &'a PgPool);

impl Chain for StoredChain<'_> {
    async fn ends(&self) -> Result<(Head, i64), StoreError> {
        let row = sqlx::query!(
            r#"select seq, hash,
                coalesce((select max(e.seq) from entries e), 0) as "last!"
            from chain_head"#
        )
        .fetch_one(self.0)
        .await?;
        Ok((Head { seq: row.seq, hash: hash_from(row.hash)? }, row.last))
    }

    async fn entries(&self, after: i64, limit: i64) -> Result<Vec<StoredEntry>, StoreError> {
        Ok(sqlx::query_as!(
            StoredEntry,
            "select seq, event_id, source, type as event_type, subject, aggversion, correlation_id,
                causation_id, traceparent, occurred_at, received_at, body, signature, key_id,
                prev_hash, hash
            from entries where seq > $1 order by seq limit $2",
            after,
            limit,
        )
        .fetch_all(self.0)
        .await?)
    }
}

pub(super) fn hash_from(bytes: Vec<u8>) -> Result<Hash, sqlx::Error> {
    bytes.try_into().map_err(|_| sqlx::Error::Decode("a hash has not 32 bytes".into()))
}
