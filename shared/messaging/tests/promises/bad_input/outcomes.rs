//! What becomes of a message that may be handled.

use envelope::Envelope;

use super::table::{Answer, Case, Row, good};
use crate::house::{Lit, Mood, Raw, header, signer};

pub fn repeated() -> Vec<Row> {
    let twice = good("twice");
    let mut other = twice.clone();
    let mut envelope = Envelope::decode(&twice.body).unwrap();
    envelope.aggversion = 2;
    other.sign(&signer("lamp"), envelope.to_bytes().unwrap());
    vec![Row::new(
        "Duplicate (source, id), same hash / different hash",
        "ack no-op + metric / park `id_collision`, alert",
        vec![
            Case::handled("once", twice.clone()),
            Case::new("once more", Answer::Acknowledged("duplicate"), twice.clone()),
            Case::parked("another one under its id", "id_collision", other),
            Case::new("and once more", Answer::Acknowledged("duplicate"), twice),
        ],
    )]
}

/// For handlers that ask for order.
pub fn ordered() -> Vec<Row> {
    let version = |n: u32| Raw::of(&Lit::new("stairs", n), n);
    let superseded = Answer::Acknowledged("superseded");
    vec![Row::new(
        "aggversion <= last / = last+1 / > last+1",
        "ack `superseded` / apply / retry, then park `sequence_gap`",
        vec![
            Case::handled("the first version", version(1)),
            Case::handled("the next version", version(2)),
            Case::new("the last version again", superseded, version(2)),
            Case::new("a version before it", superseded, version(1)),
            Case::new("a version too many", Answer::Retried("sequence_gap"), version(4)),
            last("a version that never came", "sequence_gap", version(4)),
        ],
    )]
}

pub fn handlers() -> Vec<Row> {
    let in_mood = |mood: Mood| Raw::of(&Lit::with(format!("{mood:?}"), mood), 1);
    let retried = |name, code, mood| Case::new(name, Answer::Retried(code), in_mood(mood));
    let given_up = |name, code, mood| last(name, code, in_mood(mood));
    vec![
        Row::new(
            "Aggregate unknown here",
            "retry (may be reordering), then park `unknown_aggregate`",
            vec![
                retried("an unknown lamp", "unknown_aggregate", Mood::Stranger),
                given_up("a lamp that stayed unknown", "unknown_aggregate", Mood::Stranger),
            ],
        ),
        Row::new(
            "Business refusal (no stock, card declined)",
            "not an error: refusal event, ack",
            vec![Case::handled("a refusal", in_mood(Mood::Refused))],
        ),
        Row::new(
            "Transient (DB, PSP, lock)",
            "retry ladder, then park `retries_exhausted`",
            vec![
                retried("what may pass later", "retries_exhausted", Mood::Transient),
                retried("a statement that takes too long", "retries_exhausted", Mood::SlowQuery),
                retried("a session that ends", "retries_exhausted", Mood::EndSession),
                given_up("what did not pass later", "retries_exhausted", Mood::Transient),
            ],
        ),
        Row::new("PII key erased", "process with redacted value", vec![])
            .but("no field is sealed yet: that is a later major version of the events"),
        Row::new(
            "Handler panic caught / process abort",
            "retry, counted / broker delivery-limit -> DLQ `delivery_limit`",
            vec![
                retried("a panic", "panicked", Mood::Panic),
                given_up("a panic each time", "panicked", Mood::Panic),
            ],
        )
        .but("what ends the process is in `poison` and `chunks`: it needs processes that die"),
    ]
}

/// A message that comes from the last rung.
fn last(name: &str, code: &'static str, mut raw: Raw) -> Case {
    raw.set_header(&header("attempt"), Some("5"));
    Case::new(name, Answer::GivenUp(code), raw)
}
