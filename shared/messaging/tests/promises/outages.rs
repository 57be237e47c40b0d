//! P8 without a broken server: connections and sessions that are cut from the other side.

use std::collections::BTreeMap;

use testkit::eventually;

use crate::house::{House, Lit, Mood, Raw, SOON, Service, Switch};

fn once_each(lamps: u32) -> BTreeMap<String, usize> {
    (0..lamps).map(|n| (format!("lamp-{n}"), 1)).collect()
}

#[tokio::test]
async fn connections_that_the_broker_closes_again_and_again_lose_and_repeat_nothing() {
    let house = House::new().await;
    let lamp = house.lamp().await;
    lamp.provision().await;
    let (ledger, ledger_runs) = house.running_ledger(&Switch::new()).await;
    let lamp_runs = lamp.run();
    for n in 0..200 {
        lamp.tell(&Lit::new(format!("lamp-{n}"), 1), 1).await;
        if n % 40 == 20 {
            // A connection is listed a moment after it was made.
            eventually(SOON, || async { house.vhost.close_all_connections().await > 0 }).await;
        }
    }
    eventually(SOON, || async { ledger.effects().await.len() == 200 }).await;
    lamp_runs.stop().await;
    house.finish(&ledger, vec![ledger_runs]).await;
    assert_eq!(ledger.effects().await, once_each(200));
    assert!(lamp.pending().await.is_empty());
    assert!(ledger.dead_letters().await.is_empty());
}

#[tokio::test]
async fn connections_that_are_cut_at_any_byte_lose_and_repeat_nothing() {
    let (house, proxy) = House::behind_a_proxy().await;
    let lamp = house.lamp().await;
    lamp.provision().await;
    let (ledger, ledger_runs) = house.running_ledger(&Switch::new()).await;
    let lamp_runs = lamp.run();
    let mut cut = 0;
    for round in 0..30 {
        let mut tx = lamp.begin().await;
        for n in 0..20 {
            tx.publish(&Lit::new(format!("lamp-{}", round * 20 + n), 1), 1).unwrap();
        }
        tx.commit().await.unwrap();
        // In the middle of it, and in half of the rounds in the middle of coming back.
        let seen = (round * 20) as usize;
        eventually(SOON, || async {
            let effects = ledger.effects().await.len();
            let queue = house.vhost.queue("ledger.in").await;
            let (lamps, ledgers) = (lamp.kit.vitals().check(), ledger.kit.vitals().check());
            let pending = lamp.pending().await.len();
            if effects >= seen {
                return Ok(());
            }
            Err(format!(
                "{effects} of {seen}, {pending} pending, {queue:?}, {lamps:?}, {ledgers:?}"
            ))
        })
        .await;
        cut += proxy.cut();
        for _ in 0..round % 2 {
            eventually(SOON, || async { proxy.cut() > 0 }).await;
        }
    }
    assert!(cut >= 30, "{cut}");
    eventually(SOON, || async {
        let effects = ledger.effects().await.len();
        let queue = house.vhost.queue("ledger.in").await.unwrap();
        if effects == 600 { Ok(()) } else { Err(format!("{effects}, {queue:?}")) }
    })
    .await;
    eventually(SOON, || async { lamp.pending().await.is_empty() }).await;
    lamp_runs.stop().await;
    house.finish(&ledger, vec![ledger_runs]).await;
    assert_eq!(ledger.effects().await, once_each(600));
    assert!(ledger.dead_letters().await.is_empty());
}

#[tokio::test]
async fn sessions_that_the_database_ends_again_and_again_lose_nothing_and_spend_no_attempt() {
    let house = House::new().await;
    let lamp = house.lamp().await;
    lamp.provision().await;
    let (ledger, ledger_runs) = house.running_ledger(&Switch::new()).await;
    let _lamp_runs = lamp.run();
    let spy = house.spy_on_retries().await;
    for n in 0..100 {
        lamp.tell(&Lit::new(format!("lamp-{n}"), 1), 1).await;
        if n % 20 == 10 {
            eventually(SOON, || async { end_sessions(&ledger).await > 0 }).await;
        }
    }
    eventually(SOON, || async { ledger.effects().await.len() == 100 }).await;
    house.finish(&ledger, vec![ledger_runs]).await;
    assert_eq!(ledger.effects().await, once_each(100));
    assert!(spy.drain("spy").await.is_empty(), "an attempt was spent");
    assert!(ledger.dead_letters().await.is_empty());
}

async fn end_sessions(service: &Service) -> usize {
    let ended: Vec<bool> = sqlx::query_scalar(
        "select pg_terminate_backend(pid) from pg_stat_activity
        where datname = current_database() and application_name = $1",
    )
    .bind(service.pool.identity().service())
    .fetch_all(&service.database.pool())
    .await
    .unwrap();
    ended.len()
}

#[tokio::test]
async fn a_serialization_failure_is_tried_again_at_once_and_burns_no_rung() {
    let house = House::new().await;
    let switch = Switch::new();
    let (ledger, runs) = house.running_ledger(&switch).await;
    sqlx::raw_sql(
        "create sequence tries;
        create function lose() returns trigger language plpgsql as $$ begin
            if new.lamp = 'racy' and nextval('tries') < 3 then
                raise exception 'lost a race' using errcode = '40001';
            end if;
            return new;
        end $$;
        create trigger lose before insert on entry for each row execute function lose();",
    )
    .execute(&ledger.pg)
    .await
    .unwrap();
    let wire = house.wire().await;
    let spy = house.spy_on_retries().await;
    let racy = Lit::with("racy", Mood::Good);
    wire.publish("events", "lamp.lit.v1", &Raw::of(&racy, 1)).await;
    eventually(SOON, || async { ledger.count("entry").await == 1 }).await;
    assert_eq!(switch.begun("racy"), 3);
    house.finish(&ledger, vec![runs]).await;
    assert!(spy.drain("spy").await.is_empty(), "an attempt was spent");
}

#[tokio::test]
async fn services_that_stop_and_start_again_and_again_under_load_lose_and_repeat_nothing() {
    let house = House::new().await;
    let lamp = house.lamp().await;
    lamp.provision().await;
    let (ledger, mut ledger_runs) = house.running_ledger(&Switch::new()).await;
    let mut lamp_runs = lamp.run();
    let wire = house.wire().await;
    wire.queue("probe", &["lamp.lit.v1"]).await;
    for n in 0..240 {
        lamp.tell(&Lit::new(format!("lamp-{n}"), 1), 1).await;
        if n % 40 == 20 {
            ledger_runs.stop().await;
            ledger_runs = ledger.run();
        }
        if n % 40 == 30 {
            lamp_runs.stop().await;
            lamp_runs = lamp.run();
        }
    }
    eventually(SOON, || async { ledger.effects().await.len() == 240 }).await;
    lamp_runs.stop().await;
    assert_eq!(
        house.vhost.depth("probe").await,
        Some(240),
        "a relay that stops finishes its batch"
    );
    house.finish(&ledger, vec![ledger_runs]).await;
    assert_eq!(ledger.effects().await, once_each(240));
}

#[tokio::test]
async fn services_that_crash_again_and_again_under_load_have_every_effect_once() {
    let house = House::new().await;
    let lamp = house.lamp().await;
    lamp.provision().await;
    let (ledger, mut ledger_runs) = house.running_ledger(&Switch::answering()).await;
    let mut lamp_runs = lamp.run();
    for n in 0..240 {
        lamp.tell(&Lit::new(format!("lamp-{n}"), 1), 1).await;
        if n % 24 == 12 {
            ledger_runs.crash().await;
            ledger_runs = ledger.run();
        }
        if n % 24 == 20 {
            lamp_runs.crash().await;
            lamp_runs = lamp.run();
        }
    }
    eventually(SOON, || async {
        let effects = ledger.effects().await.len();
        let queue = house.vhost.queue("ledger.in").await.unwrap();
        if effects == 240 { Ok(()) } else { Err(format!("{effects}, {queue:?}")) }
    })
    .await;
    eventually(SOON, || async { lamp.pending().await.is_empty() }).await;
    lamp_runs.stop().await;
    house.finish(&ledger, vec![ledger_runs]).await;
    assert_eq!(ledger.effects().await, once_each(240));
    let answers = "messaging.outbox where subject like 'entry/lamp-%'";
    assert_eq!(ledger.count(answers).await, 240);
    assert!(ledger.dead_letters().await.is_empty());
}
