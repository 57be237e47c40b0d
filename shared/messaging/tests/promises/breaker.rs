//! P8, of what else handlers need: while it is away the consumer pauses, and no message pays for it.

use std::collections::BTreeMap;

use messaging::Handlers;
use testkit::eventually;

use crate::house::{Book, House, Lit, Mood, Raw, SOON, Service, Switch, Wire, gauged};

async fn send(wire: &Wire, mood: Mood, numbers: std::ops::Range<u32>) {
    for n in numbers {
        let event = Lit::with(format!("lamp-{n}"), mood);
        wire.publish("events", "lamp.lit.v1", &Raw::of(&event, 1)).await;
    }
}

fn once_each(lamps: u32) -> BTreeMap<String, usize> {
    (0..lamps).map(|n| (format!("lamp-{n}"), 1)).collect()
}

/// How often each lamp's event was begun.
fn begun(switch: &Switch, lamps: u32) -> Vec<u32> {
    (0..lamps).map(|n| switch.begun(&format!("lamp-{n}"))).collect()
}

/// Waits until the ledger has stopped: one message is with it, and so many lie in its queue.
async fn eventually_paused(house: &House, ledger: &Service, ready: u64) {
    eventually(SOON, || async {
        let queue = house.vhost.queue("ledger.in").await.unwrap();
        let ill = ledger.kit.vitals().check().err().unwrap_or_default();
        let open = gauged("breaker_state{task=consumer}") == Some(1.0);
        let held = (queue.unacked, queue.ready) == (1, ready);
        if open && held && ill.contains("consumer: paused; dependency: no power") {
            Ok(())
        } else {
            Err(format!("open: {open}, {ill}, {queue:?}"))
        }
    })
    .await;
}

async fn eventually_well(ledger: &Service) {
    eventually(SOON, || async { ledger.kit.vitals().check() }).await;
    assert_eq!(gauged("breaker_state{task=consumer}"), Some(0.0));
}

#[tokio::test]
async fn what_a_handler_needs_and_is_away_stops_deliveries_and_spends_no_attempt() {
    let house = House::new().await;
    let switch = Switch::new();
    let (ledger, runs) = house.running_ledger(&switch).await;
    let (wire, spy) = (house.wire().await, house.spy_on_retries().await);
    send(&wire, Mood::Needy, 0..60).await;
    eventually_paused(&house, &ledger, 59).await;

    // It goes on trying, with the one that it kept.
    let before = begun(&switch, 60);
    let total = |all: &[u32]| all.iter().sum::<u32>();
    eventually(SOON, || async { total(&begun(&switch, 60)) >= total(&before) + 3 }).await;
    let now = begun(&switch, 60);
    let tried = before.iter().zip(&now).filter(|(before, now)| before != now).count();
    assert_eq!(tried, 1, "{before:?} {now:?}");
    assert_eq!(ledger.count("entry").await, 0);

    switch.heal();
    eventually_well(&ledger).await;
    house.finish(&ledger, vec![runs]).await;
    assert_eq!(ledger.effects().await, once_each(60));
    assert!(spy.drain("spy").await.is_empty(), "an attempt was spent");
    assert!(ledger.dead_letters().await.is_empty());
}

#[tokio::test]
async fn a_replica_that_is_better_off_gets_all_but_the_one_that_is_tried() {
    let house = House::new().await;
    let switch = Switch::new();
    let (one, runs) = house.running_ledger(&switch).await;
    let (wire, spy) = (house.wire().await, house.spy_on_retries().await);
    send(&wire, Mood::Needy, 0..40).await;
    eventually_paused(&house, &one, 39).await;

    let better_off = Switch::new();
    better_off.heal();
    let other = one.replica(&house, Handlers::new().on(Book(better_off)));
    let other_runs = other.run();
    eventually(SOON, || async { one.count("entry").await == 39 }).await;
    eventually_paused(&house, &one, 0).await;

    switch.heal();
    eventually_well(&one).await;
    house.finish(&one, vec![runs, other_runs]).await;
    assert_eq!(one.effects().await, once_each(40));
    assert!(spy.drain("spy").await.is_empty(), "an attempt was spent");
}

#[tokio::test]
async fn those_before_the_one_that_needs_more_are_handled_and_those_behind_it_wait() {
    let house = House::new().await;
    let switch = Switch::new();
    let ledger = house.ledger(&switch).await;
    ledger.provision().await;
    let (wire, spy) = (house.wire().await, house.spy_on_retries().await);
    send(&wire, Mood::Good, 0..10).await;
    send(&wire, Mood::Needy, 10..11).await;
    send(&wire, Mood::Good, 11..20).await;
    let runs = ledger.run();
    eventually_paused(&house, &ledger, 9).await;
    assert_eq!(ledger.effects().await, once_each(10));

    switch.heal();
    house.finish(&ledger, vec![runs]).await;
    assert_eq!(ledger.effects().await, once_each(20));
    assert!(spy.drain("spy").await.is_empty(), "an attempt was spent");
}

#[tokio::test]
async fn a_connection_that_is_lost_during_a_pause_is_noticed_and_loses_nothing() {
    let house = House::new().await;
    let switch = Switch::new();
    let (ledger, runs) = house.running_ledger(&switch).await;
    let (wire, _spy) = (house.wire().await, house.spy_on_retries().await);
    send(&wire, Mood::Needy, 0..30).await;
    eventually_paused(&house, &ledger, 29).await;

    eventually(SOON, || async { house.vhost.close_all_connections().await > 0 }).await;
    eventually(SOON, || async { gauged("breaker_state{task=consumer}") == Some(0.0) }).await;
    eventually_paused(&house, &ledger, 29).await;

    switch.heal();
    house.finish(&ledger, vec![runs]).await;
    assert_eq!(ledger.effects().await, once_each(30));
    let spy = house.wire().await;
    assert!(spy.drain("spy").await.is_empty(), "an attempt was spent");
}
