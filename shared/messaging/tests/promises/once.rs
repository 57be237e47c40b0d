//! P3: at least once on the wire, exactly one effect in the database.

use envelope::Envelope;
use messaging::Handlers;
use testkit::eventually;

use crate::house::{Book, House, Lit, Raw, SOON, Switch, Wire, one_by_one, signer};

async fn send(wire: &Wire, raw: &Raw) {
    wire.publish("events", "lamp.lit.v1", raw).await;
}

#[tokio::test]
async fn a_message_that_comes_many_times_in_one_chunk_and_across_chunks_has_one_effect() {
    let house = House::new().await;
    let switch = Switch::new();
    let ledger = house.ledger(&switch).await;
    ledger.provision().await;
    let wire = house.wire().await;
    let (hall, attic) = (Raw::of(&Lit::new("hall", 1), 1), Raw::of(&Lit::new("attic", 1), 1));
    // Waiting when the consumer starts, so they come in one chunk.
    for _ in 0..5 {
        send(&wire, &hall).await;
        send(&wire, &attic).await;
    }
    let runs = ledger.run();
    eventually(SOON, || async { ledger.count("entry").await == 2 }).await;
    for _ in 0..5 {
        send(&wire, &attic).await;
        send(&wire, &hall).await;
    }

    house.finish(&ledger, vec![runs]).await;
    let once = ["attic", "hall"].map(|lamp| (lamp.to_owned(), 1));
    assert_eq!(ledger.effects().await, once.into());
    assert!(switch.begun("hall") >= 1 && switch.begun("attic") >= 1);
    assert!(ledger.dead_letters().await.is_empty());
}

#[tokio::test]
async fn two_replicas_that_get_the_same_message_at_once_have_one_effect() {
    let house = House::new().await;
    let switch = Switch::new();
    let gate = switch.gate();
    let one = house.ledger(&switch).await.with(|kit| kit.consume_with(one_by_one()));
    one.provision().await;
    let other = one.replica(&house, Handlers::new().on(Book(switch.clone())));
    let runs = vec![one.run(), other.run()];
    eventually(SOON, || async { figures(&house).await.consumers == 2 }).await;

    let (wire, hall) = (house.wire().await, Raw::of(&Lit::new("hall", 1), 1));
    send(&wire, &hall).await;
    send(&wire, &hall).await;
    eventually(SOON, || async { figures(&house).await.unacked == 2 }).await;
    gate.add_permits(3);

    house.finish(&one, runs).await;
    assert_eq!(one.count("entry").await, 1);
    assert_eq!(switch.begun("hall"), 1, "the second waited for the first's inbox row");
}

async fn figures(house: &House) -> testkit::QueueFigures {
    house.vhost.queue("ledger.in").await.unwrap()
}

#[tokio::test]
async fn another_message_under_a_used_id_is_parked_and_the_first_one_counts() {
    let house = House::new().await;
    let ledger = house.ledger(&Switch::new()).await;
    ledger.provision().await;
    let wire = house.wire().await;
    let hall = Raw::of(&Lit::new("hall", 1), 1);
    let mut other = hall.clone();
    let mut envelope = Envelope::decode(&hall.body).unwrap();
    envelope.aggversion = 2;
    other.sign(&signer("lamp"), envelope.to_bytes().unwrap());
    // In one chunk, and once more when the first one is long stored.
    send(&wire, &hall).await;
    send(&wire, &other).await;
    let runs = ledger.run();
    eventually(SOON, || async { ledger.dead_letters().await.len() == 1 }).await;
    let kept = inbox_hash(&ledger.pg).await;
    send(&wire, &hall).await;
    send(&wire, &other).await;

    house.finish(&ledger, vec![runs]).await;
    assert_eq!(ledger.count("entry").await, 1);
    assert_eq!(inbox_hash(&ledger.pg).await, kept);
    let letters = ledger.dead_letters().await;
    assert!(letters.iter().all(|letter| letter.reason_code == "id_collision"), "{letters:?}");
}

async fn inbox_hash(pg: &sqlx::PgPool) -> Vec<u8> {
    let sql = "select body_sha256 from messaging.inbox order by handled_at limit 1";
    sqlx::query_scalar(sql).fetch_one(pg).await.unwrap()
}

#[tokio::test]
async fn a_relay_whose_unconfirmed_event_another_has_published_is_well_again() {
    let house = House::new().await;
    let lamp = house.lamp().await;
    lamp.provision().await;
    house.wire().await.queue("probe", &["#"]).await;
    lamp.faults.lose_confirms(u32::MAX);
    let runs = lamp.run();
    lamp.tell(&Lit::new("hall", 1), 1).await;
    eventually(SOON, || async {
        let why = lamp.kit.vitals().check().err().unwrap_or_default();
        if why.contains("not confirmed") { Ok(()) } else { Err(why) }
    })
    .await;
    let by_another = "update messaging.outbox set published_at = created_at";
    sqlx::query(by_another).execute(&lamp.pg).await.unwrap();
    eventually(SOON, || async { lamp.kit.vitals().check() }).await;
    runs.stop().await;
}

#[tokio::test]
async fn a_confirm_that_is_lost_makes_a_second_message_with_the_same_id_and_one_effect() {
    let house = House::new().await;
    let lamp = house.lamp().await;
    lamp.provision().await;
    let (ledger, ledger_runs) = house.running_ledger(&Switch::new()).await;
    let wire = house.wire().await;
    wire.queue("probe", &["#"]).await;
    lamp.faults.lose_confirms(2);
    let lamp_runs = lamp.run();

    let id = lamp.tell(&Lit::new("hall", 1), 1).await;

    let told = wire.take("probe", 3).await;
    for raw in &told {
        assert_eq!(raw.id(), id.to_string());
        assert_eq!(raw.body, told[0].body);
    }
    eventually(SOON, || async { lamp.pending().await.is_empty() }).await;
    lamp_runs.stop().await;
    house.finish(&ledger, vec![ledger_runs]).await;
    assert_eq!(ledger.count("entry").await, 1);
    assert_eq!(lamp.count("messaging.outbox where attempts = 0").await, 1, "no attempt was spent");
}

#[tokio::test]
async fn two_replicas_with_the_same_messages_in_opposite_order_do_not_end_in_each_others_way() {
    let house = House::new().await;
    let switch = Switch::new();
    let one = house.ledger(&switch).await;
    one.provision().await;
    let other = one.replica(&house, Handlers::new().on(Book(switch.clone())));
    let spy = house.spy_on_retries().await;
    let wire = house.wire().await;
    let all: Vec<Raw> = (0..150).map(|n| Raw::of(&Lit::new(format!("lamp-{n}"), 1), 1)).collect();
    for raw in all.iter().chain(all.iter().rev()).chain(&all) {
        send(&wire, raw).await;
    }
    let runs = vec![one.run(), other.run()];
    eventually(SOON, || async { one.count("entry").await >= 150 }).await;
    house.finish(&one, runs).await;
    let effects = one.effects().await;
    assert_eq!(effects.len(), 150);
    assert!(effects.values().all(|times| *times == 1), "{effects:?}");
    assert!(spy.drain("spy").await.is_empty(), "an attempt was spent");
}
