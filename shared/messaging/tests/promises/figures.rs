//! What can be watched of the kit: from the start, and until it is over.

use testkit::eventually;

use crate::house::{House, Lit, Raw, SOON, Switch, counters, gauged, header};

#[tokio::test]
async fn what_has_not_happened_yet_is_counted_as_nothing() {
    let house = House::new().await;
    let ledger = house.ledger(&Switch::new()).await;
    let tasks = ledger.kit.tasks();
    let counters = counters();
    let expected = [
        "messages_total{outcome=handled}",
        "messages_total{outcome=superseded}",
        "messages_total{outcome=duplicate}",
        "messages_total{outcome=retried}",
        "messages_total{outcome=parked}",
        "retries_total{rung=1s}",
        "retries_total{rung=10m}",
        "parked_total{code=unsigned}",
        "parked_total{code=panicked}",
        "outbox_publish_total{fate=confirmed}",
        "outbox_publish_total{fate=unroutable}",
        "outbox_publish_total{fate=refused}",
        "outbox_publish_total{fate=unknown}",
        "chunks_taken_apart_total{}",
        "clock_skew_total{}",
        "inbox_duplicates_total{}",
        "outbox_full_total{}",
    ];
    let missing: Vec<_> =
        expected.into_iter().filter(|name| !counters.iter().any(|known| known == name)).collect();
    assert!(missing.is_empty(), "{missing:?} of {counters:?}");
    for gauge in ["broker_blocked{}", "dead_letters{}", "breaker_state{task=consumer}"] {
        assert_eq!(gauged(gauge), Some(0.0), "{gauge}");
    }
    drop(tasks);
}

#[tokio::test]
async fn dead_letters_that_somebody_has_decided_over_are_no_longer_told_of() {
    let house = House::new().await;
    let ledger = house.ledger(&Switch::new()).await;
    ledger.provision().await;
    let mut unsigned = Raw::of(&Lit::new("hall", 1), 1);
    unsigned.set_header(&header("sig"), None);
    house.wire().await.publish("dead-letters", "ledger.dlq", &unsigned).await;
    let _parker = ledger.run_only(&["parker"]);
    eventually(SOON, || async { gauged("dead_letters{}") == Some(1.0) }).await;

    let discard = "update messaging.dead_letter set state = 'discarded'";
    sqlx::query(discard).execute(&ledger.pg).await.unwrap();
    let _gauges = ledger.run_only(&["gauges"]);
    eventually(SOON, || async { gauged("dead_letters{}") == Some(0.0) }).await;
}
