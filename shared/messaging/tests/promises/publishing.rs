//! P4: published is what the broker confirmed, each message by itself.

use std::collections::BTreeSet;

use serde_json::json;
use testkit::eventually;

use crate::house::{Dimmed, House, Lit, SOON, Switch, eventually_pending};

#[tokio::test]
async fn one_unroutable_event_in_a_batch_of_two_hundred_stays_alone_and_leaves_when_it_is_bound() {
    let house = House::new().await;
    let lamp = house.lamp().await;
    lamp.provision().await;
    let wire = house.wire().await;
    wire.queue("probe", &["lamp.lit.v1"]).await;
    let mut tx = lamp.begin().await;
    for n in 0..200 {
        let name = format!("lamp-{n}");
        if n == 100 {
            tx.publish(&Dimmed { lamp: name, n: 1 }, 1).unwrap();
        } else {
            tx.publish(&Lit::new(name, 1), 1).unwrap();
        }
    }
    tx.commit().await.unwrap();

    let _runs = lamp.run();
    eventually_pending(&lamp, &[("lamp/lamp-100", 1)]).await;
    assert_eq!(lamp.faults.largest_batch(), 200, "they were in flight together");
    let why = eventually(SOON, || async { lamp.pending().await.remove(0).3 }).await;
    assert_eq!(why, "no queue is bound for this type");
    let told: BTreeSet<_> = wire.take("probe", 199).await.iter().map(|raw| raw.version()).collect();
    assert_eq!(told.len(), 199);
    assert!(wire.drain("probe").await.is_empty());

    let pause: f64 = sqlx::query_scalar(
        "select extract(epoch from max(not_before) - clock_timestamp())::float8
        from messaging.outbox where published_at is null",
    )
    .fetch_one(&lamp.pg)
    .await
    .unwrap();
    assert!(pause < 6.0, "it waits for {pause} s before it is tried again");
    wire.bind("probe", "lamp.dimmed.v1").await;
    assert_eq!(wire.take("probe", 1).await[0].version(), ("lamp/lamp-100".into(), 1));
    eventually_pending(&lamp, &[]).await;
}

#[tokio::test]
async fn every_unroutable_event_of_a_mixed_batch_is_told_from_the_routable_ones() {
    let house = House::new().await;
    let lamp = house.lamp().await;
    lamp.provision().await;
    let wire = house.wire().await;
    wire.queue("probe", &["lamp.lit.v1"]).await;
    let _runs = lamp.run();
    let mut unroutable = Vec::new();
    for round in 0..5 {
        let mut tx = lamp.begin().await;
        for n in 0..100 {
            let name = format!("lamp-{round}-{n}");
            if n % 5 == 0 {
                tx.publish(&Dimmed { lamp: name.clone(), n: 1 }, 1).unwrap();
                unroutable.push((format!("lamp/{name}"), 1));
            } else {
                tx.publish(&Lit::new(name, 1), 1).unwrap();
            }
        }
        tx.commit().await.unwrap();
    }
    let expected: Vec<(&str, i32)> = unroutable.iter().map(|(s, n)| (s.as_str(), *n)).collect();
    eventually_pending(&lamp, &expected).await;
    assert_eq!(wire.take("probe", 400).await.len(), 400);
    assert!(wire.drain("probe").await.is_empty());
}

#[tokio::test]
async fn an_event_that_a_full_queue_refuses_stays_with_its_reason_and_leaves_when_there_is_room() {
    let house = House::new().await;
    let lamp = house.lamp().await;
    let ledger = house.ledger(&Switch::new()).await;
    lamp.provision().await;
    ledger.provision().await;
    let full = json!({ "max-length": 3, "overflow": "reject-publish" });
    house.vhost.set_policy("full", "^ledger\\.in$", &full).await;
    eventually(SOON, || async { has_policy(&house, "ledger.in", "full").await }).await;
    let lamp_runs = lamp.run();
    // One after the other, until some are refused: a queue counts what it has stored, not what is on
    // its way to it, and says so a moment later.
    let mut told = 0;
    let pending = loop {
        lamp.tell(&Lit::new(format!("lamp-{told}"), 1), 1).await;
        told += 1;
        let pending = eventually(SOON, || async {
            let pending = lamp.pending().await;
            let tried = pending.iter().all(|(_, _, attempts, _)| *attempts > 0);
            if tried { Ok(pending) } else { Err(format!("{pending:?}")) }
        })
        .await;
        if pending.len() == 5 {
            break pending;
        }
        assert!(told < 100, "the queue is never full: {pending:?}");
    };
    for (_, _, _, why) in &pending {
        assert_eq!(why.as_deref(), Some("the broker refused it: a queue is full"));
    }
    let stored = house.vhost.depth("ledger.in").await;
    assert_eq!(stored, Some(told - 5));
    assert!(told - 5 >= 3, "refused before it was full");

    let ledger_runs = ledger.run();
    eventually_pending(&lamp, &[]).await;
    eventually(SOON, || async { ledger.count("entry").await >= i64::from(told) }).await;
    lamp_runs.stop().await;
    house.finish(&ledger, vec![ledger_runs]).await;
    let effects = ledger.effects().await;
    assert_eq!(effects.len(), told as usize);
    assert!(effects.values().all(|times| *times == 1), "{effects:?}");
}

async fn has_policy(house: &House, queue: &str, policy: &str) -> bool {
    let path = ["queues", house.vhost.name(), queue];
    let management = house.vhost.management();
    let answer = management.call(reqwest::Method::GET, &path, None).await.unwrap().unwrap();
    answer["policy"] == policy
}

#[tokio::test]
async fn an_event_that_a_full_queue_refuses_leaves_when_the_limit_is_lifted() {
    let house = House::new().await;
    let lamp = house.lamp().await;
    let wire = house.wire().await;
    lamp.provision().await;
    wire.queue("probe", &["lamp.lit.v1"]).await;
    let full = json!({ "max-length": 1, "overflow": "reject-publish" });
    house.vhost.set_policy("full", "^probe$", &full).await;
    eventually(SOON, || async { has_policy(&house, "probe", "full").await }).await;
    let runs = lamp.run();
    // Until one is refused, and again.
    eventually(SOON, || async {
        let name = format!("lamp-{}", lamp.count("messaging.outbox").await);
        lamp.tell(&Lit::new(name, 1), 1).await;
        lamp.pending().await.iter().any(|(_, _, attempts, _)| *attempts > 1)
    })
    .await;
    // Nobody has taken anything from the queue.
    house.vhost.clear_policy("full").await;
    eventually_pending(&lamp, &[]).await;
    runs.stop().await;
    let stored = house.vhost.depth("probe").await.unwrap();
    assert_eq!(i64::from(stored), lamp.count("messaging.outbox").await);
}

#[tokio::test]
async fn an_exchange_that_is_missing_is_reported_and_nothing_counts_as_published() {
    let house = House::new().await;
    let lamp = house.lamp().await;
    let _runs = lamp.run();
    lamp.tell(&Lit::new("hall", 1), 1).await;
    eventually(SOON, || async {
        let ill = lamp.kit.vitals().check().err().unwrap_or_default();
        if ill.contains("events") { Ok(()) } else { Err(ill) }
    })
    .await;
    // And it stays reported, however often the relay connects again.
    for _ in 0..100 {
        assert!(lamp.kit.vitals().check().is_err());
        tokio::task::yield_now().await;
    }
    assert_eq!(lamp.pending().await[0].2, 0, "no attempt was spent");

    lamp.provision().await;
    let wire = house.wire().await;
    wire.queue("probe", &["#"]).await;
    assert_eq!(wire.take("probe", 1).await[0].version(), ("lamp/hall".into(), 1));
    eventually(SOON, || async { lamp.kit.vitals().check() }).await;
    eventually_pending(&lamp, &[]).await;
}

#[tokio::test]
async fn no_transaction_is_open_while_the_relay_waits_for_the_broker() {
    let house = House::new().await;
    let lamp = house.lamp().await;
    lamp.provision().await;
    lamp.faults.hang_publishing(true);
    let _runs = lamp.run();
    lamp.tell(&Lit::new("hall", 1), 1).await;
    eventually(SOON, || async { lamp.faults.hanging() == 1 }).await;
    eventually(SOON, || async { lamp.open_transactions().await.is_empty() }).await;
    // The row is free for anyone: the relay has locked nothing.
    let sql = "select event_id from messaging.outbox for update nowait";
    sqlx::query(sql).execute(&lamp.database.pool()).await.unwrap();
}
