//! Bad input over the real broker: every class of it is parked under its own code, and all the good
//! traffic around it is handled.

mod cases;

use std::collections::BTreeMap;

use messaging::Handlers;
use testkit::eventually;

use crate::house::{
    Book, Dimmed, House, Library, Lit, Raw, Relight, Running, SOON, Service, Switch, Wire, counted,
};
use cases::Case;

/// Which case a message is, on the outside only.
const CASE: &str = "x-case";

/// Sends each case with a good message after it, straight into the ledger's queue: a binding would
/// keep out what is not addressed to it.
async fn send(wire: &Wire, cases: &[Case]) {
    for (n, case) in cases.iter().enumerate() {
        let mut raw = case.raw.clone();
        raw.set_header(CASE, Some(&case.name));
        wire.publish("requeue", "ledger.in", &raw).await;
        let good = Lit::new(format!("good-{n}"), 1);
        wire.publish("events", "lamp.lit.v1", &Raw::of(&good, 1)).await;
    }
}

/// The code under which each case was parked.
async fn codes(ledger: &Service) -> BTreeMap<String, String> {
    let letters = ledger.dead_letters().await;
    let case = |headers: &serde_json::Value| headers[CASE].as_str().unwrap_or("?").to_owned();
    letters.into_iter().map(|letter| (case(&letter.headers), letter.reason_code)).collect()
}

async fn running(house: &House, handlers: Handlers) -> (Service, Running, Wire) {
    let ledger = Service::new(house, "ledger", handlers).await;
    ledger.kit.provision().await.unwrap();
    let runs = ledger.run();
    (ledger, runs, house.wire().await)
}

async fn judge(cases: Vec<Case>) {
    let house = House::new().await;
    let switch = Switch::new();
    let (ledger, runs, wire) = running(&house, Handlers::new().on(Book(switch))).await;
    send(&wire, &cases).await;
    let expected: BTreeMap<String, String> =
        cases.iter().filter_map(|case| Some((case.name.clone(), case.code?.to_owned()))).collect();
    eventually(SOON, || async { ledger.dead_letters().await.len() >= expected.len() }).await;
    house.finish(&ledger, vec![runs]).await;
    assert_eq!(codes(&ledger).await, expected);

    let mut effects = ledger.effects().await;
    for n in 0..cases.len() {
        assert_eq!(effects.remove(&format!("good-{n}")), Some(1), "good-{n}");
    }
    let accepted = cases.iter().filter(|case| case.code.is_none()).count();
    assert_eq!(effects.len(), accepted, "{effects:?}");
    for letter in ledger.dead_letters().await {
        let case = cases.iter().find(|case| letter.headers[CASE] == *case.name).unwrap();
        assert_eq!(letter.body, case.raw.body, "{}: not the original bytes", case.name);
        assert_eq!(letter.attempts, 1, "{}: an attempt was wasted", case.name);
        assert_eq!(letter.queue, "ledger.in");
    }
    for queue in messaging::retry::LADDER.iter().map(|rung| format!("ledger.retry.{}", rung.name)) {
        assert_eq!(house.vhost.depth(&queue).await, Some(0), "{queue}");
    }
}

#[tokio::test]
async fn what_is_too_large_unsigned_or_signed_by_nobody_is_parked_before_it_is_read() {
    judge([cases::outside(), cases::signatures()].concat()).await;
    assert!(counted("parked_total{code=unsigned}") >= 4);
}

#[tokio::test]
async fn what_is_signed_and_is_no_json_is_parked_as_malformed() {
    judge(cases::malformed()).await;
}

#[tokio::test]
async fn what_is_signed_json_and_no_envelope_is_parked_as_such() {
    judge(cases::envelopes()).await;
}

#[tokio::test]
async fn what_says_another_thing_outside_than_inside_is_parked() {
    judge(cases::mirrors()).await;
}

#[tokio::test]
async fn types_and_versions_are_judged_by_what_is_handled_here() {
    judge(cases::types()).await;
}

#[tokio::test]
async fn what_is_too_old_or_from_the_future_is_parked_and_a_little_ahead_is_remarked() {
    judge(cases::times()).await;
    assert!(counted("clock_skew_total{}") >= 1);
}

#[tokio::test]
async fn random_bytes_are_all_parked_and_none_is_lost() {
    let house = House::new().await;
    let (ledger, runs, wire) = running(&house, Handlers::new().on(Book(Switch::new()))).await;
    let clock = envelope::Clock::system();
    let mut noise = Vec::new();
    for n in 0..60 {
        let length = (clock.unit() * 300.0) as usize;
        let body: Vec<u8> = (0..length).map(|_| (clock.unit() * 256.0) as u8).collect();
        let mut raw = Raw::of(&Lit::new("noise", 1), 1);
        if n % 2 == 0 {
            raw.sign(&crate::house::signer("lamp"), body);
        } else {
            raw.body = body;
        }
        noise.push(Case::parked(&format!("noise-{n}"), "", raw));
    }
    send(&wire, &noise).await;
    eventually(SOON, || async { ledger.dead_letters().await.len() == 60 }).await;
    house.finish(&ledger, vec![runs]).await;
    for (case, code) in codes(&ledger).await {
        assert!(["malformed", "bad_signature"].contains(&code.as_str()), "{case}: {code}");
    }
    assert_eq!(ledger.effects().await.len(), 60);
}

#[tokio::test]
async fn a_handler_of_everything_takes_types_it_does_not_know_and_nothing_unsigned() {
    let house = House::new().await;
    let (ledger, runs, wire) = running(&house, Handlers::new().on_any(Library)).await;
    let dimmed = Raw::of(&Dimmed { lamp: "hall".into(), n: 1 }, 1);
    wire.publish("events", "lamp.dimmed.v1", &dimmed).await;
    let mut unsigned = Raw::of(&Dimmed { lamp: "attic".into(), n: 1 }, 1);
    unsigned.set_header(&crate::house::header("sig"), None);
    wire.publish("events", "lamp.dimmed.v1", &unsigned).await;
    let future = cases::event_of_type("lamp.exploded.v9");
    wire.publish("events", "lamp.exploded.v9", &future).await;
    eventually(SOON, || async { ledger.dead_letters().await.len() == 1 }).await;
    let seen = |lamp: &str| (lamp.to_owned(), 1);
    let expected = BTreeMap::from([seen("lamp.dimmed.v1"), seen("lamp.exploded.v9")]);
    eventually(SOON, || async { ledger.effects().await == expected }).await;
    assert_eq!(ledger.dead_letters().await[0].reason_code, "unsigned");
    runs.stop().await;
}

#[tokio::test]
async fn a_handler_in_no_order_takes_versions_as_they_come() {
    let house = House::new().await;
    let handlers = Handlers::new().on::<Lit>(Relight).on::<Dimmed>(Relight);
    let (ledger, _runs, wire) = running(&house, handlers).await;
    for n in [3, 1, 2] {
        wire.publish("events", "lamp.lit.v1", &Raw::of(&Lit::new("hall", n), n)).await;
    }
    eventually(SOON, || async {
        ledger.entries().await.iter().map(|entry| entry.n).collect::<Vec<_>>() == [3, 1, 2]
    })
    .await;
}
