//! Reads for the HTTP API. They decide nothing, so they need no transaction.

use chrono::{DateTime, Utc};
use messaging::Pool;
use uuid::Uuid;

use crate::application::views::{EventFilter, EventView, Place};

/// An order has a dozen events; nothing honest has more than this.
const MOST_IN_A_CHAIN: i64 = 1_000;

/// Reads from the service's database.
#[derive(Clone)]
pub struct Queries(Pool);

impl Queries {
    /// Reads from `pool`.
    pub fn new(pool: Pool) -> Self {
        Self(pool)
    }

    /// All that shares a correlation id, in the order of its arrival.
    ///
    /// # Errors
    /// The database's own.
    pub async fn correlated(&self, correlation_id: Uuid) -> Result<Vec<EventView>, sqlx::Error> {
        sqlx::query_as!(
            EventView,
            "select seq, event_id, source, type as event_type, subject, aggversion, correlation_id,
                causation_id, traceparent, occurred_at, received_at, published_at
            from entries where correlation_id = $1 order by seq limit $2",
            correlation_id,
            MOST_IN_A_CHAIN,
        )
        .fetch_all(self.0.pg())
        .await
    }

    /// At most `limit` entries that pass `filter`, newest first.
    ///
    /// # Errors
    /// The database's own.
    pub async fn events(
        &self,
        filter: &EventFilter,
        limit: i64,
    ) -> Result<Vec<EventView>, sqlx::Error> {
        let source = filter.source.as_deref();
        let since = filter.since.unwrap_or(DateTime::UNIX_EPOCH);
        let latest = Place { received_at: DateTime::<Utc>::MAX_UTC, seq: i64::MAX };
        let before = filter.before.unwrap_or(latest);
        match filter.event_type.as_deref() {
            Some(event_type) => self.of_type(event_type, source, since, before, limit).await,
            None => self.of_any_type(source, since, before, limit).await,
        }
    }

    async fn of_any_type(
        &self,
        source: Option<&str>,
        since: DateTime<Utc>,
        before: Place,
        limit: i64,
    ) -> Result<Vec<EventView>, sqlx::Error> {
        sqlx::query_as!(
            EventView,
            "select seq, event_id, source, type as event_type, subject, aggversion, correlation_id,
                causation_id, traceparent, occurred_at, received_at, published_at
            from entries
            where received_at >= $1 and (received_at, seq) < ($2, $3)
                and ($4::text is null or source = $4)
            order by received_at desc, seq desc limit $5",
            since,
            before.received_at,
            before.seq,
            source,
            limit,
        )
        .fetch_all(self.0.pg())
        .await
    }

    /// A query of its own, so that its plan is never made for all types.
    async fn of_type(
        &self,
        event_type: &str,
        source: Option<&str>,
        since: DateTime<Utc>,
        before: Place,
        limit: i64,
    ) -> Result<Vec<EventView>, sqlx::Error> {
        sqlx::query_as!(
            EventView,
            "select seq, event_id, source, type as event_type, subject, aggversion, correlation_id,
                causation_id, traceparent, occurred_at, received_at, published_at
            from entries
            where type = $6 and received_at >= $1 and (received_at, seq) < ($2, $3)
                and ($4::text is null or source = $4)
            order by received_at desc, seq desc limit $5",
            since,
            before.received_at,
            before.seq,
            source,
            limit,
            event_type,
        )
        .fetch_all(self.0.pg())
        .await
    }

    /// At most `limit` entries after the one with number `after`, in the order of the log.
    ///
    /// # Errors
    /// The database's own.
    pub async fn after(&self, after: i64, limit: i64) -> Result<Vec<EventView>, sqlx::Error> {
        sqlx::query_as!(
            EventView,
            "select seq, event_id, source, type as event_type, subject, aggversion, correlation_id,
                causation_id, traceparent, occurred_at, received_at, published_at
            from entries where seq > $1 order by seq limit $2",
            after,
            limit,
        )
        .fetch_all(self.0.pg())
        .await
    }

    /// The number of the last entry; 0 when there is none.
    ///
    /// # Errors
    /// The database's own.
    pub async fn last(&self) -> Result<i64, sqlx::Error> {
        sqlx::query_scalar!("select seq from chain_head").fetch_one(self.0.pg()).await
    }
}
