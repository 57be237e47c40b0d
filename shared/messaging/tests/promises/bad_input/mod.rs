//! Bad input over the real broker: every row of the table gets exactly its answer, and all the good
//! traffic around it is handled.

mod inside;
mod outcomes;
mod outside;
mod table;

use std::collections::BTreeMap;

use lapin::uri::AMQPUri;
use messaging::Handlers;
use testkit::eventually;

use crate::house::{
    Book, Dimmed, House, Library, Lit, Raw, Relight, Running, SOON, Service, Switch, Wire, counted,
};
use table::{Answer, Case, Row};

/// Which case a message is, on the outside only.
const CASE: &str = "x-case";
/// Stands for the name that the test is logged in under.
const LOGIN: &str = "login";

/// Sends each case with a good message after it, straight into the ledger's queue: a binding would
/// keep out what is not addressed to it.
async fn send(house: &House, wire: &Wire, cases: &[Case]) {
    let login = house.vhost.amqp_url().parse::<AMQPUri>().unwrap().authority.userinfo.username;
    for (n, case) in cases.iter().enumerate() {
        let mut raw = case.raw.clone();
        raw.set_header(CASE, Some(&case.name));
        if raw.properties.user_id().as_ref().is_some_and(|user| user.as_str() == LOGIN) {
            raw.properties = raw.properties.with_user_id(login.as_str().into());
        }
        wire.publish("requeue", "ledger.in", &raw).await;
        let good = Lit::new(format!("good-{n}"), 1);
        wire.publish("events", "lamp.lit.v1", &Raw::of(&good, 1)).await;
    }
}

/// What became of each case that was parked: its code, and its attempts.
async fn parked(ledger: &Service) -> BTreeMap<String, (String, i32)> {
    let letters = ledger.dead_letters().await;
    let case = |headers: &serde_json::Value| headers[CASE].as_str().unwrap_or("?").to_owned();
    letters
        .into_iter()
        .map(|letter| (case(&letter.headers), (letter.reason_code, letter.attempts)))
        .collect()
}

async fn running(house: &House, handlers: Handlers) -> (Service, Running, Wire) {
    let ledger = Service::new(house, "ledger", handlers).await;
    ledger.provision().await;
    let runs = ledger.run();
    (ledger, runs, house.wire().await)
}

/// What the answers of the table come to.
#[derive(Debug, Default, PartialEq, Eq)]
struct Outcome {
    /// By case: code and attempts.
    parked: BTreeMap<String, (String, i32)>,
    /// By case: code and attempts.
    retried: BTreeMap<String, (String, i32)>,
    /// How often each lamp took effect, those of good messages included.
    effects: BTreeMap<String, usize>,
}

impl Outcome {
    fn expected(cases: &[Case]) -> Self {
        let mut all = Self::default();
        for (n, case) in cases.iter().enumerate() {
            all.effects.insert(format!("good-{n}"), 1);
            let name = case.name.clone();
            match case.answer {
                Answer::Handled => {
                    let envelope = envelope::Envelope::decode(&case.raw.body).unwrap();
                    let lit: Lit = envelope.data().unwrap();
                    *all.effects.entry(lit.lamp).or_default() += 1;
                }
                Answer::Acknowledged(_) => {}
                Answer::Retried(code) => drop(all.retried.insert(name, (code.to_owned(), 1))),
                Answer::Parked(code) => drop(all.parked.insert(name, (code.to_owned(), 1))),
                Answer::GivenUp(code) => drop(all.parked.insert(name, (code.to_owned(), 6))),
            }
        }
        all
    }
}

/// What rests on the first rung, where it stays.
async fn retried(wire: &Wire) -> BTreeMap<String, (String, i32)> {
    let header = |raw: &Raw, name: &str| raw.header(name).unwrap_or_default();
    let ours = crate::house::header;
    let all = wire.drain("resting").await;
    all.iter()
        .map(|raw| {
            let attempts = header(raw, &ours("attempt")).parse().unwrap();
            (header(raw, CASE), (header(raw, &ours("code")), attempts))
        })
        .collect()
}

async fn judge(handlers: Handlers, rows: Vec<Row>) {
    let house = House::new().await;
    let ledger = Service::new(&house, "ledger", handlers).await;
    ledger.provision().await;
    let wire = house.wire().await;
    wire.divert("ledger.retry.1s", "resting").await;
    let runs = ledger.run();
    let cases: Vec<Case> = rows.into_iter().flat_map(|row| row.cases).collect();
    send(&house, &wire, &cases).await;
    let expected = Outcome::expected(&cases);
    eventually(SOON, || async { ledger.dead_letters().await.len() >= expected.parked.len() }).await;
    house.finish(&ledger, vec![runs]).await;

    let (parked, effects) = (parked(&ledger).await, ledger.effects().await);
    let seen = Outcome { parked, retried: retried(&wire).await, effects };
    assert_eq!(seen, expected);
    for letter in ledger.dead_letters().await {
        let case = cases.iter().find(|case| letter.headers[CASE] == *case.name).unwrap();
        assert_eq!(letter.body, case.raw.body, "{}: not the original bytes", case.name);
        assert_eq!(letter.queue, "ledger.in");
    }
    for outcome in ["duplicate", "superseded"] {
        let answered = |case: &&Case| case.answer == Answer::Acknowledged(outcome);
        let expected = cases.iter().filter(answered).count() as u64;
        let seen = counted(&format!("messages_total{{outcome={outcome}}}"));
        assert!(seen >= expected, "{outcome}: {seen} of {expected}");
    }
    for queue in messaging::retry::LADDER.iter().map(|rung| format!("ledger.retry.{}", rung.name)) {
        assert_eq!(house.vhost.depth(&queue).await, Some(0), "{queue}");
    }
}

fn book() -> Handlers {
    Handlers::new().on(Book(Switch::new()))
}

#[tokio::test]
async fn what_is_too_large_unsigned_or_signed_by_nobody_is_parked_before_it_is_read() {
    judge(book(), outside::rows()).await;
    assert!(counted("parked_total{code=unsigned}") >= 4);
}

#[tokio::test]
async fn what_is_signed_and_is_no_json_or_no_envelope_is_parked_as_such() {
    judge(book(), inside::shape()).await;
}

#[tokio::test]
async fn what_says_another_thing_outside_than_inside_is_parked() {
    judge(book(), inside::mirrors()).await;
}

#[tokio::test]
async fn types_and_versions_are_judged_by_what_is_handled_here() {
    judge(book(), inside::types()).await;
}

#[tokio::test]
async fn what_is_too_old_or_from_the_future_is_parked_and_a_little_ahead_is_remarked() {
    judge(book(), inside::times()).await;
    assert_eq!(counted("clock_skew_total{}"), 2, "a day ahead, less a little, and six minutes");
}

#[tokio::test]
async fn what_comes_again_has_no_effect_and_another_under_its_id_is_parked() {
    judge(book(), outcomes::repeated()).await;
    assert!(counted("inbox_duplicates_total{}") >= 2);
}

#[tokio::test]
async fn versions_are_applied_skipped_or_waited_for_where_order_is_asked_for() {
    let handlers = Handlers::new().on_ordered::<Lit>(Relight).on_ordered::<Dimmed>(Relight);
    judge(handlers, outcomes::ordered()).await;
}

#[tokio::test]
async fn what_a_handler_makes_of_a_message_decides_what_becomes_of_it() {
    judge(book(), outcomes::handlers()).await;
    assert_eq!(counted("messages_total{outcome=retried}"), 5);
}

#[tokio::test]
async fn a_refusal_is_an_event_and_no_error() {
    let house = House::new().await;
    let (ledger, runs, wire) = running(&house, book()).await;
    let refused = Lit::with("hall", crate::house::Mood::Refused);
    wire.publish("events", "lamp.lit.v1", &Raw::of(&refused, 1)).await;
    house.finish(&ledger, vec![runs]).await;
    assert_eq!(ledger.count("messaging.outbox where type = 'house.ledger.declined.v1'").await, 1);
    assert!(ledger.dead_letters().await.is_empty());
}

#[tokio::test]
async fn random_bytes_are_all_parked_and_none_is_lost() {
    let house = House::new().await;
    let (ledger, runs, wire) = running(&house, book()).await;
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
    send(&house, &wire, &noise).await;
    eventually(SOON, || async { ledger.dead_letters().await.len() == 60 }).await;
    house.finish(&ledger, vec![runs]).await;
    for (case, (code, _)) in parked(&ledger).await {
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
    let future = inside::event_of_type("lamp.exploded.v9");
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
