//! Reading the databases: counting, streaming in order, telling of offenders.

use futures_util::stream::BoxStream;
use sqlx::postgres::{PgArguments, PgPool, PgRow};
use sqlx::query::QueryAs;
use sqlx::{FromRow, Postgres};
use uuid::Uuid;

use super::findings::Findings;
use super::world::{Service, World};

/// So many ids are kept of what may be too many to keep.
const KEPT: usize = 5;

/// A question for offenders: of each a sentence, and in every row how many there are in all. At
/// most five rows are worth asking for.
pub(crate) type Offenders = QueryAs<'static, Postgres, (String, i64), PgArguments>;

/// Asks for offenders.
pub(crate) fn offenders(sql: &'static str) -> Offenders {
    sqlx::query_as(sql)
}

/// The answer as findings.
pub(crate) async fn found(pool: &PgPool, offenders: Offenders) -> Result<Findings, sqlx::Error> {
    let rows = offenders.fetch_all(pool).await?;
    let mut findings = Findings::new();
    let count = rows.first().map_or(0, |(_, count)| count.unsigned_abs());
    findings.violations(count, rows.into_iter().map(|(sentence, _)| sentence));
    Ok(findings)
}

/// The one number that a query gives.
pub(crate) async fn count(pool: &PgPool, sql: &'static str) -> Result<u64, sqlx::Error> {
    sqlx::query_scalar::<_, i64>(sql).fetch_one(pool).await.map(i64::unsigned_abs)
}

/// The rows of a query that has no parameters, one after the other as the database sends them.
pub(crate) fn rows<'a, T>(
    pool: &'a PgPool,
    sql: &'static str,
) -> BoxStream<'a, Result<T, sqlx::Error>>
where
    T: for<'r> FromRow<'r, PgRow> + Send + Unpin + 'a,
{
    sqlx::query_as(sql).fetch(pool)
}

/// Ids of which only the number and the first few matter.
#[derive(Debug, Default)]
pub(crate) struct Ids {
    pub(crate) count: u64,
    pub(crate) first: Vec<Uuid>,
}

impl Ids {
    pub(crate) fn push(&mut self, id: Uuid) {
        self.count += 1;
        if self.first.len() < KEPT {
            self.first.push(id);
        }
    }
}

/// Events of `producer` by name: `shop.order.placed.v1 of order/0192... (event 0192...)`.
pub(crate) async fn events(
    world: &World,
    producer: Service,
    ids: &Ids,
) -> Result<Vec<String>, sqlx::Error> {
    const SQL: &str = "select type || ' of ' || subject || ' (event ' || event_id || ')'
        from messaging.outbox where event_id = any($1) order by event_id";
    named(world.databases.of(producer), SQL, ids).await
}

/// What `consumer` handled, by name.
pub(crate) async fn handled(
    world: &World,
    consumer: Service,
    ids: &Ids,
) -> Result<Vec<String>, sqlx::Error> {
    const SQL: &str = "select type || ' of ' || subject || ' (event ' || event_id || ')'
        from messaging.inbox where event_id = any($1) order by event_id";
    named(world.databases.of(consumer), SQL, ids).await
}

async fn named(pool: &PgPool, sql: &'static str, ids: &Ids) -> Result<Vec<String>, sqlx::Error> {
    if ids.first.is_empty() {
        return Ok(Vec::new());
    }
    sqlx::query_scalar(sql).bind(ids.first.as_slice()).fetch_all(pool).await
}
