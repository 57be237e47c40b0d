//! What tests read back.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use sqlx::PgPool;
use uuid::Uuid;

use super::service::Service;

/// An effect of a handler.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, sqlx::FromRow)]
pub struct Entry {
    pub lamp: String,
    pub n: i32,
}

/// A row of the dead-letter table.
#[derive(Debug, sqlx::FromRow)]
pub struct DeadLetter {
    pub id: Uuid,
    pub state: String,
    pub parkings: i32,
    pub queue: String,
    pub source: Option<String>,
    pub event_id: Option<Uuid>,
    #[sqlx(rename = "type")]
    pub event_type: Option<String>,
    pub body: Vec<u8>,
    pub headers: serde_json::Value,
    pub reason_code: String,
    pub reason: String,
    pub attempts: i32,
    pub first_failed_at: Option<DateTime<Utc>>,
}

impl Service {
    /// All effects, in the order in which they were written.
    pub async fn entries(&self) -> Vec<Entry> {
        sqlx::query_as("select lamp, n from entry order by at")
            .fetch_all(&self.database.pool())
            .await
            .unwrap()
    }

    /// How often each lamp's event took effect.
    pub async fn effects(&self) -> BTreeMap<String, usize> {
        let mut effects = BTreeMap::new();
        for entry in self.entries().await {
            *effects.entry(entry.lamp).or_default() += 1;
        }
        effects
    }

    pub async fn count(&self, what: &'static str) -> i64 {
        count(&self.database.pool(), what).await
    }

    /// What this service's sessions do inside a transaction now.
    pub async fn open_transactions(&self) -> Vec<String> {
        sqlx::query_scalar(
            "select state || ': ' || query from pg_stat_activity
            where datname = current_database() and application_name = $1
              and pid <> pg_backend_pid() and xact_start is not null",
        )
        .bind(self.pool.identity().service())
        .fetch_all(&self.database.pool())
        .await
        .unwrap()
    }

    pub async fn dead_letters(&self) -> Vec<DeadLetter> {
        sqlx::query_as("select * from messaging.dead_letter order by parked_at, id")
            .fetch_all(&self.database.pool())
            .await
            .unwrap()
    }

    /// What the outbox says of each row that is not published: subject, version, attempts, reason.
    pub async fn pending(&self) -> Vec<(String, i32, i32, Option<String>)> {
        sqlx::query_as(
            "select subject, aggversion, attempts, last_error from messaging.outbox
            where published_at is null order by seq",
        )
        .fetch_all(&self.database.pool())
        .await
        .unwrap()
    }
}

/// `select count(*) from` the rest.
pub async fn count(pg: &PgPool, what: &'static str) -> i64 {
    let sql = format!("select count(*) from {what}");
    sqlx::query_scalar(sqlx::AssertSqlSafe(sql)).fetch_one(pg).await.unwrap()
}
