//! A past for all databases, by SQL.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use futures_util::future::try_join_all;
use shop::verify::Service;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, raw_sql};
use testkit::Database;

use super::EVENTS;

/// Bytes of an event, about as in the outbox of order.
const BODY: usize = 700;
/// How long ago the first order was placed.
const DAYS: i64 = 299;

/// The rows of as many orders in all databases, with every index and every statistic. Gives how long
/// that took.
///
/// # Errors
/// When a statement fails.
pub(crate) async fn fill(
    databases: &BTreeMap<Service, Database>,
    orders: u32,
) -> anyhow::Result<Duration> {
    let begun = Instant::now();
    try_join_all(databases.iter().map(|(service, database)| one(*service, database, orders)))
        .await?;
    Ok(begun.elapsed())
}

async fn one(service: Service, database: &Database, orders: u32) -> anyhow::Result<()> {
    let mut postgres = PgConnection::connect(database.local_url()).await?;
    let sql = script(service, orders);
    let filled = raw_sql(AssertSqlSafe(sql)).execute(&mut postgres).await;
    filled.with_context(|| format!("fill the database of {service}"))?;
    // It cannot be part of the script, which is one transaction.
    sqlx::query("vacuum analyze").execute(&mut postgres).await?;
    // What was written goes to the disk now, and not while something is measured.
    sqlx::query("checkpoint").execute(&mut postgres).await?;
    Ok(postgres.close().await?)
}

fn script(service: Service, orders: u32) -> String {
    let own = match service {
        Service::Order => include_str!("order.sql"),
        Service::Inventory => include_str!("inventory.sql"),
        Service::Payment => include_str!("payment.sql"),
        Service::Email => include_str!("email.sql"),
        Service::Audit => include_str!("audit.sql"),
    };
    let (common, bare) = (include_str!("common.sql"), include_str!("bare.sql"));
    let (outbox, inbox) = (include_str!("outbox.sql"), include_str!("inbox.sql"));
    let outbox = if service == Service::Audit { "" } else { outbox };
    let whole = include_str!("whole.sql");
    let text = [common, bare, own, outbox, inbox, whole].concat();
    text.replace("{published}", &events(|event| owner(event) == service.name()))
        .replace("{consumed}", &events(|event| hears(service, event)))
        .replace("{events}", &events(|_| true))
        .replace("{service}", service.name())
        .replace("{orders}", &orders.to_string())
        .replace("{days}", &DAYS.to_string())
}

/// The service that publishes an event.
fn owner(event: &str) -> &str {
    event.split('.').next().unwrap_or_default()
}

fn hears(service: Service, event: &str) -> bool {
    let known = shop::services::service(service.name());
    let bindings = known.map(|known| (known.bindings)()).unwrap_or_default();
    bindings.iter().any(|binding| binding == "#" || binding == event)
}

/// The events that are wanted, as a table: place in an order's life, service, type, version, body.
fn events(wanted: impl Fn(&str) -> bool) -> String {
    let rows = EVENTS.iter().enumerate().filter(|(_, event)| wanted(event)).map(|(n, event)| {
        let service = owner(event);
        // The second of one service is of the same aggregate.
        let version = 1 + EVENTS[..n].iter().filter(|one| owner(one) == service).count();
        format!(
            "({}, '{service}', '{event}', {version}, convert_to(rpad('{event}', {BODY}, 'x'), \
             'UTF8'))",
            n + 1
        )
    });
    format!("(values {})", rows.collect::<Vec<_>>().join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_place_in_every_script_is_filled() {
        for service in Service::ALL {
            let script = script(service, 1_000);
            for place in ["orders", "days", "service", "events", "published", "consumed"] {
                assert!(!script.contains(&format!("{{{place}}}")), "{service}: {place}");
            }
        }
    }

    #[test]
    fn the_second_event_of_an_aggregate_is_its_second_version() {
        let order = events(|event| owner(event) == "order");
        assert!(order.starts_with("(values (1, 'order', 'order.placed.v1', 1, "), "{order}");
        assert!(order.contains("(4, 'order', 'order.confirmed.v1', 2, "), "{order}");
    }
}
