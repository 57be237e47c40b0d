//! Messages with several faults at once: the first check that one fails gives the code. What the table
//! of bad input says of each fault alone is asked over a real broker, in `tests/promises`.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use envelope::signature::{KeyDocument, KeyState, PublicKey, Signer, signature_to_text};
use envelope::{Event, Subject};
use proptest::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::json;
use uuid::Uuid;

use super::*;
use crate::handler::{Handler, HandlerResult, Received};
use crate::tx::Tx;

#[derive(Debug, Clone, Serialize, Deserialize)]
struct LampLit {
    lamp: String,
}

impl Event for LampLit {
    const TYPE: &'static str = "lamp.lit.v1";

    fn subject(&self) -> Subject {
        Subject::new("lamp", &self.lamp)
    }
}

struct Ignore;

impl Handler<LampLit> for Ignore {
    async fn handle(&self, _: &mut Tx, _: Received<LampLit>) -> HandlerResult {
        Ok(())
    }
}

/// What can be wrong, in the order in which it must be found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wrong {
    Size,
    ContentType,
    NoSuite,
    ShortSignature,
    UnknownKey,
    RevokedKey,
    FlippedBit,
    NotJson,
    /// Only an envelope that can be read says whose it is.
    Specversion,
    Source,
    MessageId,
    Type,
    Major,
    Data,
    FarAhead,
}

const ALL: [(Wrong, Code); 15] = [
    (Wrong::Size, Code::Oversize),
    (Wrong::ContentType, Code::BadContentType),
    (Wrong::NoSuite, Code::Unsigned),
    (Wrong::ShortSignature, Code::BadSignature),
    (Wrong::UnknownKey, Code::UnknownKey),
    (Wrong::RevokedKey, Code::RevokedKey),
    (Wrong::FlippedBit, Code::BadSignature),
    (Wrong::NotJson, Code::Malformed),
    (Wrong::Specversion, Code::EnvelopeInvalid),
    (Wrong::Source, Code::NotAuthorised),
    (Wrong::MessageId, Code::HeaderMismatch),
    (Wrong::Type, Code::UnknownType),
    (Wrong::Major, Code::UnsupportedVersion),
    (Wrong::Data, Code::SchemaInvalid),
    (Wrong::FarAhead, Code::TimeInFuture),
];

const NOW: DateTime<Utc> = DateTime::UNIX_EPOCH;

fn signer(kid: &str) -> Signer {
    Signer::from_seed(kid, [u8::try_from(kid.len()).unwrap(); 32])
}

fn intake() -> Intake {
    let lamps = Identity::new("shop", "test", "lamp");
    let good = signer("lamp-1").public_for(&lamps);
    let revoked = PublicKey { state: KeyState::Revoked, ..signer("revoked").public_for(&lamps) };
    Intake {
        identity: Identity::new("shop", "test", "ledger"),
        keys: Arc::new(KeyRing::new(&KeyDocument { keys: vec![good, revoked] }).unwrap()),
        handlers: Arc::new(Handlers::new().on::<LampLit>(Ignore)),
        inbox_retention: TimeDelta::days(30),
    }
}

fn body(wrong: &[Wrong]) -> Vec<u8> {
    let lamps = Identity::new("shop", "test", "lamp");
    let lit = LampLit { lamp: "7".into() };
    let envelope = Envelope::wrap(&lamps, &lit, 1, Uuid::from_u128(7), NOW).unwrap();
    let mut envelope = serde_json::to_value(envelope).unwrap();
    // Two of them change the type; the first of them counts.
    for wrong in wrong.iter().rev() {
        let (name, value) = match wrong {
            Wrong::Specversion => ("specversion", json!("2.0")),
            Wrong::Source => ("source", json!("urn:shop:test:ledger")),
            Wrong::Type => ("type", json!("shop.lamp.bought.v1")),
            Wrong::Major => ("type", json!("shop.lamp.lit.v2")),
            Wrong::Data => ("data", json!({"lamp": 7})),
            Wrong::FarAhead => ("time", json!("1970-01-02T00:00:01Z")),
            _ => continue,
        };
        envelope[name] = value;
    }
    let mut body = envelope.to_string().into_bytes();
    if wrong.contains(&Wrong::NotJson) {
        body.pop();
    }
    if wrong.contains(&Wrong::Size) {
        body.resize(MAX_BODY + 1, b' ');
    }
    body
}

fn delivery(wrong: &[Wrong]) -> Delivery {
    let is = |one| wrong.contains(&one);
    let mut body = body(wrong);
    let kid = match () {
        () if is(Wrong::UnknownKey) => "nobody's",
        () if is(Wrong::RevokedKey) => "revoked",
        () => "lamp-1",
    };
    let mut signature = signature_to_text(&signer(kid).sign(&body));
    if is(Wrong::ShortSignature) {
        signature.truncate(20);
    }
    if is(Wrong::FlippedBit) {
        body[1] ^= 1;
    }
    let suite = (!is(Wrong::NoSuite)).then_some(("sigver", SUITE.to_owned()));
    let headers = [("sig", signature), ("kid", kid.to_owned())].into_iter().chain(suite);
    let headers: BTreeMap<_, _> =
        headers.map(|(what, text)| (format!("x-shop-{what}"), text)).collect();
    let id = if is(Wrong::MessageId) { 8 } else { 7 };
    let content_type = if is(Wrong::ContentType) { "application/json" } else { CONTENT_TYPE };
    Delivery {
        tag: 1,
        body,
        content_type: Some(content_type.to_owned()),
        message_id: Some(Uuid::from_u128(id).to_string()),
        type_name: None,
        correlation_id: None,
        app_id: None,
        timestamp: None,
        user_id: None,
        headers,
        attempts: 0,
        first_failed_at: None,
        redelivered: false,
    }
}

fn expected(wrong: &[Wrong]) -> Option<Code> {
    let found = |(one, _): &&(Wrong, Code)| wrong.contains(one);
    ALL.iter().find(found).map(|(_, code)| *code)
}

proptest! {
    #[test]
    fn the_first_check_that_fails_gives_the_code(
        wrong in prop::sample::subsequence(ALL.map(|(wrong, _)| wrong).to_vec(), 0..5),
        beside in prop::collection::vec(any::<prop::sample::Index>(), 0..3),
    ) {
        // In company, as signatures are verified together.
        let alone = |index: prop::sample::Index| vec![ALL[index.index(ALL.len())].0];
        let all: Vec<_> = [wrong, vec![]].into_iter().chain(beside.into_iter().map(alone)).collect();
        let deliveries: Vec<Delivery> = all.iter().map(|wrong| delivery(wrong)).collect();
        let verdicts = intake().judge(&deliveries, NOW);
        let codes: Vec<_> = verdicts.into_iter().map(|v| v.err().map(|fault| fault.code)).collect();
        let expected: Vec<_> = all.iter().map(|wrong| expected(wrong)).collect();
        prop_assert_eq!(codes, expected, "{:?}", all);
    }
}

#[test]
fn what_agrees_with_the_signed_body_is_taken_and_what_differs_is_not() {
    type Mirror = fn(&mut Delivery, &str);
    let id = Uuid::from_u128(7).to_string();
    let mirrors: [(Mirror, &str, &str); 4] = [
        (|delivery, text| delivery.user_id = Some(text.to_owned()), "lamp", "ledger"),
        (|delivery, text| delivery.app_id = Some(text.to_owned()), "lamp", "ledger"),
        (|delivery, text| delivery.correlation_id = Some(text.to_owned()), &id, "7"),
        (|delivery, text| delivery.type_name = Some(text.to_owned()), "shop.lamp.lit.v1", "lamp"),
    ];
    for (set, agrees, differs) in mirrors {
        for (text, expected) in [(agrees, None), (differs, Some(Code::HeaderMismatch))] {
            let mut delivery = delivery(&[]);
            set(&mut delivery, text);
            let verdict = intake().judge(&[delivery], NOW).remove(0);
            assert_eq!(verdict.err().map(|fault| fault.code), expected, "{text}");
        }
    }
}
