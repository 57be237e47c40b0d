//! I3: nothing was handled that nobody wrote.

use futures_util::TryStreamExt as _;
use uuid::Uuid;

use super::super::findings::Findings;
use super::super::merge::{Side, merge};
use super::super::tables::{Ids, found, handled, offenders};
use super::super::world::{Service, World};

pub(crate) const ID: &str = "I3";
pub(crate) const STATEMENT: &str =
    "everything that was handled stands in its producer's outbox, byte for byte";

const WRITTEN: &str = "select event_id, sha256(body) from messaging.outbox
    where event_id >= $1 and ($2::text[] is null or type = any($2)) order by event_id";

const HANDLED: &str = "select event_id, body_sha256 from messaging.inbox
    where consumer = $1 and split_part(source, ':', 4) = $2 and event_id >= $3
      and ($4::text[] is null or type = any($4))
    order by event_id";

const OF_NOBODY: &str =
    "select 'an event came from ' || source || ', which is no service: ' || event_id,
        count(*) over ()
    from messaging.inbox where split_part(source, ':', 4) <> all($1)
    order by 1 limit 5";

pub(crate) async fn check(world: &World) -> anyhow::Result<Findings> {
    let mut findings = Findings::new();
    let names: Vec<&str> = Service::ALL.into_iter().map(Service::name).collect();
    for consumer in Service::ALL {
        let pool = world.databases.of(consumer);
        let of_nobody = offenders(OF_NOBODY).bind(names.clone());
        findings.add(found(pool, of_nobody).await?);
        for producer in Service::ALL {
            findings.add(pair(world, producer, consumer).await?);
        }
    }
    Ok(findings)
}

async fn pair(
    world: &World,
    producer: Service,
    consumer: Service,
) -> Result<Findings, sqlx::Error> {
    let (first, types) = (world.first_remembered_id(), world.bindings.of(consumer));
    let written = sqlx::query_as(WRITTEN)
        .bind(first)
        .bind(types)
        .fetch(world.databases.of(producer))
        .map_ok(|row: (Uuid, Vec<u8>)| row);
    let inbox = sqlx::query_as(HANDLED)
        .bind(consumer.name())
        .bind(producer.name())
        .bind(first)
        .bind(types)
        .fetch(world.databases.of(consumer))
        .map_ok(|row: (Uuid, Vec<u8>)| row);
    let (mut checked, mut ghosts, mut altered) = (0, Ids::default(), Ids::default());
    merge(written, inbox, |id, side| match side {
        Side::Left(_) => {}
        Side::Right(_) => ghosts.push(id),
        Side::Both(written, handled) => {
            checked += 1;
            if written != handled {
                altered.push(id);
            }
        }
    })
    .await?;
    let mut findings = Findings::new();
    findings.looked_at(checked + ghosts.count);
    for (ids, fault) in [
        (&ghosts, format!("which {producer} never wrote")),
        (&altered, format!("with other bytes than {producer} wrote")),
    ] {
        let events = handled(world, consumer, ids).await?;
        let told = events.into_iter().map(|event| format!("{consumer} handled {event}, {fault}"));
        findings.violations(ids.count, told);
    }
    Ok(findings)
}
