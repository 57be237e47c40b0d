//! What `shop order` answers, seen from outside, when it cannot serve: too much at once, something is
//! away, or it stops. The rows of the table of bad input that name these.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::future::join_all;
use reqwest::Client;
use sqlx::{Postgres, Transaction};
use testkit::{Broker, Database, PrivatePostgres, Vhost, eventually};
use uuid::Uuid;

use crate::stream::Stream;
use crate::world::{Answer, SOON, World, basket};

const BUSY: &str = "Rate or in-flight limit | 429 + Retry-After";
const AWAY: &str =
    "DB down, pool timeout, outbox over cap, shutting down | 503 + Retry-After (never 500)";
const ACCEPTED: &str = "Valid POST /orders | 202, answer after DB commit, broker not involved";
/// What a process answers at the same time.
const ANSWERED_AT_ONCE: usize = 512;

/// Order, and inventory to list products, over databases of `postgres`.
async fn world(vhost: Vhost, postgres: Option<&PrivatePostgres>) -> World {
    let services = ["order", "inventory"];
    let mut databases = BTreeMap::new();
    for service in services {
        let database = match postgres {
            Some(postgres) => postgres.database(service).await,
            None => Database::new(service).await,
        };
        databases.insert(service, database);
    }
    let world = World::of(&services, vhost, databases).await;
    world.stock("LAMP", 1_000, 1_000).await;
    world
}

/// Nobody can read or write orders until this ends.
async fn locked(world: &World) -> Transaction<'static, Postgres> {
    let mut lock = world.pg("order").begin().await.unwrap();
    sqlx::query("lock table orders in access exclusive mode").execute(&mut *lock).await.unwrap();
    lock
}

/// Waits until a request waits for the lock.
async fn somebody_waits(lock: &mut Transaction<'static, Postgres>) {
    let sql =
        "select count(*) > 0 from pg_locks where relation = 'orders'::regclass and not granted";
    while !sqlx::query_scalar::<_, bool>(sql).fetch_one(&mut **lock).await.unwrap() {}
}

fn assert_refused(row: &str, answer: &Answer, status: u16, code: &str, pause: &str) {
    assert_eq!(answer.status, status, "{row}: {answer:?}");
    assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{row}");
    assert_eq!(answer.header("retry-after"), Some(pause), "{row}: {answer:?}");
    assert_eq!(answer.json()["code"], code, "{row}: {answer:?}");
}

fn assert_away(answer: &Answer) {
    assert_refused(AWAY, answer, 503, "unavailable", "5");
}

/// Waits until the service says that it is not ready because of `dependency`.
async fn not_ready(http: &Client, world: &World, dependency: &str) -> Answer {
    let url = world.url("order", "/health/ready");
    let ready = eventually(SOON, || async {
        let ready = Answer::to(http.get(&url)).await.map_err(|error| error.to_string())?;
        let reason = &ready.json()["dependencies"][dependency]["reason"];
        if reason.is_string() { Ok(ready) } else { Err(ready.body) }
    })
    .await;
    assert_eq!((ready.status, ready.header("retry-after")), (503, Some("5")), "{AWAY}: {ready:?}");
    let live = Answer::to(http.get(world.url("order", "/health/live"))).await.unwrap();
    assert_eq!(live.status, 200, "it lives all the same: {live:?}");
    ready
}

#[tokio::test]
async fn more_at_once_than_it_answers() {
    let world = world(Vhost::new().await, None).await;
    let lock = locked(&world).await;
    let list = || Answer::to(world.http.get(world.url("order", "/orders")));
    let all = join_all((0..ANSWERED_AT_ONCE + 100).map(|_| list())).await;
    let all: Vec<Answer> = all.into_iter().map(Result::unwrap).collect();
    let (busy, others): (Vec<_>, Vec<_>) = all.iter().partition(|answer| answer.status == 429);
    assert!(!busy.is_empty(), "{BUSY}");
    busy.iter().for_each(|one| assert_refused(BUSY, one, 429, "too_many_requests", "1"));
    // These waited for the table, or for a connection to the database.
    others.iter().for_each(|one| assert_away(one));
    lock.rollback().await.unwrap();
    assert_eq!(list().await.unwrap().status, 200, "there is room again");
}

#[tokio::test]
async fn a_database_that_is_killed_and_comes_back() {
    let mut postgres = PrivatePostgres::start().await;
    let world = world(Vhost::new().await, Some(&postgres)).await;
    let order = world.place(0, "LAMP", 1, "pm_ok").await;
    postgres.kill();
    let url = |path: &str| world.url("order", path);
    let body = basket(Uuid::nil(), "LAMP", 1, "pm_ok");
    let mut requests = vec![
        world.placing(0, "while-it-is-away", &body),
        world.http.post(url(&format!("/orders/{order}/cancel"))),
    ];
    for path in ["/orders", "/orders/events", "/products", "/products/LAMP"] {
        requests.push(world.http.get(url(path)));
    }
    for path in [format!("/orders/{order}"), format!("/orders/{order}/events")] {
        requests.push(world.http.get(url(&path)));
    }
    for answer in join_all(requests.into_iter().map(Answer::to)).await {
        assert_away(&answer.unwrap());
    }
    not_ready(&world.http, &world, "postgres").await;

    postgres.restart().await;
    world.ready().await;
    let placed = world.ask(|| world.placing(0, "while-it-is-away", &body)).await;
    assert_eq!((placed.status, placed.header("idempotency-replayed")), (202, None), "{placed:?}");
}

#[tokio::test]
async fn a_private_broker_that_is_killed_and_an_outbox_that_fills() {
    let mut broker = Broker::private().await;
    let world = world(broker.vhost().await, None).await;
    broker.kill();
    not_ready(&world.http, &world, "rabbitmq").await;
    let body = basket(Uuid::nil(), "LAMP", 1, "pm_ok");
    let placed = Answer::to(world.placing(0, "without-a-broker", &body)).await.unwrap();
    assert_eq!(placed.status, 202, "{ACCEPTED}: {placed:?}");

    world.run("order", &[("OUTBOX_CAP", "1")]);
    let full = eventually(SOON, || Answer::to(world.placing(1, "with-a-full-outbox", &body))).await;
    assert_away(&full);
    // What was refused may still be on its way back: then it is said to be in progress.
    let placed = world.ask(|| world.placing(0, "with-a-full-outbox", &body)).await;
    assert_eq!(placed.status, 202, "{ACCEPTED}: {placed:?}");
}

#[tokio::test]
async fn a_process_that_is_told_to_stop() {
    let world = world(Vhost::new().await, None).await;
    let mut stream = Stream::open(&world, 0, "/orders/events", None).await;
    let mut lock = locked(&world).await;
    let body = basket(Uuid::nil(), "LAMP", 1, "pm_ok");
    let in_flight = tokio::spawn(Answer::to(world.placing(0, "asked-before-the-stop", &body)));
    somebody_waits(&mut lock).await;
    world.terminate("order");

    // Each request on a connection of its own, as those of new clients.
    let http = Client::builder().pool_max_idle_per_host(0).build().unwrap();
    let ready = not_ready(&http, &world, "process").await;
    assert!(ready.body.contains("shutting down"), "{AWAY}: {ready:?}");
    let placing = http.post(world.url("order", "/orders")).json(&body);
    for request in [
        placing.header("idempotency-key", "asked-after-the-stop"),
        http.get(world.url("order", "/products")),
        http.get(world.url("order", "/orders/events")),
    ] {
        assert_away(&Answer::to(request).await.unwrap());
    }
    assert_eq!(stream.next().await, None, "streams end");

    lock.rollback().await.unwrap();
    let answered = in_flight.await.unwrap().unwrap();
    assert_eq!(answered.status, 202, "what was begun is finished: {answered:?}");
    assert_eq!(world.ended_by_itself("order").await.code(), Some(0));
    let keys = "select scope || ' ' || key from messaging.answer";
    let keys: Vec<String> = sqlx::query_scalar(keys).fetch_all(&world.pg("order")).await.unwrap();
    assert_eq!(
        BTreeSet::from_iter(keys),
        BTreeSet::from(["POST /orders asked-before-the-stop".to_owned()])
    );
}
