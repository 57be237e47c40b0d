//! I10: every order ends.

use std::collections::HashSet;

use chrono::{DateTime, TimeDelta, Utc};
use futures_util::TryStreamExt as _;
use uuid::Uuid;

use super::super::Facts;
use super::super::findings::Findings;
use super::super::tables::{count, rows};
use super::super::world::{Service, World};

pub(crate) const ID: &str = "I10";
pub(crate) const STATEMENT: &str =
    "every order ends in time, and while it has not, something is under way that will end it";

const PENDING: &str = "select id, deadline_at from orders where status = 'pending' order by id";
/// The task that ends orders at their deadlines may be this late.
const LATE: TimeDelta = TimeDelta::seconds(30);
/// Everything that an order sets in motion is correlated by its id.
const UNPUBLISHED: &str =
    "select distinct correlation_id from messaging.outbox where published_at is null";
const OPEN_PAYMENTS: &str = "select order_id from payments where next_attempt_at is not null";

pub(crate) async fn check(world: &World, facts: &Facts) -> anyhow::Result<Findings> {
    let mut findings = Findings::new();
    let orders = world.databases.of(Service::Order);
    findings.looked_at(count(orders, "select count(*) from orders").await?);
    let under_way = under_way(world).await?;
    let on_the_way = facts.queues.as_ref().map(|queues| queues.first_busy().is_some());
    let now = world.clock.now();
    let mut pending = rows::<(Uuid, DateTime<Utc>)>(orders, PENDING);
    while let Some((id, deadline)) = pending.try_next().await? {
        let late = now.signed_duration_since(deadline);
        if late > LATE {
            let seconds = late.num_seconds();
            findings.violation(|| format!("order {id} is pending {seconds} s after its deadline"));
        } else if !under_way.contains(&id) {
            match on_the_way {
                Ok(true) => {}
                Ok(false) => findings.violation(|| {
                    format!("order {id} is pending, and nothing is under way that could end it")
                }),
                Err(why) => findings.unknown(why),
            }
        }
    }
    Ok(findings)
}

/// Orders with an event that is still to be published, or a payment that is still to be made.
async fn under_way(world: &World) -> Result<HashSet<Uuid>, sqlx::Error> {
    let mut ids = HashSet::new();
    for service in Service::ALL {
        let pool = world.databases.of(service);
        ids.extend(sqlx::query_scalar::<_, Uuid>(UNPUBLISHED).fetch_all(pool).await?);
    }
    let payments = world.databases.of(Service::Payment);
    ids.extend(sqlx::query_scalar::<_, Uuid>(OPEN_PAYMENTS).fetch_all(payments).await?);
    Ok(ids)
}
