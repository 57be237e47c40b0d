//! What stands in one transaction: it commits whole or not at all, and nobody pays for a neighbour.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::future::join_all;
use messaging::{ConsumerSettings, Handlers};
use testkit::eventually;

use crate::house::{
    BookAll, CountUp, House, Lit, LockLamps, Mood, Raw, SOON, Service, Switch, counted,
};

#[tokio::test]
async fn a_commit_that_the_database_answers_with_a_rollback_is_an_error() {
    let house = House::new().await;
    let lamp = house.lamp().await;
    let mut tx = lamp.begin().await;
    let sql = "insert into entry (lamp, n, event_id) values ('lost', 1, gen_random_uuid())";
    sqlx::query(sql).execute(tx.conn()).await.unwrap();
    sqlx::query("select 1 / 0").execute(tx.conn()).await.unwrap_err();
    tx.commit().await.unwrap_err();
    assert_eq!(lamp.count("entry").await, 0);
}

#[tokio::test]
async fn a_handler_that_overlooks_an_error_of_the_database_takes_nobody_along() {
    let house = House::new().await;
    let ledger = house.ledger(&Switch::new()).await;
    ledger.provision().await;
    let spy = house.spy_on_retries().await;
    let wire = house.wire().await;
    for n in 0..5 {
        wire.publish("events", "lamp.lit.v1", &Raw::of(&Lit::new(format!("good-{n}"), 1), 1)).await;
    }
    let careless = Raw::of(&Lit::with("careless", Mood::Careless), 1);
    wire.publish("events", "lamp.lit.v1", &careless).await;
    let _runs = ledger.run();

    eventually(SOON, || async { ledger.count("entry").await == 5 }).await;
    // Neither handled nor lost.
    assert_eq!(spy.take("spy", 1).await[0].id(), careless.id());
    assert_eq!(ledger.count("messaging.inbox").await, 5);
}

#[tokio::test]
async fn a_statement_that_outlasts_its_handler_holds_up_nobody() {
    let house = House::new().await;
    let settings =
        ConsumerSettings { deadline: Duration::from_secs(1), ..ConsumerSettings::default() };
    let ledger = house.ledger(&Switch::new()).await.with(|kit| kit.consume_with(settings));
    ledger.provision().await;
    let spy = house.spy_on_retries().await;
    let wire = house.wire().await;
    let guilty = Raw::of(&Lit::with("guilty", Mood::LongQuery), 1);
    wire.publish("events", "lamp.lit.v1", &guilty).await;
    for n in 0..20 {
        wire.publish("events", "lamp.lit.v1", &Raw::of(&Lit::new(format!("good-{n}"), 1), 1)).await;
    }
    let _runs = ledger.run();

    eventually(SOON, || async { ledger.count("entry").await == 20 }).await;
    let retried: Vec<String> = spy.take("spy", 1).await.iter().map(Raw::id).collect();
    assert_eq!(retried, [guilty.id()]);
    assert!(spy.drain("spy").await.iter().all(|raw| raw.id() == guilty.id()));
}

/// Each message is about two lamps, half of them in one order and half in the other. One after the
/// other in one transaction they would lock the lamps in any order.
#[tokio::test]
async fn replicas_whose_chunks_lock_the_same_rows_never_wait_for_each_other_in_a_circle() {
    let house = House::new().await;
    let seen = Arc::new(AtomicUsize::new(0));
    let handlers = || Handlers::new().on(CountUp).on_chunk(LockLamps(seen.clone()));
    let database = testkit::Database::new("messaging").await;
    let one = Service::with_database(&house, "ledger", handlers(), database).await;
    sqlx::query("create table lamp (name text primary key, n int not null default 0)")
        .execute(&one.pg)
        .await
        .unwrap();
    sqlx::query("insert into lamp select 'l' || n from generate_series(0, 3) n")
        .execute(&one.pg)
        .await
        .unwrap();
    one.provision().await;
    let wire = house.wire().await;
    let messages: Vec<Raw> = (0..400)
        .map(|n| {
            let (a, b) = (n % 4, (n / 4) % 4);
            Raw::of(&Lit::new(format!("l{a}+l{b}"), n + 1), n + 1)
        })
        .collect();
    join_all(messages.iter().map(|raw| wire.publish("events", "lamp.lit.v1", raw))).await;
    let other = one.replica(&house, handlers());
    let apart = counted("chunks_taken_apart_total{}");

    let _runs = (one.run(), other.run());
    eventually(SOON, || async { one.count("messaging.inbox").await == 400 }).await;
    let total: i64 =
        sqlx::query_scalar("select sum(n) from lamp").fetch_one(&one.pg).await.unwrap();
    assert_eq!(total, 800);
    assert_eq!(counted("chunks_taken_apart_total{}"), apart);
    assert!(seen.load(Ordering::SeqCst) > 1, "no chunk was larger than one");
}

#[tokio::test]
async fn what_is_handled_together_is_answered_one_by_one_and_fails_alone() {
    let house = House::new().await;
    let seen = Arc::new(AtomicUsize::new(0));
    let handlers = Handlers::new().on_many(BookAll(seen.clone()));
    let ledger = Service::new(&house, "ledger", handlers).await;
    ledger.provision().await;
    let wire = house.wire().await;
    let mut good = HashMap::new();
    for n in 0..20 {
        let (lamp, mood) = match n {
            7 => ("guilty".to_owned(), Mood::Permanent),
            13 => ("frail".to_owned(), Mood::Panic),
            _ => (format!("good-{n}"), Mood::Good),
        };
        let raw = Raw::of(&Lit::with(&*lamp, mood), 1);
        wire.publish("events", "lamp.lit.v1", &raw).await;
        if mood == Mood::Good {
            good.insert(format!("entry/{lamp}/1"), raw.id());
        }
    }
    let spy = house.spy_on_retries().await;
    let _runs = ledger.run();

    eventually(SOON, || async { ledger.count("entry").await == 18 }).await;
    assert!(seen.load(Ordering::SeqCst) > 1, "no two came together");
    eventually(SOON, || async { ledger.dead_letters().await.len() == 1 }).await;
    assert_eq!(ledger.dead_letters().await[0].reason_code, "rejected");
    assert_eq!(spy.take("spy", 1).await.len(), 1);
    let bodies: Vec<Vec<u8>> = sqlx::query_scalar("select body from messaging.outbox")
        .fetch_all(&ledger.pg)
        .await
        .unwrap();
    let causes: HashMap<String, String> = bodies
        .iter()
        .map(|body| {
            let event: serde_json::Value = serde_json::from_slice(body).unwrap();
            let text = |name: &str| event[name].as_str().unwrap().to_owned();
            (text("subject"), text("causationid"))
        })
        .collect();
    assert_eq!(causes, good);
}

/// What ends the process is delivered again with all that were delivered with it.
#[tokio::test]
async fn a_message_that_ends_the_process_again_and_again_takes_no_innocent_one_along() {
    let house = House::new().await;
    let switch = Switch::new();
    let ledger = house.ledger(&switch).await;
    ledger.provision().await;
    let wire = house.wire().await;
    wire.publish("events", "lamp.lit.v1", &Raw::of(&Lit::with("deadly", Mood::Hang), 1)).await;
    for n in 0..12 {
        wire.publish("events", "lamp.lit.v1", &Raw::of(&Lit::new(format!("good-{n}"), 1), 1)).await;
    }
    // The broker gives up on what failed 20 times.
    for _ in 0..18 {
        let begun = switch.begun("deadly");
        let runs = ledger.run();
        eventually(SOON, || async { switch.begun("deadly") > begun }).await;
        runs.crash().await;
        if ledger.count("entry").await == 12 {
            break;
        }
    }
    assert_eq!(ledger.count("entry").await, 12);
    assert_eq!(house.vhost.depth("ledger.dlq").await, Some(0));
}
