//! What the use cases need stored.

use std::future::Future;

use crate::domain::chain::{Entry, Head, Link};

/// A store that failed: the database refused or is away.
#[derive(Debug, thiserror::Error)]
#[error("database error")]
pub struct StoreError(#[from] pub sqlx::Error);

/// The log, for those who append.
pub trait Log: Send {
    /// The end of the chain, locked against others until the transaction ends.
    fn head(&mut self) -> impl Future<Output = Result<Head, StoreError>> + Send;
    /// Appends entries, but those that are in the log, and returns how many. The end of the chain moves
    /// when these are all.
    fn append(
        &mut self,
        linked: &[(Link, &Entry<'_>)],
    ) -> impl Future<Output = Result<usize, StoreError>> + Send;
}

/// An entry as it is stored.
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "the fields are those of the entry and its link")]
pub struct StoredEntry {
    pub seq: i64,
    pub event_id: uuid::Uuid,
    pub source: String,
    pub event_type: String,
    pub subject: String,
    pub aggversion: i32,
    pub correlation_id: uuid::Uuid,
    pub causation_id: Option<uuid::Uuid>,
    pub traceparent: Option<String>,
    pub occurred_at: chrono::DateTime<chrono::Utc>,
    pub received_at: chrono::DateTime<chrono::Utc>,
    pub body: Vec<u8>,
    pub signature: Vec<u8>,
    pub key_id: String,
    pub prev_hash: Vec<u8>,
    pub hash: Vec<u8>,
}

/// The log, for those who check it.
pub trait Chain: Sync {
    /// The end of the chain as it is noted, and the highest number of an entry (0 when there is
    /// none), both of the same moment.
    fn ends(&self) -> impl Future<Output = Result<(Head, i64), StoreError>> + Send;
    /// At most `limit` entries in order, from the first behind number `after` on.
    fn entries(
        &self,
        after: i64,
        limit: i64,
    ) -> impl Future<Output = Result<Vec<StoredEntry>, StoreError>> + Send;
}
