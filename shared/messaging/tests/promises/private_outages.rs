//! P8 and P6 on servers of the test's own, which are killed, stopped and frozen.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use messaging::{ConsumerSettings, Handlers};
use testkit::{Broker, PrivatePostgres, eventually, process};

use crate::house::{Book, House, Lit, Mood, Raw, SOON, Service, Switch, gauged, header};

/// For what waits until a broker has started.
const LATER: Duration = Duration::from_secs(60);

async fn tell(lamp: &Service, numbers: std::ops::Range<u32>) {
    for n in numbers {
        lamp.tell(&Lit::new(format!("lamp-{n}"), 1), 1).await;
    }
}

fn once_each(lamps: u32) -> BTreeMap<String, usize> {
    (0..lamps).map(|n| (format!("lamp-{n}"), 1)).collect()
}

async fn eventually_effects(ledger: &Service, lamps: usize) {
    eventually(LATER, || async {
        let effects = ledger.effects().await.len();
        if effects == lamps { Ok(()) } else { Err(format!("{effects} of {lamps}")) }
    })
    .await;
}

#[tokio::test]
async fn a_broker_that_is_killed_twice_loses_nothing_and_work_goes_on_when_it_is_back() {
    let mut broker = Broker::private().await;
    let house = House::on(&broker).await;
    let lamp = house.lamp().await;
    lamp.provision().await;
    let (ledger, ledger_runs) = house.running_ledger(&Switch::new()).await;
    let _lamp_runs = lamp.run();
    house.spy_on_retries().await;
    tell(&lamp, 0..20).await;
    eventually_effects(&ledger, 20).await;

    for round in 0..2 {
        let from = 20 + round * 60;
        tell(&lamp, from..from + 30).await;
        broker.kill();
        // Whoever writes does not notice.
        tell(&lamp, from + 30..from + 60).await;
        eventually(SOON, || async { lamp.kit.vitals().check().is_err() }).await;
        eventually(SOON, || async { ledger.kit.vitals().check().is_err() }).await;
        broker.restart().await;
        let back = Instant::now();
        eventually_effects(&ledger, from as usize + 60).await;
        // A second or two; the rest is for a machine that is busy with a start.
        assert!(back.elapsed() < LATER / 2, "{:?}", back.elapsed());
        eventually(SOON, || async { lamp.kit.vitals().check() }).await;
    }

    assert!(lamp.pending().await.is_empty());
    assert_eq!(lamp.count("messaging.outbox where attempts > 0").await, 0, "no attempt was spent");
    house.finish(&ledger, vec![ledger_runs]).await;
    assert_eq!(ledger.effects().await, once_each(140));
    let spy = house.wire().await;
    assert!(spy.drain("spy").await.is_empty(), "an attempt was spent");
    assert!(ledger.dead_letters().await.is_empty());
}

#[tokio::test]
async fn a_broker_that_freezes_is_noticed_and_no_transaction_stays_open_meanwhile() {
    let broker = Broker::private().await;
    let house = House::on(&broker).await;
    let lamp = house.lamp().await;
    lamp.provision().await;
    let (ledger, ledger_runs) = house.running_ledger(&Switch::new()).await;
    let _lamp_runs = lamp.run();
    tell(&lamp, 0..1).await;
    eventually_effects(&ledger, 1).await;

    process::stop(broker.pid()).unwrap();
    tell(&lamp, 1..100).await;
    // Until the confirms are given up, and the connection after them. A statement of its own takes a
    // moment, too, and is open in a look or two; a transaction across the broker would be in each,
    // until the confirms are given up.
    let looks = AtomicU32::new(0);
    eventually(LATER, || async {
        let mut open = lamp.open_transactions().await;
        open.extend(ledger.open_transactions().await);
        let busy = if open.is_empty() { 0 } else { looks.load(Ordering::SeqCst) + 1 };
        looks.store(busy, Ordering::SeqCst);
        assert!(busy < 20, "still open: {open:?}");
        lamp.kit.vitals().check().is_err()
    })
    .await;
    assert_eq!(lamp.pending().await.len(), 99);
    process::cont(broker.pid()).unwrap();

    eventually_effects(&ledger, 100).await;
    eventually(LATER, || async { lamp.pending().await.is_empty() }).await;
    house.finish(&ledger, vec![ledger_runs]).await;
    assert_eq!(ledger.effects().await, once_each(100));
    assert_eq!(lamp.count("messaging.outbox where attempts > 0").await, 0, "no attempt was spent");
}

#[tokio::test]
async fn a_memory_alarm_holds_back_the_relay_while_the_consumer_goes_on_settling() {
    let broker = Broker::private().await;
    let house = House::on(&broker).await;
    let lamp = house.lamp().await;
    let ledger = house.ledger(&Switch::new()).await;
    lamp.provision().await;
    ledger.provision().await;
    let lamp_runs = lamp.run();
    tell(&lamp, 0..50).await;
    eventually(SOON, || async { lamp.pending().await.is_empty() }).await;

    broker.ctl(&["set_vm_memory_high_watermark", "0.00000001"]).await;
    tell(&lamp, 50..100).await;
    let ledger_runs = ledger.run();
    eventually_effects(&ledger, 50).await;
    eventually(SOON, || async { house.vhost.queue("ledger.in").await.unwrap().unacked == 0 }).await;
    assert_eq!(lamp.pending().await.len(), 50, "nothing is published into an alarm");
    // While the publish goes on, which does not return before the alarm is over.
    eventually(SOON, || async { gauged("broker_blocked{}") == Some(1.0) }).await;
    assert!(lamp.open_transactions().await.is_empty());

    broker.ctl(&["set_vm_memory_high_watermark", "0.4"]).await;
    eventually_effects(&ledger, 100).await;
    eventually(LATER, || async { lamp.pending().await.is_empty() }).await;
    eventually(SOON, || async { gauged("broker_blocked{}") == Some(0.0) }).await;
    lamp_runs.stop().await;
    house.finish(&ledger, vec![ledger_runs]).await;
    assert_eq!(ledger.effects().await, once_each(100));
}

#[tokio::test]
async fn a_database_that_is_killed_under_load_loses_nothing_and_spends_no_attempt() {
    let mut postgres = PrivatePostgres::start().await;
    let house = House::new().await;
    let switch = Switch::new();
    let database = postgres.database("messaging").await;
    let handlers = Handlers::new().on(Book(switch.clone()));
    let ledger = Service::with_database(&house, "ledger", handlers, database).await;
    ledger.provision().await;
    let runs = ledger.run();
    let spy = house.spy_on_retries().await;
    let wire = house.wire().await;
    for n in 0..150 {
        let event = Lit::new(format!("lamp-{n}"), 1);
        wire.publish("events", "lamp.lit.v1", &Raw::of(&event, 1)).await;
        if n % 30 == 0 {
            let mut unsigned = Raw::of(&Lit::new("nobody's", 1), 1);
            unsigned.set_header(&header("sig"), None);
            wire.publish("events", "lamp.lit.v1", &unsigned).await;
        }
        if n == 75 {
            postgres.kill();
        }
    }
    eventually(SOON, || async {
        let ill = ledger.kit.vitals().check().err().unwrap_or_default();
        if ill.contains("database") { Ok(()) } else { Err(ill) }
    })
    .await;
    postgres.restart().await;
    eventually_effects(&ledger, 150).await;
    house.finish(&ledger, vec![runs]).await;
    assert_eq!(ledger.effects().await, once_each(150));
    assert!(spy.drain("spy").await.is_empty(), "an attempt was spent");
    let _parker = ledger.run_only(&["parker"]);
    eventually(SOON, || async { ledger.dead_letters().await.len() == 5 }).await;
}

#[tokio::test]
async fn a_database_that_stays_away_leaves_its_consumer_one_message_and_the_others_their_queue() {
    let mut postgres = PrivatePostgres::start().await;
    let house = House::new().await;
    let database = postgres.database("messaging").await;
    let handlers = Handlers::new().on(Book(Switch::new()));
    let ledger = Service::with_database(&house, "ledger", handlers, database).await;
    ledger.provision().await;
    let runs = ledger.run();
    let (wire, _spy) = (house.wire().await, house.spy_on_retries().await);
    let events: Vec<_> = (0..200).map(|n| Lit::new(format!("lamp-{n}"), 1)).collect();
    postgres.kill();
    for event in &events {
        wire.publish("events", "lamp.lit.v1", &Raw::of(event, 1)).await;
    }
    eventually(SOON, || async {
        let queue = house.vhost.queue("ledger.in").await.unwrap();
        let open = gauged("breaker_state{task=consumer}") == Some(1.0);
        let held = (queue.unacked, queue.ready) == (1, 199);
        if open && held { Ok(()) } else { Err(format!("open: {open}, {queue:?}")) }
    })
    .await;
    // A broker that is lost as well: nothing is taken only to be given back.
    house.vhost.close_all_connections().await;
    eventually(SOON, || async {
        let queue = house.vhost.queue("ledger.in").await.unwrap();
        if (queue.unacked, queue.ready) == (0, 200) { Ok(()) } else { Err(format!("{queue:?}")) }
    })
    .await;

    postgres.restart().await;
    eventually_effects(&ledger, 200).await;
    house.finish(&ledger, vec![runs]).await;
    assert_eq!(ledger.effects().await, once_each(200));
    let spent = house.wire().await.drain("spy").await;
    assert!(spent.is_empty(), "an attempt was spent");
    assert!(ledger.dead_letters().await.is_empty());
}

#[tokio::test]
async fn a_handler_that_is_overdue_while_the_database_is_frozen_spends_no_attempt() {
    let postgres = PrivatePostgres::start().await;
    let house = House::new().await;
    let switch = Switch::new();
    let database = postgres.database("messaging").await;
    let handlers = Handlers::new().on(Book(switch.clone()));
    let deadline = Duration::from_secs(3);
    let settings = ConsumerSettings { deadline, ..ConsumerSettings::default() };
    let ledger = Service::with_database(&house, "ledger", handlers, database)
        .await
        .with(|kit| kit.consume_with(settings));
    ledger.provision().await;
    let runs = ledger.run();
    let (wire, spy) = (house.wire().await, house.spy_on_retries().await);
    wire.publish("events", "lamp.lit.v1", &Raw::of(&Lit::with("lamp-0", Mood::Hang), 1)).await;
    eventually(SOON, || async { switch.begun("lamp-0") == 1 }).await;

    let frozen = processes_of(postgres.pid());
    frozen.iter().for_each(|pid| process::stop(*pid).unwrap());
    eventually(SOON, || async { gauged("messaging_up{part=consumer}") == Some(0.0) }).await;
    switch.heal();
    frozen.iter().for_each(|pid| process::cont(*pid).unwrap());
    house.finish(&ledger, vec![runs]).await;
    assert_eq!(ledger.effects().await, once_each(1));
    assert!(spy.drain("spy").await.is_empty(), "an attempt was spent");
}

/// A server and its children.
fn processes_of(server: u32) -> Vec<u32> {
    let all = std::fs::read_dir("/proc").unwrap().filter_map(|entry| {
        let pid: u32 = entry.ok()?.file_name().to_str()?.parse().ok()?;
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // Behind the name, which may hold anything, the state and then the parent.
        let parent: u32 = stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()?;
        (pid == server || parent == server).then_some(pid)
    });
    let mut all: Vec<u32> = all.collect();
    // The server first: it would take a child that does not answer for dead.
    all.sort_by_key(|pid| *pid != server);
    all
}

#[tokio::test]
async fn a_relay_whose_database_is_killed_goes_on_by_itself() {
    let mut postgres = PrivatePostgres::start().await;
    let house = House::new().await;
    let database = postgres.database("messaging").await;
    let lamp = Service::with_database(&house, "lamp", Handlers::new(), database).await;
    lamp.provision().await;
    let wire = house.wire().await;
    wire.queue("probe", &["#"]).await;
    let _runs = lamp.run();
    for round in 0..3 {
        tell(&lamp, round * 10..round * 10 + 10).await;
        postgres.kill();
        eventually(SOON, || async { lamp.kit.vitals().check().is_err() }).await;
        postgres.restart().await;
        eventually(SOON, || async { lamp.kit.vitals().check() }).await;
    }
    let mut ids: Vec<String> = Vec::new();
    while ids.len() < 30 {
        ids.extend(wire.take("probe", 1).await.iter().map(Raw::id));
        ids.sort();
        ids.dedup();
    }
    eventually(SOON, || async { lamp.pending().await.is_empty() }).await;
}
