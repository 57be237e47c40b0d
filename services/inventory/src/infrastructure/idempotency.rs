//! Answers given under an `Idempotency-Key`, stored in the transaction of what they answer.

use super::Store;
use crate::application::idempotency::{Answer, Answers, IdempotencyKey, Remembered};
use crate::application::ports::StoreError;

impl Answers for Store<'_> {
    async fn remembered(&mut self, key: &IdempotencyKey) -> Result<Remembered, StoreError> {
        // A lock of the transaction and not a row: a twin learns at once that we are still at it,
        // and a crash leaves nothing behind.
        let free = sqlx::query_scalar!(
            r#"select pg_try_advisory_xact_lock(hashtextextended($1 || ' ' || $2, 0)) as "free!""#,
            key.scope,
            key.key,
        )
        .fetch_one(self.0.conn())
        .await?;
        if !free {
            return Ok(Remembered::InProgress);
        }
        let stored = sqlx::query!(
            "select fingerprint, status, location, body from idempotency_keys
            where scope = $1 and key = $2",
            key.scope,
            key.key,
        )
        .fetch_optional(self.0.conn())
        .await?;
        Ok(match stored {
            None => Remembered::Nothing,
            Some(row) if row.fingerprint != key.fingerprint => Remembered::Reused,
            Some(row) => Remembered::Answer(Answer {
                status: row.status.unsigned_abs(),
                location: row.location,
                body: row.body,
            }),
        })
    }

    async fn remember(&mut self, key: &IdempotencyKey, answer: &Answer) -> Result<(), StoreError> {
        sqlx::query!(
            "insert into idempotency_keys
                (scope, key, fingerprint, status, location, body, created_at)
            values ($1, $2, $3, $4, $5, $6, $7)",
            key.scope,
            key.key,
            key.fingerprint.as_slice(),
            answer.status as i16,
            answer.location,
            answer.body.as_slice(),
            self.0.now(),
        )
        .execute(self.0.conn())
        .await?;
        Ok(())
    }
}
