//! The topology: made once, reported, never changed behind anybody's back.

use std::collections::BTreeSet;

use lapin::options::QueueDeclareOptions;
use lapin::types::FieldTable;
use messaging::repair::{Asked, Selection};
use messaging::topology::Topology;
use messaging::transport::TransportError;
use messaging::transport::rabbitmq::{Binding, RabbitMq};
use messaging::{Handlers, Messaging};
use reqwest::Method;
use serde_json::json;
use testkit::eventually;

use crate::house::{Book, Dimmed, House, Lit, NAMESPACE, Raw, SOON, Switch};

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
    house.lamp().await.provision().await;
    let wire = house.wire().await;
    let classic = QueueDeclareOptions { durable: true, ..Default::default() };
    // The last that would be made is different, too.
    for queue in ["ledger.in", "ledger.retry.10m"] {
        let declare = wire.channel.queue_declare(queue.into(), classic, FieldTable::default());
        declare.await.unwrap();
    }
    wire.bind("ledger.in", "lamp.lit.v1").await;
    wire.publish("events", "lamp.lit.v1", &Raw::of(&Lit::new("hall", 1), 1)).await;

    let before = house.vhost.queues().await;

    let ledger = house.ledger(&Switch::new()).await;
    let error = ledger.kit.provision().await.unwrap_err();
    assert!(matches!(error, TransportError::Topology(_)));
    let text = error.to_string();
    for part in [
        "ledger.in exists",
        "ledger.retry.10m exists",
        "inequivalent arg",
        "nothing was changed",
        "run the migration again",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert_eq!(house.vhost.queues().await, before, "something was made all the same");
    assert_eq!(wire.get("ledger.in").await.unwrap().version().0, "lamp/hall");
    let queue = queue_details(&house, "ledger.in").await;
    assert_eq!(queue["type"], "classic");
}

#[tokio::test]
async fn services_are_looked_at_together_before_anything_is_made_for_one() {
    let house = House::new().await;
    let topology = |service: &str| Topology {
        service: service.to_owned(),
        bindings: vec!["lamp.lit.v1".to_owned()],
    };
    let classic = QueueDeclareOptions { durable: true, ..Default::default() };
    let wire = house.wire().await;
    let declare = wire.channel.queue_declare("shelf.dlq".into(), classic, FieldTable::default());
    declare.await.unwrap();
    let transport = house.transport("migration");
    let both = [topology("ledger"), topology("shelf")];
    let error = transport.survey(&both).await.err().unwrap().to_string();
    assert!(error.contains("shelf.dlq exists"), "{error}");
    assert_eq!(house.vhost.queues().await, ["shelf.dlq"]);
    assert_eq!(exchanges(&house).await, Vec::<String>::new());

    house.vhost.delete_queue("shelf.dlq").await;
    let survey = transport.survey(&both).await.unwrap();
    assert!(house.vhost.queues().await.is_empty(), "a survey changes nothing");
    let mut made = Vec::new();
    transport.make(&survey, |one| made.push(one)).await.unwrap();
    assert_eq!(made.iter().filter(|one| one.starts_with("queue ")).count(), 14, "{made:?}");
    assert_eq!(house.vhost.queues().await.len(), 14);
}

#[tokio::test]
async fn a_binding_that_is_new_on_a_queue_of_old_is_told_where_bindings_can_be_known() {
    let house = House::new().await;
    let ledger = house.ledger(&Switch::new()).await;
    ledger.provision().await;
    let transport = house.transport("migration");
    let mut wants_more = ledger.kit.topology().clone();
    wants_more.bindings = vec!["lamp.dimmed.v1".to_owned()];
    let there = |exchange: &str, key: &str, queue: &str| Binding {
        exchange: exchange.to_owned(),
        key: key.to_owned(),
        queue: queue.to_owned(),
    };
    let mut bound = BTreeSet::from([
        there("events", "lamp.lit.v1", "ledger.in"),
        there("requeue", "ledger.in", "ledger.in"),
        there("dead-letters", "ledger.dlq", "ledger.dlq"),
        there("events", "lamp.lit.v1", "else.in"),
    ]);
    for rung in wants_more.rungs() {
        let queue = wants_more.retry_queue(*rung);
        bound.insert(there("retry", &queue, &queue));
    }
    let mut survey = transport.survey(std::slice::from_ref(&wants_more)).await.unwrap();
    let unwanted = survey.with_bindings(bound);
    assert_eq!(unwanted, [there("events", "lamp.lit.v1", "ledger.in")]);
    let mut made = Vec::new();
    transport.make(&survey, |one| made.push(one)).await.unwrap();
    assert_eq!(made, ["binding events -lamp.dimmed.v1-> ledger.in"]);
    // Not only told.
    let dimmed = Dimmed { lamp: "hall".into(), n: 1 };
    let wire = house.wire().await;
    wire.publish("events", "lamp.dimmed.v1", &Raw::of(&dimmed, 1)).await;
    assert_eq!(house.vhost.depth("ledger.in").await, Some(1));
}

#[tokio::test]
async fn the_broker_gives_up_on_a_message_after_twenty_deliveries_and_on_a_dead_letter_never() {
    let house = House::new().await;
    house.ledger(&Switch::new()).await.provision().await;
    let limit = async |queue| {
        let details = queue_details(&house, queue).await;
        details["arguments"]["x-delivery-limit"].as_i64()
    };
    assert_eq!(limit("ledger.in").await, Some(20));
    assert_eq!(limit("ledger.dlq").await, Some(i64::from(i32::MAX)));
    assert_eq!(limit("ledger.retry.1s").await, None, "nobody consumes it");
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
    let switch = Switch::new();
    let ledger = house.ledger(&switch).await;
    let lamp = house.lamp().await;
    ledger.provision().await;
    let write = "^(events|retry|requeue|dead-letters)$";
    let url = user(&house, "ledger", write, "^ledger\\.(in|dlq)$").await;
    let handlers = Handlers::new().on(Book(switch.clone()));
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
    switch.heal();
    let asked = Asked { by: "grace", note: "" };
    confined.repair().replay(&Selection::All, 50, asked).await.unwrap().unwrap();
    eventually(SOON, || async { confined.effects().await.len() == 2 }).await;
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

/// Those that are not the broker's own.
async fn exchanges(house: &House) -> Vec<String> {
    let path = ["exchanges", house.vhost.name()];
    let all = house.vhost.management().call(Method::GET, &path, None).await.unwrap().unwrap();
    let names = all.as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap().to_owned());
    names.filter(|name| !name.is_empty() && !name.starts_with("amq.")).collect()
}

async fn queue_details(house: &House, queue: &str) -> serde_json::Value {
    let path = ["queues", house.vhost.name(), queue];
    house.vhost.management().call(Method::GET, &path, None).await.unwrap().unwrap()
}
