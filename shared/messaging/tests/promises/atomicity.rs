//! P1 and P2: what is stored and what is told commit together, and the acknowledgement comes after.

use std::collections::BTreeMap;

use envelope::Envelope;
use testkit::eventually;

use crate::house::{Entry, House, Lit, Mood, SOON, Switch};

#[tokio::test]
async fn an_event_that_one_service_commits_takes_effect_in_another() {
    let house = House::new().await;
    let lamp = house.lamp().await;
    lamp.provision().await;
    let (ledger, _ledger_runs) = house.running_ledger(&Switch::new()).await;
    let _lamp_runs = lamp.run();

    lamp.tell(&Lit::new("hall", 1), 1).await;

    let expected = vec![Entry { lamp: "hall".into(), n: 1 }];
    eventually(SOON, || async {
        let seen = ledger.entries().await;
        if seen == expected { Ok(()) } else { Err(format!("{seen:?}, {:?}", lamp.pending().await)) }
    })
    .await;
    eventually(SOON, || async { lamp.kit.vitals().check() }).await;
    eventually(SOON, || async { ledger.kit.vitals().check() }).await;
}

#[tokio::test]
async fn a_transaction_that_is_dropped_or_fails_publishes_nothing() {
    let house = House::new().await;
    let lamp = house.lamp().await;
    lamp.provision().await;
    let wire = house.wire().await;
    wire.queue("probe", &["#"]).await;
    let _lamp_runs = lamp.run();

    let mut dropped = lamp.begin().await;
    dropped.publish(&Lit::new("dropped", 1), 1).unwrap();
    drop(dropped);
    let mut failed = lamp.begin().await;
    failed.publish(&Lit::new("failed", 1), 1).unwrap();
    sqlx::query("select 1 / 0").execute(failed.conn()).await.unwrap_err();
    failed.commit().await.unwrap_err();
    // Not even its own rows: the second has the version of the first.
    let mut twice = lamp.begin().await;
    twice.publish(&Lit::new("twice", 1), 1).unwrap();
    twice.publish(&Lit::new("twice", 2), 1).unwrap();
    twice.commit().await.unwrap_err();
    lamp.tell(&Lit::new("committed", 1), 1).await;

    let told = wire.take("probe", 1).await;
    assert_eq!(told[0].version(), ("lamp/committed".into(), 1));
    assert_eq!(lamp.count("messaging.outbox").await, 1);
    assert!(wire.drain("probe").await.is_empty());
}

#[tokio::test]
async fn events_that_were_flushed_leave_at_the_commit_in_order_or_never() {
    let house = House::new().await;
    let lamp = house.lamp().await;
    lamp.provision().await;
    let wire = house.wire().await;
    wire.queue("probe", &["#"]).await;
    let _lamp_runs = lamp.run();

    let mut dropped = lamp.begin().await;
    dropped.publish(&Lit::new("dropped", 1), 1).unwrap();
    dropped.flush().await.unwrap();
    drop(dropped);
    let mut tx = lamp.begin().await;
    tx.flush().await.unwrap();
    for version in [1, 2] {
        tx.publish(&Lit::new("hall", version), version).unwrap();
        tx.flush().await.unwrap();
    }
    tx.keep_alive().await.unwrap();
    // Nothing is published behind the last flush: the relay is woken all the same.
    tx.commit().await.unwrap();

    let told = wire.take("probe", 2).await;
    let told: Vec<_> = told.iter().map(|message| message.version()).collect();
    assert_eq!(told, [("lamp/hall".into(), 1), ("lamp/hall".into(), 2)]);
    assert_eq!(lamp.count("messaging.outbox").await, 2);
    assert!(wire.drain("probe").await.is_empty());
}

#[tokio::test]
async fn effects_outgoing_events_and_the_inbox_row_commit_together_or_not_at_all() {
    let house = House::new().await;
    let lamp = house.lamp().await;
    lamp.provision().await;
    let (ledger, _ledger_runs) = house.running_ledger(&Switch::answering()).await;
    let _lamp_runs = lamp.run();

    lamp.tell(&Lit::with("bad", Mood::Permanent), 1).await;
    eventually(SOON, || async { ledger.dead_letters().await.len() == 1 }).await;
    let written = "messaging.inbox i full join messaging.outbox o on true full join entry on true";
    assert_eq!(ledger.count(written).await, 0, "the failed handler left something");

    let cause = lamp.tell(&Lit::new("good", 1), 1).await;
    eventually(SOON, || async { ledger.count("messaging.outbox").await == 1 }).await;
    assert_eq!(ledger.effects().await, BTreeMap::from([("good".into(), 1)]));
    assert_eq!(ledger.count("messaging.inbox").await, 1);
    let body: Vec<u8> = sqlx::query_scalar("select body from messaging.outbox")
        .fetch_one(&ledger.pg)
        .await
        .unwrap();
    let answer = Envelope::decode(&body).unwrap();
    assert_eq!(answer.causationid, Some(cause));
    assert_eq!(answer.event_type, "house.ledger.booked.v1");
}

#[tokio::test]
async fn a_crash_before_the_commit_leaves_nothing_and_the_message_comes_again() {
    let house = House::new().await;
    let lamp = house.lamp().await;
    lamp.provision().await;
    let switch = Switch::new();
    let gate = switch.gate();
    let (ledger, ledger_runs) = house.running_ledger(&switch).await;
    let _lamp_runs = lamp.run();
    lamp.tell(&Lit::new("hall", 1), 1).await;

    eventually(SOON, || async { switch.begun("hall") == 1 }).await;
    ledger_runs.crash().await;
    assert_eq!(ledger.count("entry").await, 0);
    assert_eq!(ledger.count("messaging.inbox").await, 0);

    gate.add_permits(1);
    let _again = ledger.run();
    eventually(SOON, || async { ledger.count("entry").await == 1 }).await;
    assert_eq!(switch.begun("hall"), 2);
    assert_eq!(ledger.count("messaging.inbox").await, 1);
}

#[tokio::test]
async fn a_crash_between_commit_and_acknowledgement_has_one_effect() {
    let house = House::new().await;
    let lamp = house.lamp().await;
    lamp.provision().await;
    let switch = Switch::answering();
    let ledger = house.ledger(&switch).await;
    ledger.provision().await;
    ledger.faults.hang_settling(true);
    let ledger_runs = ledger.run();
    let _lamp_runs = lamp.run();
    lamp.tell(&Lit::new("hall", 1), 1).await;

    eventually(SOON, || async { ledger.faults.hanging() == 1 }).await;
    assert_eq!(ledger.count("entry").await, 1, "the commit comes before the acknowledgement");
    ledger_runs.crash().await;
    eventually(SOON, || async { house.vhost.depth("ledger.in").await == Some(1) }).await;

    ledger.faults.hang_settling(false);
    let again = ledger.run();
    lamp.tell(&Lit::new("after", 1), 1).await;
    eventually(SOON, || async { ledger.count("entry where lamp = 'after'").await == 1 }).await;
    again.stop().await;
    assert_eq!(house.vhost.depth("ledger.in").await, Some(0), "the repeated one was settled");
    assert_eq!(switch.begun("hall"), 1, "the inbox knew it");
    assert_eq!(ledger.count("entry").await, 2);
    assert_eq!(ledger.count("messaging.outbox where subject = 'entry/hall/1'").await, 1);
}

#[tokio::test]
async fn what_was_committed_while_the_tasks_stop_still_leaves() {
    let house = House::new().await;
    let lamp = house.lamp().await;
    lamp.provision().await;
    let wire = house.wire().await;
    wire.queue("probe", &["#"]).await;
    let lamp_runs = lamp.run();
    lamp.tell(&Lit::new("first", 1), 1).await;
    wire.take("probe", 1).await;

    lamp.tell(&Lit::new("last", 1), 1).await;
    lamp_runs.stop().await;

    assert_eq!(wire.take("probe", 1).await[0].version(), ("lamp/last".into(), 1));
    assert!(lamp.pending().await.is_empty());
    let held = "messaging.partition_lease where owner is not null";
    assert_eq!(lamp.count(held).await, 0, "the leases are handed back");
}

#[tokio::test]
async fn an_event_that_is_too_large_is_refused_where_it_is_written_and_the_rest_still_commits() {
    let house = House::new().await;
    let lamp = house.lamp().await;
    let mut tx = lamp.begin().await;
    tx.publish(&Lit::new("x".repeat(envelope::MAX_BODY), 1), 1).unwrap_err();
    tx.publish(&Lit::new("hall", 1), 1).unwrap();
    tx.commit().await.unwrap();
    assert_eq!(lamp.pending().await.len(), 1);
}
