//! I18: the log is complete and nobody has touched it.

use futures_util::TryStreamExt as _;
use sqlx::PgPool;
use uuid::Uuid;

use super::super::findings::Findings;
use super::super::merge::{Side, merge};
use super::super::tables::{Ids, events};
use super::super::world::{Service, World};

pub(crate) const ID: &str = "I18";
pub(crate) const STATEMENT: &str = "audit holds every published event once, byte for byte; \
     its hash chain holds; it refuses to be changed";

const WRITTEN: &str = "select event_id, sha256(body), published_at is not null
    from messaging.outbox where event_id >= $1 order by event_id";
/// The key allows one entry per event.
const LOGGED: &str = "select event_id, sha256(body) from entries
    where split_part(source, ':', 4) = $1 and event_id >= $2 order by event_id";
/// Refused by Postgres, for lack of a right to it.
const REFUSED: &str = "42501";
/// Would change nothing even if they were let.
const CHANGES: [(&str, &str); 2] = [
    ("update", "update entries set seq = seq where false"),
    ("delete", "delete from entries where false"),
];

pub(crate) async fn check(world: &World) -> anyhow::Result<Findings> {
    let mut findings = Findings::new();
    for producer in Service::ALL {
        findings.add(of_producer(world, producer).await?);
    }
    let log = world.databases.of(Service::Audit);
    let chain = audit::verify_chain(log).await?;
    findings.looked_at(chain.entries.unsigned_abs());
    if let Some(broken) = chain.broken {
        findings.violation(|| format!("the hash chain of the audit log breaks: {broken}"));
    }
    for (what, sql) in CHANGES {
        if !is_refused(log, sql).await? {
            findings.violation(|| format!("the audit log lets itself be changed by {what}"));
        }
    }
    Ok(findings)
}

async fn of_producer(world: &World, producer: Service) -> Result<Findings, sqlx::Error> {
    let first = world.first_remembered_id();
    let written = sqlx::query_as(WRITTEN)
        .bind(first)
        .fetch(world.databases.of(producer))
        .map_ok(|(id, hash, published): (Uuid, Vec<u8>, bool)| (id, (hash, published)));
    let logged = sqlx::query_as(LOGGED)
        .bind(producer.name())
        .bind(first)
        .fetch(world.databases.of(Service::Audit))
        .map_ok(|row: (Uuid, Vec<u8>)| row);
    let mut checked = 0;
    let (mut missing, mut altered, mut strange) = (Ids::default(), Ids::default(), Ids::default());
    merge(written, logged, |id, side| {
        checked += 1;
        match side {
            Side::Left((_, true)) => missing.push(id),
            Side::Right(_) => strange.push(id),
            Side::Both((written, _), logged) if written != logged => altered.push(id),
            Side::Left((_, false)) | Side::Both(..) => {}
        }
    })
    .await?;
    let mut findings = Findings::new();
    findings.looked_at(checked);
    for (ids, fault) in
        [(&missing, "is not in the audit log"), (&altered, "has other bytes in the audit log")]
    {
        let events = events(world, producer, ids).await?;
        findings.violations(ids.count, events.into_iter().map(|event| format!("{event} {fault}")));
    }
    let told = strange
        .first
        .iter()
        .map(|id| format!("the audit log has an event of {producer} that it never wrote: {id}"));
    findings.violations(strange.count, told);
    Ok(findings)
}

async fn is_refused(pool: &PgPool, sql: &'static str) -> Result<bool, sqlx::Error> {
    match sqlx::query(sql).execute(pool).await {
        Ok(_) => Ok(false),
        Err(sqlx::Error::Database(error)) if error.code().as_deref() == Some(REFUSED) => Ok(true),
        Err(error) => Err(error),
    }
}
