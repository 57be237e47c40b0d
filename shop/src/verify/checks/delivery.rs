//! I2: what was committed was handled, once, by everybody it was for.

use std::collections::HashMap;

use futures_util::TryStreamExt as _;
use uuid::Uuid;

use super::super::findings::Findings;
use super::super::merge::{Side, merge};
use super::super::tables::{Ids, events, handled};
use super::super::world::{Service, World};
use super::effects;

pub(crate) const ID: &str = "I2";
pub(crate) const STATEMENT: &str =
    "every committed event was handled exactly once by every service bound to it, and by no other";

/// Events by id: whether it was published, and whether it is to leave later by its own wish.
const COMMITTED: &str = "select event_id, published_at is not null,
        published_at is null and last_error is null and coalesce(not_before > now(), false)
    from messaging.outbox
    where event_id >= $1 and ($2::text[] is null or type = any($2)) order by event_id";

/// The key allows one row per event, so what was handled was handled once.
const HANDLED: &str = "select event_id from messaging.inbox
    where consumer = $1 and split_part(source, ':', 4) = $2 and event_id >= $3 order by event_id";

const PARKED: &str = "select event_id, max(reason_code) from messaging.dead_letter
    where event_id is not null and state = any($1) group by event_id";

pub(crate) async fn check(world: &World) -> anyhow::Result<Findings> {
    let mut findings = Findings::new();
    for consumer in Service::ALL {
        let parked = dead_letters(world, consumer, &["parked", "replaying"]).await?;
        let discarded = dead_letters(world, consumer, &["discarded"]).await?;
        for producer in Service::ALL {
            let pair = Pair { producer, consumer, parked: &parked, discarded: &discarded };
            findings.add(pair.check(world).await?);
        }
    }
    findings.add(effects::check(world).await?);
    Ok(findings)
}

/// Reason codes by event.
type DeadLetters = HashMap<Uuid, String>;

async fn dead_letters(
    world: &World,
    consumer: Service,
    states: &[&str],
) -> Result<DeadLetters, sqlx::Error> {
    let rows = sqlx::query_as(PARKED).bind(states).fetch_all(world.databases.of(consumer)).await?;
    Ok(rows.into_iter().collect())
}

/// One service's events on their way to another.
struct Pair<'a> {
    producer: Service,
    consumer: Service,
    parked: &'a DeadLetters,
    discarded: &'a DeadLetters,
}

#[derive(Default)]
struct Fates {
    handled: u64,
    lost: Ids,
    unpublished: Ids,
    parked: Ids,
    unexpected: Ids,
}

impl Pair<'_> {
    async fn check(&self, world: &World) -> Result<Findings, sqlx::Error> {
        let Self { producer, consumer, .. } = *self;
        let first = world.first_remembered_id();
        let committed = sqlx::query_as(COMMITTED)
            .bind(first)
            .bind(world.bindings.of(consumer))
            .fetch(world.databases.of(producer))
            .map_ok(|(id, published, later): (Uuid, bool, bool)| (id, (published, later)));
        let inbox = sqlx::query_as(HANDLED)
            .bind(consumer.name())
            .bind(producer.name())
            .bind(first)
            .fetch(world.databases.of(consumer))
            .map_ok(|(id,): (Uuid,)| (id, ()));
        let mut fates = Fates::default();
        merge(committed, inbox, |id, side| match side {
            Side::Both(..) => fates.handled += 1,
            Side::Right(()) => fates.unexpected.push(id),
            Side::Left((_, true)) => {}
            Side::Left((false, false)) => fates.unpublished.push(id),
            Side::Left((true, false)) if self.parked.contains_key(&id) => fates.parked.push(id),
            // Somebody has looked at it and decided.
            Side::Left((true, false)) if self.discarded.contains_key(&id) => {}
            Side::Left((true, false)) => fates.lost.push(id),
        })
        .await?;
        self.tell(world, &fates).await
    }

    async fn tell(&self, world: &World, fates: &Fates) -> Result<Findings, sqlx::Error> {
        let Self { producer, consumer, .. } = *self;
        let mut findings = Findings::new();
        findings.looked_at(fates.handled);
        for (ids, fate) in [
            (&fates.lost, format!("never reached {consumer}")),
            (&fates.unpublished, format!("was not published, so {consumer} does not know of it")),
            (&fates.parked, format!("is parked in {consumer}.dlq, not handled")),
        ] {
            findings.looked_at(ids.count);
            let events = events(world, producer, ids).await?;
            findings
                .violations(ids.count, events.into_iter().map(|event| format!("{event} {fate}")));
        }
        let strays = handled(world, consumer, &fates.unexpected).await?;
        let strays = strays.into_iter().map(|event| {
            format!("{consumer} handled {event}, which {producer} did not publish to it")
        });
        findings.violations(fates.unexpected.count, strays);
        Ok(findings)
    }
}
