//! An outbox full of events: a few thousand that were written as a service writes them, and many more
//! that are copies of their rows under other ids.

use anyhow::{Context as _, ensure};
use chrono::{DateTime, TimeDelta, Utc};
use messaging::step::Step as _;
use messaging::{Cause, Handlers, Housekeeping, Retention, Tx};
use sqlx::{AssertSqlSafe, PgPool};
use testkit::Vhost;

use super::drained::Order;
use super::events::placed;
use super::service::Service;
use crate::stage::Stage;

/// Events that are written one by one and signed; all others are copies of their rows.
pub(crate) const TEMPLATES: usize = 2_000;
const PER_TRANSACTION: usize = 500;
/// Rows that one step of the kit's housekeeping deletes.
const BITE: usize = 1_000;

/// What an outbox is filled with.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fill {
    pub(crate) rows: usize,
    pub(crate) aggregates: usize,
    /// Whether they were published before: what is kept, and nobody reads.
    pub(crate) published: bool,
}

/// The outbox of a service that only publishes, to be filled and emptied over and over.
pub(crate) struct Backlog {
    service: Service,
    /// Rows so far: every row gets an id of its own.
    made: usize,
}

impl Backlog {
    /// Of a new service; its templates are still to be written.
    ///
    /// # Errors
    /// When the service cannot be made.
    pub(crate) async fn new(stage: &Stage, vhost: &Vhost) -> anyhow::Result<Self> {
        let service = Service::new(stage, vhost, "order", Handlers::new()).await?;
        Ok(Self { service, made: 0 })
    }

    fn pg(&self) -> &PgPool {
        &self.service.pg
    }

    /// Writes the events that all others are copies of.
    ///
    /// # Errors
    /// When the database does not answer.
    pub(crate) async fn write_templates(&self) -> anyhow::Result<()> {
        let pool = &self.service.pool;
        for _ in 0..TEMPLATES.div_ceil(PER_TRANSACTION) {
            let mut tx = Tx::begin(pool, Cause::request(pool.new_id(), Default::default())).await?;
            for _ in 0..PER_TRANSACTION {
                let placed = placed(tx.new_id(), tx.now())?;
                tx.publish(&placed, 1)?;
            }
            tx.commit().await?;
        }
        let copy = "create table template as
            select row_number() over (order by seq) - 1 as n, type, body, signature, key_id
            from messaging.outbox order by seq";
        sqlx::query(copy).execute(self.pg()).await?;
        sqlx::query("alter table template add primary key (n)").execute(self.pg()).await?;
        Ok(())
    }

    /// Empties it, and gives the rows per second from the first batch that was marked to the last: what
    /// comes before is the start of a process.
    ///
    /// # Errors
    /// When it makes no end, or a server does not answer.
    pub(crate) async fn drain(&self) -> anyhow::Result<f64> {
        let since: DateTime<Utc> = self.service.pool.clock().now();
        self.service.drain().await?;
        self.rate_of_marks(since).await
    }

    async fn rate_of_marks(&self, since: DateTime<Utc>) -> anyhow::Result<f64> {
        let marks = "with marks as materialized (
                select published_at, min(published_at) over () as first
                from messaging.outbox where published_at >= $1)
            select extract(epoch from max(published_at) - min(published_at))::float8,
                count(*) filter (where published_at > first)
            from marks";
        let (seconds, rows): (f64, i64) =
            sqlx::query_as(marks).bind(since).fetch_one(self.pg()).await?;
        Ok(rows as f64 / seconds.max(f64::EPSILON))
    }

    /// Empties the outbox.
    ///
    /// # Errors
    /// When the database does not answer.
    pub(crate) async fn clear(&self) -> anyhow::Result<()> {
        sqlx::query("truncate messaging.outbox").execute(self.pg()).await?;
        Ok(())
    }

    /// Adds rows. The events of an aggregate stand anywhere among those of the others, in the order of
    /// their versions.
    ///
    /// # Errors
    /// When the database does not answer.
    pub(crate) async fn fill(&mut self, fill: Fill) -> anyhow::Result<Order> {
        let Fill { rows, aggregates, published } = fill;
        let base = self.made;
        self.made += rows;
        sqlx::query(FILL)
            .bind(i64::try_from(base)?)
            .bind(i64::try_from(rows)?)
            .bind(i64::try_from(aggregates)?)
            .bind(i64::try_from(TEMPLATES)?)
            .bind(published)
            .execute(self.pg())
            .await
            .context("fill the outbox")?;
        Ok(Order::of(base, fill))
    }

    /// What autovacuum does sooner or later, so that it does not do it while something is measured.
    ///
    /// # Errors
    /// When the database does not answer.
    pub(crate) async fn settle(&self) -> anyhow::Result<()> {
        for statement in ["vacuum (analyze) messaging.outbox", "checkpoint"] {
            sqlx::query(statement).execute(self.pg()).await?;
        }
        Ok(())
    }

    /// Deletes the oldest published rows, whole bites of them, as the kit's housekeeping does.
    ///
    /// # Errors
    /// When the database does not answer.
    pub(crate) async fn prune(&self, rows: usize) -> anyhow::Result<()> {
        let before = self.count("true").await?;
        let outbox = TimeDelta::zero();
        let retention = Retention { outbox, ..Retention::default() };
        let mut housekeeping = Housekeeping::new(self.service.pool.clone(), retention);
        for _ in 0..rows.div_ceil(BITE) {
            let _ = housekeeping.step().await;
        }
        let deleted = before - self.count("true").await?;
        ensure!(deleted == i64::try_from(rows)?, "{deleted} rows were pruned, not {rows}");
        Ok(())
    }

    /// Rows of which something holds.
    ///
    /// # Errors
    /// When the database does not answer.
    pub(crate) async fn count(&self, what: &str) -> anyhow::Result<i64> {
        let count = format!("select count(*) from messaging.outbox where {what}");
        Ok(sqlx::query_scalar(AssertSqlSafe(count)).fetch_one(self.pg()).await?)
    }

    /// What the table takes with its indexes, in MiB.
    ///
    /// # Errors
    /// When the database does not answer.
    pub(crate) async fn mebibytes(&self) -> anyhow::Result<i64> {
        let size = "select pg_total_relation_size('messaging.outbox') / 1048576";
        Ok(sqlx::query_scalar(size).fetch_one(self.pg()).await?)
    }
}

/// $1: rows before, $2: rows, $3: aggregates, $4: templates, $5: whether they were published.
///
/// An id says which row it is and which version of which aggregate, so that the message tells it, too.
const FILL: &str = "
insert into messaging.outbox
    (event_id, type, subject, aggversion, partition, correlation_id, body, signature, key_id,
     created_at, published_at)
select id, type, subject, version, get_byte(sha256(subject::bytea), 31) % 16, id, body, signature,
    key_id, now(), case when $5 then now() end
from (
    select n, version,
        'order/' || to_hex($1) || '-' || aggregate as subject,
        (lpad(to_hex($1 + n), 12, '0') || '70008000' || lpad(to_hex(aggregate), 6, '0')
            || lpad(to_hex(version), 6, '0'))::uuid as id
    from (
        select aggregate,
            row_number() over (order by place, drawn) - 1 as n,
            row_number() over (partition by aggregate order by place, drawn) as version
        from (
            select drawn, drawn % $3 as aggregate, hashint8extended(drawn, $1) as place
            from generate_series(0, $2 - 1) drawn) rows) versions) events
join template on template.n = events.n % $4
order by events.n";
