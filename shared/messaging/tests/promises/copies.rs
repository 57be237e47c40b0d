//! Copies of failed messages: each told apart by itself, sent whatever the original came with, and in
//! nobody's way.

use std::process::Command;

use lapin::types::{AMQPValue, FieldArray};
use messaging::ConsumerSettings;
use messaging::reason::Code;
use messaging::retry::LADDER;
use messaging::transport::{Failure, Settlement, Transport, TransportError};
use testkit::{Broker, eventually};

use crate::house::{House, Lit, Mood, Raw, SOON, Switch, header};

const ALL_BUT_THE_PARKER: [&str; 3] = ["presence", "relay", "consumer"];

fn without_an_id(mut raw: Raw) -> Raw {
    let table = raw.properties.headers().clone().unwrap_or_default();
    raw.properties = lapin::BasicProperties::default().with_headers(table);
    raw
}

fn failure(house: &House) -> Failure {
    let first_failed_at = house.clock.clock().now();
    Failure { code: Code::Rejected, reason: "not ever".into(), attempts: 1, first_failed_at }
}

#[tokio::test]
async fn a_message_without_an_id_whose_copy_finds_no_place_is_not_lost() {
    let house = House::new().await;
    let ledger = house.ledger(&Switch::new()).await;
    ledger.provision().await;
    house.vhost.delete_queue("ledger.dlq").await;
    let _runs = ledger.run_only(&ALL_BUT_THE_PARKER);
    let nameless = without_an_id(Raw::of(&Lit::new("hall", 1), 1));
    let wire = house.wire().await;
    wire.publish("events", "lamp.lit.v1", &nameless).await;
    eventually(SOON, || async {
        let ill = ledger.kit.vitals().check().err().unwrap_or_default();
        if ill.contains("missing or full") { Ok(()) } else { Err(ill) }
    })
    .await;

    ledger.provision().await;
    let parked = wire.take("ledger.dlq", 1).await.remove(0);
    assert_eq!(parked.body, nameless.body);
    eventually(SOON, || async { ledger.kit.vitals().check() }).await;
}

#[tokio::test]
async fn copies_of_messages_with_one_id_have_each_their_own_fate() {
    let house = House::new().await;
    let ledger = house.ledger(&Switch::new()).await;
    ledger.provision().await;
    house.vhost.delete_queue("ledger.dlq").await;
    let wire = house.wire().await;
    let raw = Raw::of(&Lit::new("hall", 1), 1);
    for _ in 0..2 {
        wire.publish("events", "lamp.lit.v1", &raw).await;
    }
    let topology = ledger.kit.topology();
    let mut subscription = house.transport("ledger").subscribe(topology, 10).await.unwrap();
    let mut deliveries = Vec::new();
    while deliveries.len() < 2 {
        deliveries.extend(subscription.next(2).await.unwrap());
    }
    let to = [Settlement::Later(LADDER[4], failure(&house)), Settlement::Park(failure(&house))];
    let mut error = subscription.settle(deliveries.into_iter().zip(to).collect()).await;
    for _ in 0..3 {
        assert!(matches!(error, Err(TransportError::Topology(_))), "{error:?}");
        assert_eq!(house.vhost.depth("ledger.retry.10m").await, Some(1));
        error = subscription.settle(Vec::new()).await;
    }
    ledger.provision().await;
    subscription.settle(Vec::new()).await.unwrap();
    assert_eq!(wire.take("ledger.dlq", 1).await[0].id(), raw.id());
    assert_eq!(house.vhost.depth("ledger.retry.10m").await, Some(1), "it was copied once");
    subscription.close().await;
    assert_eq!(house.vhost.depth("ledger.in").await, Some(0));
}

#[tokio::test]
async fn a_copy_takes_along_nothing_that_could_lose_it_or_send_it_elsewhere() {
    let house = House::new().await;
    let ledger = house.ledger(&Switch::new()).await;
    ledger.provision().await;
    let wire = house.wire().await;
    wire.queue("spy", &[]).await;
    wire.bind_to("dead-letters", "spy", "carbon").await;
    let mut raw = Raw::of(&Lit::with("hall", Mood::Permanent), 1);
    for name in ["x-first-death-reason", "x-last-death-queue", "x-delivery-count", "x-of-mine"] {
        raw.set_header(name, Some("7"));
    }
    let mut headers = raw.properties.headers().clone().unwrap_or_default();
    let carbon = FieldArray::from(vec![AMQPValue::LongString("carbon".into())]);
    headers.insert("CC".into(), AMQPValue::FieldArray(carbon));
    raw.properties = raw.properties.clone().with_headers(headers).with_expiration("600000".into());
    let consumer = ledger.run_only(&["consumer"]);
    wire.publish("requeue", "ledger.in", &raw).await;

    let parked = wire.take("ledger.dlq", 1).await.remove(0);
    assert_eq!(parked.properties.expiration(), &None);
    for name in ["CC", "x-first-death-reason", "x-last-death-queue"] {
        assert_eq!(parked.header(name), None, "{name}");
    }
    assert_ne!(parked.header("x-delivery-count").as_deref(), Some("7"));
    assert_eq!(parked.header("x-of-mine").as_deref(), Some("7"));
    assert_eq!(parked.header(&header("sig")), raw.header(&header("sig")));
    assert!(wire.drain("spy").await.is_empty(), "a carbon copy was sent");
    consumer.stop().await;

    // And the parker does not take it for one that the broker gave up on.
    wire.publish("dead-letters", "ledger.dlq", &parked).await;
    let _parker = ledger.run_only(&["parker"]);
    eventually(SOON, || async { ledger.dead_letters().await.len() == 1 }).await;
    assert_eq!(ledger.dead_letters().await[0].reason_code, "rejected");
}

#[tokio::test]
async fn a_message_with_headers_up_to_the_last_byte_of_a_frame_is_parked_and_the_next_passes() {
    let house = House::new().await;
    let (ledger, _runs) = house.running_ledger(&Switch::new()).await;
    let wire = house.wire().await;
    let mut huge = Raw::of(&Lit::with("hall", Mood::Permanent), 1);
    // A frame has 128 KiB; what a copy adds does not fit into what is left of it.
    huge.set_header("x-huge", Some(&"h".repeat(130_500)));
    wire.publish("events", "lamp.lit.v1", &huge).await;
    wire.publish("events", "lamp.lit.v1", &Raw::of(&Lit::new("attic", 1), 1)).await;
    eventually(SOON, || async { ledger.dead_letters().await.len() == 1 }).await;
    let letter = ledger.dead_letters().await.remove(0);
    assert_eq!((letter.body, letter.headers.get("x-huge")), (huge.body, None));
    eventually(SOON, || async { ledger.count("entry").await == 1 }).await;
}

#[tokio::test]
async fn copies_that_a_memory_alarm_holds_back_on_a_private_broker_are_in_nobodys_way() {
    let broker = Broker::private().await;
    let house = House::on(&broker).await;
    let settings = ConsumerSettings { chunk: 4, ..ConsumerSettings::default() };
    let ledger = house.ledger(&Switch::new()).await.with(|kit| kit.consume_with(settings));
    ledger.provision().await;
    let wire = house.wire().await;
    for n in 0..40 {
        let mood = if n % 20 == 1 { Mood::Permanent } else { Mood::Good };
        let event = Lit::with(format!("lamp-{n}"), mood);
        wire.publish("events", "lamp.lit.v1", &Raw::of(&event, 1)).await;
    }
    watermark(&broker, "0.00000001").await;
    let runs = ledger.run_only(&ALL_BUT_THE_PARKER);
    eventually(SOON * 2, || async { ledger.count("entry").await == 38 }).await;
    eventually(SOON * 2, || async {
        let queue = house.vhost.queue("ledger.in").await.unwrap();
        if queue.unacked == 2 { Ok(()) } else { Err(format!("{} unacked", queue.unacked)) }
    })
    .await;
    eventually(SOON, || async {
        let ill = ledger.kit.vitals().check().err().unwrap_or_default();
        if ill.contains("copies of failed messages of ledger.in wait") { Ok(()) } else { Err(ill) }
    })
    .await;

    watermark(&broker, "0.4").await;
    eventually(SOON * 2, || async { ledger.kit.vitals().check() }).await;
    runs.stop().await;
    assert_eq!(house.vhost.depth("ledger.in").await, Some(0));
    assert_eq!(house.vhost.depth("ledger.dlq").await, Some(2), "each was copied once");
}

/// Sets the node's memory watermark, in its own environment, which says where it is and what opens it. The
/// tool takes its time, and connections send heartbeats meanwhile.
async fn watermark(broker: &Broker, share: &str) {
    let environment = std::fs::read(format!("/proc/{}/environ", broker.pid())).unwrap();
    let variables = environment.split(|byte| *byte == 0).filter_map(|one| {
        let (name, value) = std::str::from_utf8(one).ok()?.split_once('=')?;
        Some((name.to_owned(), value.to_owned()))
    });
    let program = sandbox::rabbitmq::find_scripts().unwrap().join("rabbitmqctl");
    let mut command = Command::new(program);
    command.env_clear().envs(variables).args(["set_vm_memory_high_watermark", share]);
    let done = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}
