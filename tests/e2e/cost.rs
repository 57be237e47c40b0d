//! What one order costs, counted and not timed: statements, transactions, round trips and bytes of the
//! databases, frames and bytes of the broker, events and spans. `cost/budget.json` says what it may.
//!
//! Orders are placed one by one, each when the one before has come to rest. Of every count the first
//! decile of all orders is taken: what services do anyway every few seconds falls on the others.

mod amqp;
mod postgres;
mod wire;

use std::collections::BTreeMap;
use std::net::SocketAddr;

use sandbox::otlp::SpanRecord;
use sqlx::Connection as _;
use testkit::{PrivatePostgres, Vhost, eventually};
use uuid::Uuid;

use crate::world::{SERVICES, SOON, World};
use wire::{Counts, Wire};

/// The most that one order may cost.
const BUDGET: &str = include_str!("cost/budget.json");
/// Enough that what falls on some of them does not count.
const ORDERS: usize = 31;
/// On a machine so busy that every order takes seconds it falls on all of them. It never makes an order
/// cheaper, so one series within the budget shows that orders are.
const TRIES: usize = 3;

/// By where it is counted, and what.
type Cost = BTreeMap<String, Counts>;

/// All that passes between the services and their servers.
struct Wires {
    databases: BTreeMap<&'static str, Wire>,
    brokers: BTreeMap<&'static str, Wire>,
    postgres: PrivatePostgres,
}

impl Wires {
    /// Everything so far.
    async fn counts(&self) -> Cost {
        let mut cost = Cost::new();
        for service in SERVICES {
            cost.insert(format!("{service}: database"), self.databases[service].counts());
            cost.insert(format!("{service}: broker"), self.brokers[service].counts());
        }
        let written = Counts::from([("bytes".to_owned(), self.written().await)]);
        cost.insert("write-ahead log".to_owned(), written);
        cost
    }

    /// Where the write-ahead log of all databases ends.
    async fn written(&self) -> i64 {
        let url = self.postgres.url("postgres");
        let mut connection = sqlx::PgConnection::connect(&url).await.unwrap();
        let position = "select (pg_current_wal_insert_lsn() - '0/0')::bigint";
        sqlx::query_scalar(position).fetch_one(&mut connection).await.unwrap()
    }
}

/// A shop whose every word to a server is counted.
async fn counted() -> (World, Wires) {
    let postgres = PrivatePostgres::start().await;
    let mut made = BTreeMap::new();
    for service in SERVICES {
        made.insert(service, postgres.database(service).await);
    }
    let world = World::of(&[], Vhost::new().await, made).await;
    let (mut databases, mut brokers) = (BTreeMap::new(), BTreeMap::new());
    for service in SERVICES {
        let urls = (world.databases[service].url(), world.vhost.amqp_url());
        let database = Wire::to(address_of(urls.0), postgres::protocol).await;
        let broker = Wire::to(address_of(urls.1), amqp::protocol).await;
        let ways = [
            ("DATABASE_URL", by_way_of(&database, urls.0)),
            ("AMQP_URL", by_way_of(&broker, urls.1)),
        ];
        // Settings are kept for as long as the test.
        world.run(service, &ways.map(|(name, url)| (name, &*url.leak())));
        databases.insert(service, database);
        brokers.insert(service, broker);
    }
    world.ready().await;
    (world, Wires { databases, brokers, postgres })
}

fn address_of(url: &str) -> SocketAddr {
    let rest = url.split_once('@').unwrap().1;
    rest.split(['/', '?']).next().unwrap().parse().unwrap()
}

fn by_way_of(wire: &Wire, url: &str) -> String {
    url.replace(&address_of(url).to_string(), &wire.addr.to_string())
}

/// Everything that was handled and everything that was published, by service.
async fn done(world: &World) -> Vec<(i64, i64)> {
    let mut done = Vec::new();
    for service in SERVICES {
        let handled = world.count(service, "select count(*) from messaging.inbox").await;
        let published = "select count(*) from messaging.outbox where published_at is not null";
        done.push((handled, world.count(service, published).await));
    }
    done
}

/// Places an order and waits until as much has been done as an order asks for.
async fn place(world: &World, asked: &[(i64, i64)]) -> Uuid {
    let before = done(world).await;
    let sum = |(one, other): (&(i64, i64), &(i64, i64))| (one.0 + other.0, one.1 + other.1);
    let wanted: Vec<_> = before.iter().zip(asked).map(sum).collect();
    let order = world.place(0, "LAMP", 2, "pm_ok").await;
    eventually(SOON, || async { done(world).await == wanted }).await;
    order
}

/// What one order asks of every service; found while nothing else happens.
async fn asked(world: &World) -> Vec<(i64, i64)> {
    world.quiet().await;
    let before = done(world).await;
    let order = world.place(0, "LAMP", 2, "pm_ok").await;
    world.ended(order).await;
    world.quiet().await;
    let after = done(world).await;
    before.iter().zip(after).map(|(one, other)| (other.0 - one.0, other.1 - one.1)).collect()
}

/// Of every count the first decile of what each order added.
fn per_order(marks: &[Cost]) -> Cost {
    let last = marks.last().unwrap();
    let of = |place: &String, what: &String| {
        let at = |cost: &Cost| cost[place].get(what).copied().unwrap_or_default();
        let mut added: Vec<i64> = marks.windows(2).map(|two| at(&two[1]) - at(&two[0])).collect();
        added.sort_unstable();
        added[added.len() / 10]
    };
    let counts = |place: &String, counts: &Counts| {
        let each = counts.keys().map(|what| (what.clone(), of(place, what)));
        each.filter(|(_, count)| *count != 0).collect::<Counts>()
    };
    last.iter().map(|(place, all)| (place.clone(), counts(place, all))).collect()
}

/// Every count that is over its budget, or has none.
fn over_budget(cost: &Cost, budget: &Cost) -> Vec<String> {
    let mut over = Vec::new();
    for (place, counts) in cost {
        for (what, count) in counts {
            let most = budget.get(place).and_then(|counts| counts.get(what));
            if most.is_none_or(|most| count > most) {
                let most = most.copied().unwrap_or_default();
                over.push(format!("{place}: {what}: {count}, {} over {most}", count - most));
            }
        }
    }
    over
}

#[tokio::test]
async fn private_an_order_costs_no_more_than_its_budget() {
    let (world, wires) = counted().await;
    world.stock("LAMP", 500, 1_000_000).await;
    let asked = asked(&world).await;
    let budget: Cost = serde_json::from_str(BUDGET).unwrap();
    let (mut cost, mut over) = (Cost::new(), Vec::new());
    for _ in 0..TRIES {
        cost = of_orders(&world, &wires, &asked).await;
        over = over_budget(&cost, &budget);
        if over.is_empty() {
            break;
        }
    }
    let cost_json = serde_json::to_string_pretty(&cost).unwrap();
    assert!(
        over.is_empty(),
        "over budget:\n{}\n\nall, for cost/budget.json:\n{cost_json}",
        over.join("\n")
    );
}

/// What each of some orders costs.
async fn of_orders(world: &World, wires: &Wires, asked: &[(i64, i64)]) -> Cost {
    let mut marks = vec![wires.counts().await];
    let mut order = Uuid::nil();
    for _ in 0..ORDERS {
        order = place(world, asked).await;
        marks.push(wires.counts().await);
    }
    let mut cost = per_order(&marks);
    let events = asked.iter().map(|(_, published)| published).sum();
    cost.insert("events".to_owned(), Counts::from([("signatures".to_owned(), events)]));
    let spans = spans(world, order, asked).await;
    cost.insert("trace".to_owned(), Counts::from([("spans".to_owned(), spans)]));
    cost
}

/// How many spans the trace of one order has: complete when every event of it was handled everywhere.
async fn spans(world: &World, order: Uuid, asked: &[(i64, i64)]) -> i64 {
    let trace = world.ended(order).await["trace_id"].as_str().unwrap().to_owned();
    let handled: i64 = asked.iter().map(|(handled, _)| handled).sum();
    let complete = |spans: &[SpanRecord]| {
        let of =
            |verb: &str| spans.iter().filter(|span| span.name.starts_with(verb)).count() as i64;
        of("process ") == handled && of("POST /orders") == 1
    };
    world.traces.wait_for(&trace, SOON, complete).await.unwrap();
    world.traces.trace(&trace).len() as i64
}

#[test]
fn a_count_over_its_budget_and_one_without_are_told_with_the_difference() {
    let cost = |statements, frames| {
        let counts =
            Counts::from([("statements".to_owned(), statements), ("frames".to_owned(), frames)]);
        Cost::from([("order: database".to_owned(), counts)])
    };
    let mut budget = cost(10, 5);
    assert_eq!(over_budget(&cost(10, 4), &budget), Vec::<String>::new());
    assert_eq!(over_budget(&cost(12, 5), &budget), ["order: database: statements: 12, 2 over 10"]);
    budget.get_mut("order: database").unwrap().remove("frames");
    assert_eq!(over_budget(&cost(9, 5), &budget), ["order: database: frames: 5, 5 over 0"]);
}
