//! The changes of all orders in one sequence, and the word to other replicas that it has grown.

use std::time::Duration;

use messaging::Pool;
use messaging::retry::Backoff;
use messaging::step::Signal;
use sqlx::PgPool;
use sqlx::postgres::{PgListener, PgPoolOptions};
use tokio::time::timeout;
use uuid::Uuid;

use super::{Queries, Store};
use crate::application::ports::{Changes, StoreError};
use crate::application::views::ChangeRow;

/// Only its holder numbers. Any number will do that nothing else in this database locks.
const TURN: i64 = 0x6f72_6465_7266_6565;
/// On this channel replicas tell each other of numbered changes.
const CHANNEL: &str = "order_feed";
const CONNECT: Duration = Duration::from_secs(2);
/// A session that is quiet for so long is asked whether it is still there.
const QUIET: Duration = Duration::from_secs(10);

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

/// Tells the other replicas that changes were numbered, and hears it from them.
#[derive(Clone)]
pub struct Bell(Pool);

impl Bell {
    /// The bell of `pool`'s database.
    pub fn new(pool: Pool) -> Self {
        Self(pool)
    }

    /// Tells the others. In a statement of its own: within a transaction it would make all commits
    /// queue up.
    ///
    /// # Errors
    /// The database's own; then the others find out when they look by themselves.
    pub async fn ring(&self) -> Result<(), sqlx::Error> {
        sqlx::query("select pg_notify($1, $2)")
            .bind(CHANNEL)
            .bind(self.own_name())
            .execute(self.0.pg())
            .await?;
        Ok(())
    }

    /// Gives `signal` whenever another has rung, for ever.
    pub async fn hear(&self, signal: &Signal) {
        let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(1));
        loop {
            let options = self.0.pg().connect_options().as_ref().clone();
            let own = PgPoolOptions::new()
                .max_connections(1)
                .acquire_timeout(CONNECT)
                .connect_lazy_with(options);
            if let Err(error) = self.listen(&own, signal, &mut backoff).await {
                tracing::debug!(%error, "the session that hears of changes failed");
            }
            own.close().await;
            tokio::time::sleep(backoff.next(self.0.clock())).await;
        }
    }

    async fn listen(
        &self,
        own: &PgPool,
        signal: &Signal,
        backoff: &mut Backoff,
    ) -> Result<(), sqlx::Error> {
        let mut listener = PgListener::connect_with(own).await?;
        listener.eager_reconnect(false);
        listener.listen(CHANNEL).await?;
        backoff.reset();
        // It may have been rung while nobody listened.
        signal.notify();
        loop {
            match timeout(QUIET, listener.try_recv()).await {
                Ok(rung) => match rung? {
                    Some(rung) if rung.payload() == self.own_name() => {}
                    Some(_) => signal.notify(),
                    None => return Ok(()),
                },
                Err(_) => {
                    let asked = sqlx::query("select").execute(&mut listener);
                    let silent = |_| sqlx::Error::Io(std::io::ErrorKind::TimedOut.into());
                    timeout(CONNECT, asked).await.map_err(silent)??;
                }
            }
        }
    }

    fn own_name(&self) -> String {
        self.0.instance().number().to_string()
    }
}
