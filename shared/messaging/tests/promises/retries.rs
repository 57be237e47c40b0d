//! The retry ladder: what may pass later comes again, later, to the same queue only.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use messaging::Handlers;
use messaging::retry::LADDER;
use testkit::eventually;

use crate::house::{Book, House, Lit, Mood, Raw, SOON, Switch, header, one_by_one};

#[tokio::test]
async fn a_transient_failure_comes_back_after_the_first_rung_and_to_its_own_queue_only() {
    let house = House::new().await;
    let switch = Switch::new();
    let (ledger, runs) = house.running_ledger(&switch).await;
    let wire = house.wire().await;
    wire.queue("probe", &["#"]).await;
    let spy = house.spy_on_retries().await;
    let sent = Instant::now();
    wire.publish("events", "lamp.lit.v1", &Raw::of(&Lit::with("hall", Mood::Transient), 1)).await;

    spy.take("spy", 1).await;
    switch.heal();
    eventually(SOON, || async { ledger.count("entry").await == 1 }).await;
    assert!(sent.elapsed() >= Duration::from_secs(1), "{:?}", sent.elapsed());
    assert!(switch.begun("hall") >= 2);
    house.finish(&ledger, vec![runs]).await;
    assert_eq!(wire.drain("probe").await.len(), 2, "the event and the test's last message");
}

#[tokio::test]
async fn a_message_climbs_every_rung_with_its_attempts_counted_and_is_parked_after_the_last() {
    let house = House::new().await;
    let (ledger, _runs) = house.running_ledger(&Switch::new()).await;
    let wire = house.wire().await;
    let sent = Raw::of(&Lit::with("hall", Mood::Transient), 1);
    for rung in LADDER {
        wire.divert(&format!("ledger.retry.{}", rung.name), rung.name).await;
    }
    wire.publish("events", "lamp.lit.v1", &sent).await;
    let mut first_failed = None;
    for (rung, attempt) in LADDER.iter().zip(1..) {
        let resting = wire.take(rung.name, 1).await.remove(0);
        assert_eq!(resting.body, sent.body);
        assert_eq!(resting.header(&header("attempt")), Some(format!("{attempt}")));
        assert_eq!(resting.header(&header("code")).as_deref(), Some("retries_exhausted"));
        assert_eq!(resting.header(&header("reason")).as_deref(), Some("not now"));
        assert_eq!(resting.header(&header("origin-queue")).as_deref(), Some("ledger.in"));
        assert_eq!(resting.header(&header("sig")), sent.header(&header("sig")));
        let since = resting.header(&header("first-failed"));
        assert!(since.is_some());
        assert_eq!(*first_failed.get_or_insert(since.clone()), since);
        // What the broker does when the time is over.
        wire.publish("requeue", "ledger.in", &resting).await;
    }
    eventually(SOON, || async { ledger.dead_letters().await.len() == 1 }).await;
    let letter = ledger.dead_letters().await.remove(0);
    assert_eq!((letter.reason_code.as_str(), letter.attempts), ("retries_exhausted", 6));
    assert_eq!(letter.body, sent.body);
    let since =
        letter.first_failed_at.unwrap().to_rfc3339_opts(chrono::SecondsFormat::Micros, true);
    assert_eq!(first_failed.unwrap(), Some(since));
}

#[tokio::test]
async fn the_broker_itself_brings_a_message_back_from_two_rungs() {
    let house = House::new().await;
    let switch = Switch::new();
    let (ledger, _runs) = house.running_ledger(&switch).await;
    let wire = house.wire().await;
    wire.publish("events", "lamp.lit.v1", &Raw::of(&Lit::with("hall", Mood::Stranger), 1)).await;
    eventually(SOON, || async { switch.begun("hall") >= 3 }).await;
    let resting = wire.take("ledger.retry.30s", 1).await.remove(0);
    assert_eq!(resting.header(&header("attempt")).as_deref(), Some("3"));
    assert_eq!(resting.header(&header("code")).as_deref(), Some("unknown_aggregate"));
    assert_eq!(resting.header("x-death"), None, "the broker's notes are not carried along");
    assert_eq!(ledger.count("entry").await, 0);
}

#[tokio::test]
async fn a_retry_whose_queue_is_missing_is_reported_holds_up_nobody_and_is_made_when_it_is_back() {
    let house = House::new().await;
    let switch = Switch::new();
    let (ledger, runs) = house.running_ledger(&switch).await;
    house.vhost.delete_queue("ledger.retry.1s").await;
    let wire = house.wire().await;
    wire.publish("events", "lamp.lit.v1", &Raw::of(&Lit::with("hall", Mood::Transient), 1)).await;
    eventually(SOON, || async {
        let ill = ledger.kit.vitals().check().err().unwrap_or_default();
        if ill.contains("queue of ledger.in is missing") { Ok(()) } else { Err(ill) }
    })
    .await;
    // More than a chunk, one after the other: it is neither in their way nor tried each time.
    for n in 0..80 {
        let event = Lit::new(format!("good-{n}"), 1);
        wire.publish("events", "lamp.lit.v1", &Raw::of(&event, 1)).await;
    }
    eventually(SOON, || async { ledger.count("entry").await == 80 }).await;
    assert!(ledger.kit.vitals().check().is_err(), "it is still reported");
    assert_eq!(switch.begun("hall"), 1, "its handler is not run in vain");

    switch.heal();
    ledger.provision().await;
    eventually(SOON, || async { ledger.count("entry where lamp = 'hall'").await == 1 }).await;
    eventually(SOON, || async { ledger.kit.vitals().check() }).await;
    house.finish(&ledger, vec![runs]).await;
    assert_eq!(ledger.count("entry").await, 81);
    assert!(ledger.dead_letters().await.is_empty(), "nobody was given up");
}

/// Lets so many replicas fail the same messages, rung by rung, until these are given up.
async fn attempts_are_counted_over(replicas: usize) {
    const MESSAGES: usize = 36;
    let house = House::new().await;
    let switches: Vec<Switch> = (0..replicas).map(|_| Switch::new()).collect();
    let first = house.ledger(&switches[0]).await.with(|kit| kit.consume_with(one_by_one()));
    first.provision().await;
    let wire = house.wire().await;
    for rung in LADDER {
        wire.divert(&format!("ledger.retry.{}", rung.name), rung.name).await;
    }
    let others: Vec<_> = switches[1..]
        .iter()
        .map(|switch| first.replica(&house, Handlers::new().on(Book(switch.clone()))))
        .map(|one| one.with(|kit| kit.consume_with(one_by_one())))
        .collect();
    let mut runs = vec![first.run_only(&["consumer", "parker"])];
    runs.extend(others.iter().map(|one| one.run_only(&["consumer"])));
    eventually(SOON, || async {
        house.vhost.queue("ledger.in").await.unwrap().consumers == replicas as u64
    })
    .await;

    let sent = (0..MESSAGES).map(|n| Lit::with(format!("lamp-{n}"), Mood::Transient));
    let mut due: Vec<Raw> = sent.map(|event| Raw::of(&event, 1)).collect();
    for (rung, attempt) in LADDER.iter().zip(1_u32..) {
        join_all(due.iter().map(|raw| wire.publish("requeue", "ledger.in", raw))).await;
        due = wire.take(rung.name, MESSAGES).await;
        for raw in &due {
            assert_eq!(raw.header(&header("attempt")), Some(attempt.to_string()));
        }
    }
    join_all(due.iter().map(|raw| wire.publish("requeue", "ledger.in", raw))).await;
    eventually(SOON, || async { first.dead_letters().await.len() == MESSAGES }).await;
    assert!(first.dead_letters().await.iter().all(|letter| letter.attempts == 6));
    for n in 0..MESSAGES {
        let lamp = format!("lamp-{n}");
        let begun: u32 = switches.iter().map(|switch| switch.begun(&lamp)).sum();
        assert_eq!(begun, 6, "{lamp}");
    }
    let took_part =
        |switch: &&Switch| (0..MESSAGES).any(|n| switch.begun(&format!("lamp-{n}")) > 0);
    let took_part = switches.iter().filter(took_part).count();
    assert_eq!(took_part, replicas, "some had nothing to do");
    for rung in LADDER {
        assert!(wire.drain(rung.name).await.is_empty(), "one more on {}", rung.name);
    }
}

#[tokio::test]
async fn attempts_are_counted_exactly_by_one_process() {
    attempts_are_counted_over(1).await;
}

#[tokio::test]
async fn attempts_are_counted_exactly_over_three_replicas() {
    attempts_are_counted_over(3).await;
}

#[tokio::test]
async fn attempts_are_counted_exactly_over_twelve_replicas() {
    attempts_are_counted_over(12).await;
}
