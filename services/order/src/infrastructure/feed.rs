//! The changes of all orders in one sequence.

use messaging::{Cause, Causes, Pool, Tx};
use uuid::Uuid;

use super::{Queries, Store};
use crate::application::ports::{Changes, StoreError};
use crate::application::views::ChangeRow;

/// Only its holder numbers. Any number will do that nothing else in this database locks.
const TURN: i64 = 0x6f72_6465_7266_6565;
/// Changes that are numbered at a time.
const BITE: i64 = 1_000;

impl Changes for Store<'_> {
    async fn number(&mut self, most: i64) -> Result<u64, StoreError> {
        sqlx::query("select pg_advisory_xact_lock($1)").bind(TURN).execute(self.0.conn()).await?;
        // A statement of its own, so that it sees what the holder before has numbered. Taken by
        // version and placed by the latest time so far, because clocks of replicas differ: an order's
        // changes never change places.
        let numbered = sqlx::query!(
            "with taken as (
                select order_id, version, at from order_history where feed is null
                order by version, at limit $1),
            timed as (
                select order_id, version,
                    max(at) over (partition by order_id order by version) as at
                from taken),
            placed as (
                select order_id, version,
                    row_number() over (order by at, order_id, version) as place
                from timed)
            update order_history h set feed = placed.place + last.feed
            from placed, (select coalesce(max(feed), 0) as feed from order_history) last
            where h.order_id = placed.order_id and h.version = placed.version",
            most,
        )
        .execute(self.0.conn())
        .await?;
        Ok(numbered.rows_affected())
    }
}

/// The changes of all orders, in the order of their commits as far as anybody can tell.
#[derive(Clone)]
pub struct OrderChanges {
    pool: Pool,
    queries: Queries,
}

impl OrderChanges {
    /// Replicas tell each other of numbered changes on this channel.
    pub const CHANNEL: &str = "order_feed";

    /// Those in `pool`'s database.
    pub fn new(pool: Pool) -> Self {
        Self { queries: Queries::new(pool.clone()), pool }
    }
}

impl ::feed::Changes for OrderChanges {
    type Change = ChangeRow;

    fn number(change: &ChangeRow) -> i64 {
        change.feed.unwrap_or_default()
    }

    async fn last(&self) -> anyhow::Result<i64> {
        Ok(self.queries.last_change().await?)
    }

    async fn after(&self, after: i64, limit: i64) -> anyhow::Result<Vec<ChangeRow>> {
        Ok(self.queries.changes(after, limit).await?)
    }

    async fn give_numbers(&self) -> anyhow::Result<u64> {
        if !self.queries.some_unnumbered().await? {
            return Ok(0);
        }
        let nobody = Cause::resumed(Uuid::nil(), None, None, None);
        let mut tx = Tx::begin(&self.pool, nobody).await?;
        let numbered = Store(&mut tx, Causes::new()).number(BITE).await?;
        tx.commit().await?;
        Ok(numbered)
    }
}

impl Queries {
    /// Whether a committed change has no number yet.
    ///
    /// # Errors
    /// The database's own.
    pub async fn some_unnumbered(&self) -> Result<bool, sqlx::Error> {
        sqlx::query_scalar!(
            r#"select exists(select from order_history where feed is null) as "some!""#
        )
        .fetch_one(self.0.pg())
        .await
    }

    /// The number of the last change; 0 when there was none.
    ///
    /// # Errors
    /// The database's own.
    pub async fn last_change(&self) -> Result<i64, sqlx::Error> {
        sqlx::query_scalar!(r#"select coalesce(max(feed), 0) as "last!" from order_history"#)
            .fetch_one(self.0.pg())
            .await
    }

    /// At most `limit` changes after the one with the number `after`, in sequence.
    ///
    /// # Errors
    /// The database's own.
    pub async fn changes(&self, after: i64, limit: i64) -> Result<Vec<ChangeRow>, sqlx::Error> {
        sqlx::query_as!(
            ChangeRow,
            r#"select h.feed, h.order_id, h.version, h.status, h.at,
                case when h.status = 'cancelled' then o.cancel_reason end as cancel_reason
            from order_history h join orders o on o.id = h.order_id
            where h.feed > $1 order by h.feed limit $2"#,
            after,
            limit,
        )
        .fetch_all(self.0.pg())
        .await
    }

    /// All changes of one order so far, numbered or not; none when there is no such order.
    ///
    /// # Errors
    /// The database's own.
    pub async fn changes_of(&self, order_id: Uuid) -> Result<Vec<ChangeRow>, sqlx::Error> {
        sqlx::query_as!(
            ChangeRow,
            r#"select h.feed, h.order_id, h.version, h.status, h.at,
                case when h.status = 'cancelled' then o.cancel_reason end as cancel_reason
            from order_history h join orders o on o.id = h.order_id
            where h.order_id = $1 order by h.version"#,
            order_id,
        )
        .fetch_all(self.0.pg())
        .await
    }
}
