//! P5: the events of one aggregate leave in version order.

use std::collections::BTreeMap;

use chrono::TimeDelta;
use testkit::eventually;

use crate::house::{Dimmed, House, Lit, Raw, SOON, Service, Wire, eventually_pending};

async fn lamp_and_probe(bindings: &[&str]) -> (House, Service, Wire) {
    let house = House::new().await;
    let lamp = house.lamp().await;
    lamp.provision().await;
    let wire = house.wire().await;
    wire.queue("probe", bindings).await;
    (house, lamp, wire)
}

/// The versions of each aggregate in the order in which they came.
fn versions(told: &[Raw]) -> BTreeMap<String, Vec<u32>> {
    let mut all: BTreeMap<String, Vec<u32>> = BTreeMap::new();
    for (subject, version) in told.iter().map(Raw::version) {
        all.entry(subject).or_default().push(version);
    }
    all
}

#[tokio::test]
async fn many_versions_of_many_aggregates_leave_in_order() {
    let (_house, lamp, wire) = lamp_and_probe(&["#"]).await;
    let _runs = lamp.run();
    for version in 1..=10 {
        let mut tx = lamp.begin().await;
        for n in 0..20 {
            let name = format!("lamp-{n}");
            tx.publish(&Lit::new(name, version), version).unwrap();
        }
        tx.commit().await.unwrap();
    }
    let told = versions(&wire.take("probe", 200).await);
    assert_eq!(told.len(), 20);
    for (subject, seen) in told {
        assert_eq!(seen, (1..=10).collect::<Vec<_>>(), "{subject}");
    }
}

#[tokio::test]
async fn a_version_that_could_leave_waits_for_the_one_before_that_cannot() {
    let (_house, lamp, wire) = lamp_and_probe(&["lamp.lit.v1"]).await;
    let mut tx = lamp.begin().await;
    tx.publish(&Dimmed { lamp: "hall".into(), n: 1 }, 1).unwrap();
    tx.publish(&Lit::new("hall", 2), 2).unwrap();
    tx.publish(&Lit::new("attic", 1), 1).unwrap();
    tx.commit().await.unwrap();
    let _runs = lamp.run();

    assert_eq!(wire.take("probe", 1).await[0].version(), ("lamp/attic".into(), 1));
    // Long enough for several attempts: held across batches, too.
    eventually(SOON, || async { lamp.pending().await[0].2 >= 3 }).await;
    lamp.tell(&Lit::new("hall", 3), 3).await;
    lamp.tell(&Lit::new("attic", 2), 2).await;
    assert_eq!(wire.take("probe", 1).await[0].version(), ("lamp/attic".into(), 2));
    eventually_pending(&lamp, &[("lamp/hall", 1), ("lamp/hall", 2), ("lamp/hall", 3)]).await;
    assert!(wire.drain("probe").await.is_empty());

    wire.bind("probe", "lamp.dimmed.v1").await;
    let told = wire.take("probe", 3).await;
    assert_eq!(versions(&told), BTreeMap::from([("lamp/hall".into(), vec![1, 2, 3])]));
}

#[tokio::test]
async fn a_confirm_lost_in_the_middle_keeps_the_order_of_first_arrivals() {
    let (_house, lamp, wire) = lamp_and_probe(&["#"]).await;
    let mut tx = lamp.begin().await;
    for version in 1..=5 {
        tx.publish(&Lit::new("hall", version), version).unwrap();
    }
    tx.commit().await.unwrap();
    lamp.faults.lose_confirms(3);
    let _runs = lamp.run();
    let told = wire.take("probe", 8).await;
    let mut seen: Vec<u32> = told.iter().map(|raw| raw.version().1).collect();
    assert!(seen.is_sorted(), "a repetition must not come after a later version: {seen:?}");
    seen.dedup();
    assert_eq!(seen, [1, 2, 3, 4, 5]);
}

#[tokio::test]
async fn an_event_published_for_later_holds_back_its_aggregate_and_nobody_else() {
    let (house, lamp, wire) = lamp_and_probe(&["#"]).await;
    let mut tx = lamp.begin().await;
    let later = tx.now() + TimeDelta::hours(2);
    tx.publish(&Lit::new("hall", 1), 1).unwrap();
    tx.publish_at(&Lit::new("hall", 2), 2, later).unwrap();
    tx.publish(&Lit::new("hall", 3), 3).unwrap();
    tx.publish(&Lit::new("attic", 1), 1).unwrap();
    tx.commit().await.unwrap();
    let _runs = lamp.run();

    let told = versions(&wire.take("probe", 2).await);
    let first = |name: &str| (format!("lamp/{name}"), vec![1]);
    assert_eq!(told, BTreeMap::from([first("hall"), first("attic")]));
    eventually_pending(&lamp, &[("lamp/hall", 2), ("lamp/hall", 3)]).await;

    house.clock.set(TimeDelta::hours(3));
    let told = wire.take("probe", 2).await;
    assert_eq!(versions(&told), BTreeMap::from([("lamp/hall".into(), vec![2, 3])]));
}

#[tokio::test]
async fn a_row_that_was_numbered_first_and_commits_last_is_not_skipped() {
    let (_house, lamp, wire) = lamp_and_probe(&["#"]).await;
    let _runs = lamp.run();
    // What `Tx::commit` writes, held open before its commit.
    let mut slow = lamp.pg.acquire().await.unwrap();
    let stolen = lamp.pool.new_id();
    sqlx::raw_sql("begin").execute(&mut *slow).await.unwrap();
    let id = Raw::of(&Lit::new("slow", 1), 1);
    sqlx::query(
        "insert into messaging.outbox (event_id, type, subject, aggversion, partition,
            correlation_id, body, signature, key_id, created_at)
        values ($1, 'house.lamp.lit.v1', 'lamp/slow', 1, $2, $1, $3, decode(repeat('00', 64), 'hex'),
            'lamp-1', now())",
    )
    .bind(stolen)
    .bind(i16::from(messaging::partition_of("lamp/slow")))
    .bind(&id.body)
    .execute(&mut *slow)
    .await
    .unwrap();
    for n in 0..20 {
        lamp.tell(&Lit::new(format!("fast-{n}"), 1), 1).await;
    }
    assert_eq!(wire.take("probe", 20).await.len(), 20);

    sqlx::raw_sql("commit").execute(&mut *slow).await.unwrap();
    lamp.tell(&Lit::new("after", 1), 1).await;
    let mut subjects: Vec<_> =
        wire.take("probe", 2).await.iter().map(|raw| raw.version().0).collect();
    subjects.sort();
    assert_eq!(subjects, ["lamp/after", "lamp/slow"]);
}
