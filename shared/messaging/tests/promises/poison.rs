//! P7: a poison message never blocks the messages behind it, never spins, and is never lost.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::StreamExt;
use lapin::options::{BasicConsumeOptions, BasicQosOptions};
use lapin::types::FieldTable;
use messaging::ConsumerSettings;
use serde_json::json;
use testkit::eventually;

use crate::house::{House, Lit, Mood, Raw, SOON, Service, Switch, Wire, header};

/// A ledger with a queue full of good messages, some poison between them, and no task running yet.
async fn poisoned(house: &House, switch: &Switch, poison: &[Mood]) -> Service {
    // For what hangs; the others take milliseconds.
    let deadline = Duration::from_secs(2);
    let settings = ConsumerSettings { deadline, ..ConsumerSettings::default() };
    let ledger = house.ledger(switch).await.with(|kit| kit.consume_with(settings));
    ledger.provision().await;
    let wire = house.wire().await;
    for n in 0..40 {
        send(&wire, &Lit::new(format!("good-{n}"), 1)).await;
        if let (true, Some(mood)) = (n % 5 == 2, poison.get(n / 5)) {
            send(&wire, &Lit::with(format!("{mood:?}"), *mood)).await;
        }
    }
    ledger
}

async fn send(wire: &Wire, event: &Lit) {
    wire.publish("events", "lamp.lit.v1", &Raw::of(event, event.n)).await;
}

fn all_good_once(effects: &BTreeMap<String, usize>) {
    let good = |n| (format!("good-{n}"), 1);
    assert_eq!(*effects, (0..40).map(good).collect());
}

#[tokio::test]
async fn what_will_never_pass_is_parked_at_once_between_good_messages_that_all_pass() {
    let house = House::new().await;
    let switch = Switch::new();
    let ledger = poisoned(&house, &switch, &[Mood::Permanent, Mood::BadData]).await;
    let spy = house.spy_on_retries().await;
    let runs = ledger.run();
    house.finish(&ledger, vec![runs]).await;

    all_good_once(&ledger.effects().await);
    let parker = ledger.run_only(&["parker"]);
    eventually(SOON, || async { ledger.dead_letters().await.len() == 2 }).await;
    parker.stop().await;
    for letter in ledger.dead_letters().await {
        assert_eq!((letter.reason_code.as_str(), letter.attempts), ("rejected", 1), "{letter:?}");
    }
    assert!(switch.begun("Permanent") >= 1);
    assert!(spy.drain("spy").await.is_empty(), "it was not parked at once");
    assert_eq!(house.vhost.depth("ledger.dlq").await, Some(0));
}

#[tokio::test]
async fn what_hangs_panics_or_asks_too_much_of_the_database_does_not_hold_up_the_others() {
    let house = House::new().await;
    let switch = Switch::new();
    let poison = [
        Mood::EndSession,
        Mood::Panic,
        Mood::Hang,
        Mood::SlowQuery,
        Mood::Transient,
        Mood::Stranger,
    ];
    let ledger = poisoned(&house, &switch, &poison).await;
    let wire = house.wire().await;
    wire.divert("ledger.retry.5s", "second").await;
    let runs = ledger.run();
    eventually(SOON, || async { ledger.count("entry").await >= 40 }).await;
    all_good_once(&ledger.effects().await);
    let codes: BTreeMap<String, String> = wire
        .take("second", poison.len())
        .await
        .iter()
        .map(|raw| {
            assert_eq!(raw.header(&header("attempt")).as_deref(), Some("2"));
            let lamp = raw.version().0.replace("lamp/", "");
            (lamp, raw.header(&header("code")).unwrap())
        })
        .collect();
    let code = |lamp: &str, code: &str| (lamp.to_owned(), code.to_owned());
    let expected = BTreeMap::from([
        code("Panic", "panicked"),
        code("Hang", "retries_exhausted"),
        code("SlowQuery", "retries_exhausted"),
        code("EndSession", "retries_exhausted"),
        code("Transient", "retries_exhausted"),
        code("Stranger", "unknown_aggregate"),
    ]);
    assert_eq!(codes, expected);
    house.finish(&ledger, vec![runs]).await;
    all_good_once(&ledger.effects().await);
    assert!(ledger.dead_letters().await.is_empty());
}

#[tokio::test]
async fn a_parked_message_keeps_its_bytes_its_headers_and_its_reason() {
    let house = House::new().await;
    let (ledger, _runs) = house.running_ledger(&Switch::new()).await;
    let mut raw = Raw::of(&Lit::with("hall", Mood::Permanent), 1);
    raw.set_header("x-of-the-sender", Some("kept"));
    let wire = house.wire().await;
    wire.publish("events", "lamp.lit.v1", &raw).await;
    eventually(SOON, || async { ledger.dead_letters().await.len() == 1 }).await;

    let letter = ledger.dead_letters().await.remove(0);
    assert_eq!(letter.body, raw.body);
    assert_eq!(letter.headers["x-of-the-sender"], json!("kept"));
    for name in ["sig", "kid", "sigver"] {
        let name = header(name);
        assert_eq!(letter.headers[&name], json!(raw.header(&name)), "{name}");
    }
    assert_eq!(letter.queue, "ledger.in");
    assert_eq!(letter.source.as_deref(), Some("urn:house:test:lamp"));
    assert_eq!(letter.event_id.unwrap().to_string(), raw.id());
    assert_eq!(letter.event_type.as_deref(), Some("house.lamp.lit.v1"));
    assert_eq!(letter.reason_code, "rejected");
    assert!(letter.reason.contains("not ever"), "{}", letter.reason);
    assert!(letter.first_failed_at.is_some());

    // The same letter once more is the same dead letter, whatever was decided over it.
    let replayed = "update messaging.dead_letter set state = 'replayed'";
    sqlx::query(replayed).execute(&ledger.pg).await.unwrap();
    wire.publish("events", "lamp.lit.v1", &raw).await;
    wire.publish("events", "lamp.lit.v1", &Raw::of(&Lit::with("attic", Mood::Permanent), 1)).await;
    eventually(SOON, || async { ledger.dead_letters().await.len() == 2 }).await;
    assert_eq!(ledger.count("messaging.dead_letter where state = 'parked'").await, 2);
}

#[tokio::test]
async fn one_guilty_message_in_a_chunk_of_twenty_is_retried_alone() {
    let house = House::new().await;
    let switch = Switch::new();
    let ledger = house.ledger(&switch).await;
    ledger.provision().await;
    let wire = house.wire().await;
    for n in 0..20 {
        let mood = if n == 11 { Mood::Transient } else { Mood::Good };
        send(&wire, &Lit::with(format!("lamp-{n}"), mood)).await;
    }
    wire.divert("ledger.retry.1s", "resting").await;
    let runs = ledger.run_only(&["consumer"]);
    let retried = wire.take("resting", 1).await.remove(0);
    assert_eq!(retried.version().0, "lamp/lamp-11");
    eventually(SOON, || async { ledger.count("entry").await == 19 }).await;
    assert!(ledger.effects().await.values().all(|times| *times == 1));
    assert!(wire.drain("resting").await.is_empty(), "an innocent one was retried");

    // Back on its queue, now that its reason is gone.
    switch.heal();
    wire.publish("requeue", "ledger.in", &retried).await;
    house.finish(&ledger, vec![runs]).await;
    let effects = ledger.effects().await;
    assert_eq!(effects.len(), 20);
    assert!(effects.values().all(|times| *times == 1), "{effects:?}");
    assert!(wire.drain("resting").await.is_empty(), "an innocent one was retried");
}

#[tokio::test]
async fn a_message_that_ends_the_process_each_time_is_given_up_by_the_broker_and_parked() {
    let house = House::new().await;
    let ledger = house.ledger(&Switch::new()).await;
    ledger.provision().await;
    let wire = house.wire().await;
    // One that had failed before, so that it carries another code already.
    let mut raw = Raw::of(&Lit::new("killer", 1), 1);
    raw.set_header(&header("code"), Some("retries_exhausted"));
    raw.set_header(&header("attempt"), Some("1"));
    // And that wants to spoil the table, too.
    raw.set_header(&header("origin-queue"), Some("else\0where"));
    raw.set_header("x-\0", Some("\0"));
    wire.publish("requeue", "ledger.in", &raw).await;
    let crashes = eventually(SOON * 3, || async {
        match house.vhost.depth("ledger.dlq").await {
            Some(1) => Ok(()),
            _ => {
                take_and_crash(&house).await;
                Err("not given up yet")
            }
        }
    });
    crashes.await;

    let _parker = ledger.run_only(&["parker"]);
    eventually(SOON, || async { ledger.dead_letters().await.len() == 1 }).await;
    let letter = ledger.dead_letters().await.remove(0);
    assert_eq!(letter.reason_code, "delivery_limit", "{letter:?}");
    assert_eq!(letter.body, raw.body);
    assert_eq!(letter.queue, "ledger.in");
}

/// A consumer that gets a message and dies.
async fn take_and_crash(house: &House) {
    let wire = Wire::connect(house.vhost.amqp_url()).await;
    let (options, arguments) = (BasicConsumeOptions::default(), FieldTable::default());
    wire.channel.basic_qos(1, BasicQosOptions::default()).await.unwrap();
    let consume = wire.channel.basic_consume("ledger.in".into(), "".into(), options, arguments);
    let mut consumer = consume.await.unwrap();
    let _ = tokio::time::timeout(Duration::from_millis(300), consumer.next()).await;
    let _ = wire.connection.close(200, "killed".into()).await;
}
