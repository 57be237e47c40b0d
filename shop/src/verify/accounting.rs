//! How many events were published to a service, and how many of them are accounted for in tables.

use std::collections::HashSet;

use sqlx::PgPool;
use uuid::Uuid;

use super::world::{Service, World};

/// The books of one consumer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Books {
    /// Events of the types that it is bound to, of which the broker has confirmed each.
    pub(crate) published: i64,
    /// Events that it handled.
    pub(crate) processed: i64,
    /// Events that were parked, or discarded by an operator, and not handled.
    pub(crate) parked: i64,
}

impl Books {
    /// Events that are in no table of the consumer: they are on their way, or lost.
    pub(crate) fn outstanding(self) -> i64 {
        self.published - self.processed - self.parked
    }
}

/// The books of `consumer`, as far as outbox and inbox remember.
pub(crate) async fn books(world: &World, consumer: Service) -> Result<Books, sqlx::Error> {
    let (first, types) = (world.first_remembered_id(), world.bindings.of(consumer));
    let mut published = 0;
    for producer in Service::ALL {
        published += sqlx::query_scalar::<_, i64>(
            "select count(*) from messaging.outbox
            where published_at is not null and event_id >= $1
              and ($2::text[] is null or type = any($2))",
        )
        .bind(first)
        .bind(types)
        .fetch_one(world.databases.of(producer))
        .await?;
    }
    let processed = sqlx::query_scalar(
        "select count(*) from messaging.inbox
        where consumer = $1 and event_id >= $2 and ($3::text[] is null or type = any($3))",
    )
    .bind(consumer.name())
    .bind(first)
    .bind(types)
    .fetch_one(world.databases.of(consumer))
    .await?;
    let parked = parked_events(world, consumer, first).await?;
    Ok(Books { published, processed, parked })
}

/// Events that were parked and never handled. A dead letter's id is only claimed, so those that no
/// outbox knows (forged, or of another system) are left out: nobody published them. So are those of a
/// type that the consumer is not bound to: they came by a wrong binding.
async fn parked_events(world: &World, consumer: Service, first: Uuid) -> Result<i64, sqlx::Error> {
    let ids: Vec<Uuid> = sqlx::query_scalar(
        "select distinct d.event_id from messaging.dead_letter d
        where d.state in ('parked', 'replaying', 'discarded') and d.event_id >= $1 and d.queue = $2
          and not exists (select from messaging.inbox i
              where i.consumer = $3 and i.event_id = d.event_id)",
    )
    .bind(first)
    .bind(format!("{consumer}.in"))
    .bind(consumer.name())
    .fetch_all(world.databases.of(consumer))
    .await?;
    if ids.is_empty() {
        return Ok(0);
    }
    let mut real = HashSet::new();
    for producer in Service::ALL {
        let types = world.bindings.of(consumer);
        real.extend(published_of(world.databases.of(producer), &ids, types).await?);
    }
    Ok(real.len() as i64)
}

async fn published_of(
    pool: &PgPool,
    ids: &[Uuid],
    types: Option<&[String]>,
) -> Result<Vec<Uuid>, sqlx::Error> {
    sqlx::query_scalar(
        "select event_id from messaging.outbox
        where event_id = any($1) and published_at is not null
          and ($2::text[] is null or type = any($2))",
    )
    .bind(ids)
    .bind(types)
    .fetch_all(pool)
    .await
}
