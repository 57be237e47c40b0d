//! The topology: made once, reported, never changed behind anybody's back.

use lapin::options::QueueDeclareOptions;
use lapin::types::FieldTable;
use messaging::transport::TransportError;
use messaging::transport::rabbitmq::RabbitMq;
use messaging::{Handlers, Messaging};
use reqwest::Method;
use serde_json::json;
use testkit::eventually;

use crate::house::{Book, House, Lit, NAMESPACE, Raw, SOON, Switch};

#[tokio::test]
async fn what_is_made_is_reported_and_the_second_time_nothing_is_made() {
    let house = House::new().await;
    let ledger = house.ledger(&Switch::new()).await;
    let made = ledger.kit.provision().await.unwrap();
    for expected in [
        "exchange events",
        "exchange retry",
        "exchange requeue",
        "exchange dead-letters",
        "queue ledger.in",
        "queue ledger.dlq",
        "queue ledger.retry.1s",
        "queue ledger.retry.10m",
        "binding events -lamp.lit.v1-> ledger.in",
    ] {
        assert!(made.iter().any(|one| one == expected), "{expected} in {made:#?}");
    }
    assert_eq!(house.vhost.queues().await.len(), 7);
    assert!(ledger.kit.provision().await.unwrap().is_empty());

    let lamp = house.lamp().await;
    assert!(lamp.kit.provision().await.unwrap().is_empty(), "who consumes nothing needs no queue");
    assert_eq!(house.vhost.queues().await.len(), 7);
}

#[tokio::test]
async fn a_queue_with_other_arguments_is_reported_with_the_difference_and_left_alone() {
    let house = House::new().await;
    house.lamp().await.kit.provision().await.unwrap();
    let wire = house.wire().await;
    let classic = QueueDeclareOptions { durable: true, ..Default::default() };
    let declare = wire.channel.queue_declare("ledger.in".into(), classic, FieldTable::default());
    declare.await.unwrap();
    wire.bind("ledger.in", "lamp.lit.v1").await;
    wire.publish("events", "lamp.lit.v1", &Raw::of(&Lit::new("hall", 1), 1)).await;

    let ledger = house.ledger(&Switch::new()).await;
    let error = ledger.kit.provision().await.unwrap_err();
    assert!(matches!(error, TransportError::Topology(_)));
    let text = error.to_string();
    for part in
        ["ledger.in exists", "inequivalent arg", "nothing was changed", "run the migration again"]
    {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert_eq!(wire.get("ledger.in").await.unwrap().version().0, "lamp/hall");
    let queue = queue_details(&house, "ledger.in").await;
    assert_eq!(queue["type"], "classic");
}

#[tokio::test]
async fn an_exchange_of_another_kind_is_reported() {
    let house = House::new().await;
    let wire = house.wire().await;
    let options = lapin::options::ExchangeDeclareOptions { durable: true, ..Default::default() };
    let kind = lapin::ExchangeKind::Fanout;
    let declare =
        wire.channel.exchange_declare("events".into(), kind, options, FieldTable::default());
    declare.await.unwrap();
    let error = house.lamp().await.kit.provision().await.unwrap_err().to_string();
    assert!(error.contains("events exists") && error.contains("fanout"), "{error}");
}

#[tokio::test]
async fn a_queue_that_is_deleted_under_its_consumer_is_reported_and_used_again_when_it_is_back() {
    let house = House::new().await;
    let (ledger, _runs) = house.running_ledger(&Switch::new()).await;
    eventually(SOON, || async { ledger.kit.vitals().check() }).await;
    for round in 0..3 {
        house.vhost.delete_queue("ledger.in").await;
        eventually(SOON, || async {
            let ill = ledger.kit.vitals().check().err().unwrap_or_default();
            if ill.contains("no queue 'ledger.in'") { Ok(()) } else { Err(ill) }
        })
        .await;
        let made = ledger.kit.provision().await.unwrap();
        assert!(made.contains(&"queue ledger.in".to_owned()), "{made:?}");
        assert!(made.contains(&"binding events -lamp.lit.v1-> ledger.in".to_owned()), "{made:?}");
        eventually(SOON, || async { ledger.kit.vitals().check() }).await;
        let event = Lit::new(format!("lamp-{round}"), 1);
        house.wire().await.publish("events", "lamp.lit.v1", &Raw::of(&event, 1)).await;
        eventually(SOON, || async { ledger.effects().await.len() == round + 1 }).await;
    }
}

#[tokio::test]
async fn a_running_service_needs_no_right_to_configure() {
    let house = House::new().await;
    let ledger = house.ledger(&Switch::new()).await;
    let lamp = house.lamp().await;
    ledger.kit.provision().await.unwrap();
    let write = "^(events|retry|dead-letters)$";
    let url = user(&house, "ledger", write, "^ledger\\.(in|dlq)$").await;
    let handlers = Handlers::new().on(Book(Switch::new()));
    let transport = RabbitMq::new(url, "ledger", NAMESPACE);
    let confined = Messaging::new(ledger.pool.clone(), transport, house.key_ring(), handlers);
    let confined = ledger.with(|_| confined);
    let url = user(&house, "lamp", "^events$", "^$").await;
    let transport = RabbitMq::new(url, "lamp", NAMESPACE);
    let sender = Messaging::new(lamp.pool.clone(), transport, house.key_ring(), Handlers::new());
    let lamp = lamp.with(|_| sender);
    let (_ledger_runs, _lamp_runs) = (confined.run(), lamp.run());

    lamp.tell(&Lit::new("hall", 1), 1).await;
    lamp.tell(&Lit::with("bad", crate::house::Mood::Permanent), 1).await;
    lamp.tell(&Lit::with("later", crate::house::Mood::Transient), 1).await;
    eventually(SOON, || async { confined.effects().await.len() == 1 }).await;
    eventually(SOON, || async { confined.dead_letters().await.len() == 1 }).await;
    let wire = house.wire().await;
    wire.take("ledger.retry.5s", 1).await;
    let error = confined.kit.provision().await.err().map(|error| error.to_string());
    assert!(error.unwrap_or_default().contains("refused"), "it has no such right");
}

/// A user of the vhost's own; returns its address.
async fn user(house: &House, name: &str, write: &str, read: &str) -> String {
    let vhost = house.vhost.name();
    let login = format!("{vhost}-{name}");
    let management = house.vhost.management();
    let user = json!({ "password": "p", "tags": "" });
    management.call(Method::PUT, &["users", &login], Some(user)).await.unwrap();
    let rights = json!({ "configure": "^$", "write": write, "read": read });
    management.call(Method::PUT, &["permissions", vhost, &login], Some(rights)).await.unwrap();
    let (_, rest) = house.vhost.amqp_url().split_once('@').unwrap();
    format!("amqp://{login}:p@{rest}")
}

async fn queue_details(house: &House, queue: &str) -> serde_json::Value {
    let path = ["queues", house.vhost.name(), queue];
    house.vhost.management().call(Method::GET, &path, None).await.unwrap().unwrap()
}
