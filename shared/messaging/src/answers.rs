//! An inbox for requests: answers already given, so that a client that lost one can ask again.
//!
//! A client puts a key of its own on a request. The first request under a key is handled, and its
//! answer is stored in the transaction of its effects; whoever repeats the request gets that answer
//! and causes nothing. The key is the client's promise that both are one request; the fingerprint
//! of the body finds out when they are not.
//!
//! ```no_run
//! # use messaging::answers::{Answer, Remembered, RequestKey};
//! # use messaging::{Cause, Pool, Tx, TxError};
//! # async fn example(pool: &Pool, cause: Cause, body: &[u8]) -> Result<Option<Answer>, TxError> {
//! let key = RequestKey::new("POST /lamps", "0198c0de-light-it", body);
//! let mut tx = Tx::begin(pool, cause).await?;
//! match tx.remembered(&key).await? {
//!     Remembered::Nothing => {}
//!     Remembered::Answer(answer) => return Ok(Some(answer)),
//!     Remembered::Reused | Remembered::InProgress => return Ok(None),
//! }
//! // Do here what was asked for, in the same transaction.
//! let answer = Answer { status: 202, location: None, body: b"{}".to_vec() };
//! tx.remember(&key, &answer).await?;
//! tx.commit().await?;
//! # Ok(Some(answer))
//! # }
//! ```

use chrono::{DateTime, TimeDelta, Utc};
use sha2::{Digest, Sha256};
use sqlx::{PgExecutor, PgPool};

use crate::pool::Pool;
use crate::tx::{Tx, TxError};

/// How long an answer is given again unless [`Retention`](crate::Retention) says otherwise.
pub(crate) const USUALLY_KEPT: TimeDelta = TimeDelta::hours(24);

/// A key, where it holds, and what was asked under it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestKey {
    /// For HTTP the method and the path: the same key elsewhere is another key.
    pub scope: String,
    /// The client's key, however it was spelt.
    pub key: String,
    /// SHA-256 of the request's raw body.
    pub fingerprint: [u8; 32],
}

impl RequestKey {
    /// The key of a request with this raw body.
    pub fn new(scope: impl Into<String>, key: impl Into<String>, body: &[u8]) -> Self {
        let fingerprint = Sha256::digest(body).into();
        Self { scope: scope.into(), key: key.into(), fingerprint }
    }

    /// The same for a request that is another one when a parameter outside of its body is: under one
    /// key, another `value` counts as another body.
    #[must_use]
    pub fn with_parameter(mut self, value: &str) -> Self {
        let hash = Sha256::new_with_prefix(self.fingerprint).chain_update(value);
        self.fingerprint = hash.finalize().into();
        self
    }
}

/// An answer as it was given. Store what a repetition would get anyway: what was done, and what was
/// refused by a rule. A failure that may pass is no answer; roll back instead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// The `Location` header, if there was one.
    pub location: Option<String>,
    /// The exact body.
    pub body: Vec<u8>,
}

/// What is known of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Remembered {
    /// Nothing, or nothing any more: the key is ours until the transaction ends.
    Nothing,
    /// It was answered.
    Answer(Answer),
    /// It was answered, for a request with another body.
    Reused,
    /// Its first request is still running. (Or, once in a lifetime, that of another key with the
    /// same hash; the client asks again in either case.)
    InProgress,
}

impl Tx {
    /// Looks a key up, and takes it until this transaction ends if it is free. Never waits for a
    /// twin: it learns at once that we are still at it.
    ///
    /// # Errors
    /// [`TxError::Database`].
    pub async fn remembered(&mut self, key: &RequestKey) -> Result<Remembered, TxError> {
        // A lock of the transaction and not a row: it does not make a twin wait for our commit, and
        // a crash leaves nothing behind.
        let free = sqlx::query_scalar!(
            r#"select pg_try_advisory_xact_lock(hashtextextended($1 || ' ' || $2, 0)) as "free!""#,
            key.scope,
            key.key,
        )
        .fetch_one(self.conn())
        .await?;
        // Only after the lock, so that it sees what the holder before us has committed.
        let stored = find(self.conn(), key).await?;
        let too_old = self.now() - self.pool().answers_kept();
        let (stored, old) = match stored {
            Some(row) if row.answered_at < too_old => (None, true),
            other => (other, false),
        };
        if old && free {
            self.forget(key).await?;
        }
        Ok(match stored {
            None if free => Remembered::Nothing,
            None => Remembered::InProgress,
            // Whoever has the lock repeats the request as we do.
            Some(row) => row.remembered(key),
        })
    }

    /// Stores the answer to a key that [`remembered`](Self::remembered) gave us. It is given again
    /// if and only if this transaction commits.
    ///
    /// # Errors
    /// [`TxError::Database`], also where the key has an answer: the first one counts.
    pub async fn remember(&mut self, key: &RequestKey, answer: &Answer) -> Result<(), TxError> {
        let now = self.now();
        sqlx::query!(
            "insert into messaging.answer
                (scope, key, fingerprint, status, location, body, answered_at)
            values ($1, $2, $3, $4, $5, $6, $7)",
            key.scope,
            key.key,
            key.fingerprint.as_slice(),
            answer.status as i16,
            answer.location,
            answer.body.as_slice(),
            now,
        )
        .execute(self.conn())
        .await?;
        Ok(())
    }

    /// Makes room for a new answer where housekeeping has not come by yet.
    async fn forget(&mut self, key: &RequestKey) -> Result<(), sqlx::Error> {
        sqlx::query!(
            "delete from messaging.answer where scope = $1 and key = $2",
            key.scope,
            key.key,
        )
        .execute(self.conn())
        .await?;
        Ok(())
    }
}

impl Pool {
    /// Looks a key up and takes nothing: for a request that will not be handled, whatever comes of it.
    /// One whose first request is still running is not known yet.
    ///
    /// # Errors
    /// The database's own.
    pub async fn remembered(&self, key: &RequestKey) -> Result<Remembered, sqlx::Error> {
        let too_old = self.clock().now() - self.answers_kept();
        let stored = find(self.pg(), key).await?.filter(|row| row.answered_at >= too_old);
        Ok(stored.map_or(Remembered::Nothing, |row| row.remembered(key)))
    }
}

/// An answer with what it was given to.
struct Stored {
    fingerprint: Vec<u8>,
    status: i16,
    location: Option<String>,
    body: Vec<u8>,
    answered_at: DateTime<Utc>,
}

impl Stored {
    /// What it is to a request under its key.
    fn remembered(self, key: &RequestKey) -> Remembered {
        if self.fingerprint != key.fingerprint {
            return Remembered::Reused;
        }
        let Self { status, location, body, .. } = self;
        Remembered::Answer(Answer { status: status.unsigned_abs(), location, body })
    }
}

async fn find(
    connection: impl PgExecutor<'_>,
    key: &RequestKey,
) -> Result<Option<Stored>, sqlx::Error> {
    sqlx::query_as!(
        Stored,
        "select fingerprint, status, location, body, answered_at from messaging.answer
            where scope = $1 and key = $2",
        key.scope,
        key.key,
    )
    .fetch_optional(connection)
    .await
}

/// Deletes up to `limit` answers given before `cutoff`, oldest first; returns how many. It leaves
/// out those that a request is about to replace, and so never waits for one.
pub(crate) async fn prune(
    pg: &PgPool,
    cutoff: DateTime<Utc>,
    limit: i64,
) -> Result<u64, sqlx::Error> {
    let deleted = sqlx::query!(
        "delete from messaging.answer where ctid = any(array(
            select ctid from messaging.answer where answered_at < $1
            order by answered_at limit $2 for update skip locked))",
        cutoff,
        limit,
    )
    .execute(pg)
    .await?;
    Ok(deleted.rows_affected())
}
