//! Handlers that asked for version order: old versions are skipped, gaps wait.

use messaging::Handlers;
use messaging::transport::Transport;
use testkit::eventually;

use crate::house::{Dimmed, Entry, House, Lit, Raw, Relight, Running, SOON, Service, Wire, header};

async fn ordering() -> (House, Service, Running, Wire) {
    let house = House::new().await;
    let handlers = Handlers::new().on_ordered::<Lit>(Relight).on_ordered::<Dimmed>(Relight);
    let ledger = Service::new(&house, "ledger", handlers).await;
    ledger.provision().await;
    let runs = ledger.run();
    let wire = house.wire().await;
    (house, ledger, runs, wire)
}

async fn lit(wire: &Wire, n: u32) {
    wire.publish("events", "lamp.lit.v1", &Raw::of(&Lit::new("hall", n), n)).await;
}

async fn dimmed(wire: &Wire, n: u32) {
    let event = Dimmed { lamp: "hall".into(), n };
    wire.publish("events", "lamp.dimmed.v1", &Raw::of(&event, n)).await;
}

async fn eventually_seen(ledger: &Service, expected: &[i32]) {
    let expected: Vec<Entry> =
        expected.iter().map(|n| Entry { lamp: "hall".into(), n: *n }).collect();
    eventually(SOON, || async {
        let seen = ledger.entries().await;
        if seen == expected { Ok(()) } else { Err(format!("{seen:?}")) }
    })
    .await;
}

#[tokio::test]
async fn versions_are_applied_in_order_over_all_types_of_the_aggregate() {
    let (house, ledger, runs, wire) = ordering().await;
    lit(&wire, 1).await;
    dimmed(&wire, 2).await;
    lit(&wire, 3).await;
    eventually_seen(&ledger, &[1, 2, 3]).await;
    // An old version under a new id has nothing to say any more.
    dimmed(&wire, 2).await;
    lit(&wire, 3).await;
    dimmed(&wire, 4).await;
    eventually_seen(&ledger, &[1, 2, 3, 4]).await;
    house.finish(&ledger, vec![runs]).await;
    assert!(ledger.dead_letters().await.is_empty());
    assert_eq!(ledger.count("messaging.inbox where subject = 'lamp/hall'").await, 6);
}

#[tokio::test]
async fn a_version_that_comes_too_early_waits_on_the_ladder_and_is_applied_after_the_missing_one() {
    let (house, ledger, runs, wire) = ordering().await;
    lit(&wire, 1).await;
    lit(&wire, 3).await;
    eventually_seen(&ledger, &[1]).await;
    dimmed(&wire, 2).await;
    eventually_seen(&ledger, &[1, 2, 3]).await;
    house.finish(&ledger, vec![runs]).await;
    assert!(ledger.dead_letters().await.is_empty());
}

#[tokio::test]
async fn a_gap_that_never_closes_is_parked_as_such() {
    let (_house, ledger, _runs, wire) = ordering().await;
    let mut early = Raw::of(&Lit::new("hall", 7), 7);
    early.set_header(&header("attempt"), Some("5"));
    wire.publish("requeue", "ledger.in", &early).await;
    eventually(SOON, || async { ledger.dead_letters().await.len() == 1 }).await;
    let letter = ledger.dead_letters().await.remove(0);
    assert_eq!((letter.reason_code.as_str(), letter.attempts), ("sequence_gap", 6));
    assert!(letter.reason.contains("version 7 of lamp/hall came after version 0"));
    assert_eq!(ledger.count("entry").await, 0);
}

#[tokio::test]
async fn a_consumer_that_ends_with_many_versions_in_its_hands_costs_them_no_attempt() {
    let house = House::new().await;
    let handlers = Handlers::new().on_ordered::<Lit>(Relight).on_ordered::<Dimmed>(Relight);
    let ledger = Service::new(&house, "ledger", handlers).await;
    ledger.provision().await;
    let (wire, spy) = (house.wire().await, house.spy_on_retries().await);
    for n in 1..=24 {
        lit(&wire, n).await;
    }
    let topology = ledger.kit.topology();
    let mut ends = house.transport("ledger").subscribe(topology, 100).await.unwrap();
    assert!(!ends.next(100).await.unwrap().is_empty());
    drop(ends);
    let runs = ledger.run();
    eventually_seen(&ledger, &(1..=24).collect::<Vec<_>>()).await;
    house.finish(&ledger, vec![runs]).await;
    assert!(spy.drain("spy").await.is_empty(), "an attempt was spent");
}
