//! P9: nothing grows without bound.

use std::time::Duration;

use chrono::TimeDelta;
use messaging::step::{Progress, Step};
use messaging::{Cause, ConsumerSettings, Handlers, Housekeeping, Retention, Tx, TxError};
use opentelemetry::Context;
use testkit::{PrivatePostgres, eventually};

use crate::house::{Dimmed, House, Lit, Raw, SOON, Service, Switch};

#[tokio::test]
async fn a_consumer_holds_no_more_than_its_prefetch_however_much_waits() {
    let house = House::new().await;
    let switch = Switch::new();
    let gate = switch.gate();
    let settings = ConsumerSettings { prefetch: 20, chunk: 8, ..ConsumerSettings::default() };
    let ledger = house.ledger(&switch).await.with(|kit| kit.consume_with(settings));
    ledger.provision().await;
    let wire = house.wire().await;
    for n in 0..120 {
        let event = Lit::new(format!("lamp-{n}"), 1);
        wire.publish("events", "lamp.lit.v1", &Raw::of(&event, 1)).await;
    }
    let runs = ledger.run();
    eventually(SOON, || async {
        let queue = house.vhost.queue("ledger.in").await.unwrap();
        assert!(queue.unacked <= 20, "{queue:?}");
        queue.unacked == 20 && queue.ready == 100
    })
    .await;
    gate.add_permits(10_000);
    house.finish(&ledger, vec![runs]).await;
    assert_eq!(ledger.count("entry").await, 120);
}

#[tokio::test]
async fn a_long_backlog_leaves_in_batches_of_a_bounded_size() {
    let house = House::new().await;
    let lamp = house.lamp().await;
    lamp.provision().await;
    let wire = house.wire().await;
    wire.queue("probe", &["#"]).await;
    let mut tx = lamp.begin().await;
    for n in 0..5_000 {
        tx.publish(&Lit::new(format!("lamp-{n}"), 1), 1).unwrap();
    }
    tx.commit().await.unwrap();
    let _runs = lamp.run();
    eventually(SOON, || async { lamp.pending().await.is_empty() }).await;
    assert!(lamp.faults.largest_batch() <= 2_000, "{}", lamp.faults.largest_batch());
    assert_eq!(house.vhost.depth("probe").await, Some(5_000));
}

/// Steps housekeeping until it has nothing more to do.
async fn sweep(service: &Service, retention: &Retention) {
    let mut work = Housekeeping::new(service.pool.clone(), retention.clone());
    for _ in 0..50 {
        if let Progress::Idle(pause) = work.step().await
            && pause > Duration::from_secs(1)
        {
            return;
        }
    }
    panic!("housekeeping does not come to an end");
}

#[tokio::test]
async fn published_rows_go_after_their_retention_and_pending_ones_never() {
    let house = House::new().await;
    let lamp = house.lamp().await;
    lamp.provision().await;
    let wire = house.wire().await;
    wire.queue("probe", &["lamp.lit.v1"]).await;
    let _runs = lamp.run_only(&["presence", "relay"]);
    // More stuck rows than a bite, before all others: the sweep must get past them.
    let mut tx = lamp.begin().await;
    for n in 0..1_100 {
        tx.publish(&Dimmed { lamp: format!("dark-{n}"), n: 1 }, 1).unwrap();
    }
    for n in 0..1_200 {
        tx.publish(&Lit::new(format!("old-{n}"), 1), 1).unwrap();
    }
    tx.commit().await.unwrap();
    eventually(SOON, || async { lamp.pending().await.len() == 1_100 }).await;
    house.clock.set(TimeDelta::hours(2));
    lamp.tell(&Lit::new("young", 1), 1).await;
    eventually(SOON, || async { lamp.pending().await.len() == 1_100 }).await;

    let retention = Retention { outbox: TimeDelta::hours(1), ..Retention::default() };
    sweep(&lamp, &retention).await;
    let published = "messaging.outbox where published_at is not null";
    assert_eq!(lamp.count(published).await, 1, "only the young one stays");
    assert_eq!(lamp.pending().await.len(), 1_100);
}

#[tokio::test]
async fn inbox_rows_go_after_their_retention_and_their_messages_are_then_too_old_to_be_believed() {
    let house = House::new().await;
    let (inbox, replay) = (TimeDelta::hours(2), TimeDelta::hours(1));
    let retention = Retention { inbox, replay, ..Retention::default() };
    let kept = retention.clone();
    let switch = Switch::new();
    let ledger = house.ledger(&switch).await.with(|kit| kit.keep_for(kept).unwrap());
    ledger.provision().await;
    let _runs = ledger.run();
    let wire = house.wire().await;
    let raw = Raw::of(&Lit::new("hall", 1), 1);
    wire.publish("events", "lamp.lit.v1", &raw).await;
    eventually(SOON, || async { ledger.count("messaging.inbox").await == 1 }).await;
    sweep(&ledger, &retention).await;
    assert_eq!(ledger.count("messaging.inbox").await, 1);

    // A message may be a day ahead of our clock: its row goes only when it is too old in any case.
    house.clock.set(TimeDelta::hours(27));
    sweep(&ledger, &retention).await;
    assert_eq!(ledger.count("messaging.inbox").await, 1);
    house.clock.set(TimeDelta::hours(29));
    sweep(&ledger, &retention).await;
    assert_eq!(ledger.count("messaging.inbox").await, 0);
    wire.publish("events", "lamp.lit.v1", &raw).await;
    eventually(SOON, || async { ledger.dead_letters().await.len() == 1 }).await;
    assert_eq!(ledger.dead_letters().await[0].reason_code, "stale");
    assert_eq!(ledger.count("entry").await, 1, "it has one effect for ever");
}

#[tokio::test]
async fn an_inbox_that_would_forget_what_can_still_arrive_is_refused() {
    let house = House::new().await;
    let (day, fortnight) = (TimeDelta::days(1), TimeDelta::days(14));
    for (inbox, replay) in [
        (TimeDelta::minutes(10), TimeDelta::zero()),
        (TimeDelta::days(-30), day),
        (fortnight, fortnight),
    ] {
        let ledger = house.ledger(&Switch::new()).await;
        let short = Retention { inbox, replay, ..Retention::default() };
        let refused = ledger.kit.keep_for(short).err().unwrap().to_string();
        assert!(refused.contains("shorter than what can still arrive"), "{refused}");
    }
    let ledger = house.ledger(&Switch::new()).await;
    let enough = Retention { inbox: fortnight + day, replay: fortnight, ..Retention::default() };
    assert!(ledger.kit.keep_for(enough).is_ok());
}

#[tokio::test]
async fn a_long_backlog_costs_no_more_than_the_rows_that_are_taken_from_it() {
    let house = House::new().await;
    // A server of its own: what others do on one decides when it sees that a row is gone for all.
    let postgres = PrivatePostgres::start().await;
    let database = postgres.database("messaging").await;
    let lamp = Service::with_database(&house, "lamp", Handlers::new(), database).await;
    lamp.provision().await;
    let wire = house.wire().await;
    wire.queue("probe", &["#"]).await;
    // And while a table is analysed, nobody can tell.
    let alone = "alter table messaging.outbox set (autovacuum_enabled = off)";
    sqlx::query(alone).execute(&lamp.pg).await.unwrap();
    let mut tx = lamp.begin().await;
    for n in 0..20_000 {
        tx.publish(&Lit::new(format!("lamp-{n}"), 1), 1).unwrap();
    }
    tx.commit().await.unwrap();
    sqlx::query("analyze messaging.outbox").execute(&lamp.pg).await.unwrap();
    let _runs = lamp.run_only(&["presence", "relay"]);
    // Asked of the broker: a look at the table would count, too.
    eventually(SOON, || async { house.vhost.depth("probe").await == Some(20_000) }).await;

    // Ten claims and more, by the index of what is pending, and of it no more than they took and what
    // was under way meanwhile; were each to look at the whole backlog, it would be above 100,000 rows.
    let claims = "select idx_scan, idx_tup_read from pg_stat_user_indexes
        where indexrelname = 'outbox_pending_in_order'";
    let (scans, rows) = eventually(SOON, || async {
        let (scans, rows): (i64, i64) = sqlx::query_as(claims).fetch_one(&lamp.pg).await.unwrap();
        if scans >= 10 { Ok((scans, rows)) } else { Err(format!("{scans} scans, {rows} rows")) }
    })
    .await;
    assert!(rows < 70_000, "{scans} scans read {rows} rows");
}

#[tokio::test]
async fn a_full_outbox_refuses_requests_and_nothing_that_is_under_way() {
    let house = House::new().await;
    let lamp = house.lamp().await;
    lamp.pool.set_outbox_cap(3);
    let lit = async |n: u32, cause: Cause| {
        let mut tx = Tx::begin(&lamp.pool, cause).await.unwrap();
        tx.publish(&Lit::new(format!("lamp-{n}"), 1), 1).unwrap();
        tx.commit().await
    };
    let request = || Cause::request(lamp.pool.new_id(), Context::new());
    for n in 0..3 {
        lit(n, request()).await.unwrap();
    }
    assert!(matches!(lit(3, request()).await, Err(TxError::OutboxFull)));
    assert!(matches!(lit(4, request()).await, Err(TxError::OutboxFull)));
    lit(5, Cause::resumed(lamp.pool.new_id(), None, None, None)).await.unwrap();
    assert_eq!(lamp.pending().await.len(), 4, "what was refused left nothing");

    lamp.provision().await;
    house.wire().await.queue("probe", &["#"]).await;
    let _runs = lamp.run();
    eventually(SOON, || async { lamp.pending().await.is_empty() }).await;
    eventually(SOON, || async { lit(6, request()).await.is_ok() }).await;
}
