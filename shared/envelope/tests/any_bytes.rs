//! Whatever comes over the wire: what is taken means the same when it is written again, and what is
//! not is refused under the code of the first check that it fails.
#![allow(clippy::unwrap_used)]

use chrono::{DateTime, TimeDelta};
use envelope::signature::{
    KeyDocument, KeyRing, Refusal, Signed, Signer, signature_from_text, signature_to_text,
};
use envelope::{DecodeError, Envelope, Event, Identity, MAX_BODY, Subject, check_json};
use proptest::prelude::*;
use proptest::sample::Index;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

#[derive(Debug, Clone, Serialize, Deserialize)]
struct LampLit {
    lamp: String,
    watts: Option<i64>,
    friends: Vec<String>,
}

impl Event for LampLit {
    const TYPE: &'static str = "lamp.lit.v1";

    fn subject(&self) -> Subject {
        Subject::new("lamp", 7)
    }
}

fn envelope() -> impl Strategy<Value = Envelope> {
    let event = (".{0,9}", any::<Option<i64>>(), prop::collection::vec("\\PC{0,5}", 0..3))
        .prop_map(|(lamp, watts, friends)| LampLit { lamp, watts, friends });
    let ids = (any::<u128>(), any::<u128>(), any::<Option<u128>>());
    let version = prop_oneof![1_u32..9, Just(i32::MAX as u32)];
    let trace = prop::option::of("00-[0-9a-f]{32}-[0-9a-f]{16}-01");
    // From 1 to 9999, the years that RFC 3339 can write.
    let time = -62_135_596_800_000_000_i64..253_402_300_800_000_000;
    (event, ids, version, trace, time).prop_map(
        |(event, (id, chain, cause), version, trace, time)| {
            let publisher = Identity::new("shop", "test", "lamps");
            let time = DateTime::from_timestamp_micros(time).unwrap();
            let envelope = Envelope::wrap(&publisher, &event, version, Uuid::from_u128(id), time);
            let state = trace.clone().map(|_| "a=1".to_owned());
            envelope
                .unwrap()
                .caused_by(Uuid::from_u128(chain), cause.map(Uuid::from_u128))
                .traced(trace, state)
        },
    )
}

/// Replaces a few bytes by others.
#[derive(Debug, Clone)]
struct Damage(Index, usize, Vec<u8>);

fn damages() -> impl Strategy<Value = Vec<Damage>> {
    let pieces = vec![
        "",
        "\"",
        ",",
        "{",
        "}",
        "[",
        "]",
        "0",
        "-",
        "\\",
        "\\u0000",
        "\\ud800",
        "\\u0041",
        "null",
        "\"id\":1,",
        "\"data\":{},",
        "\"later\":[1],",
        "99999999999",
        "1e999",
        "\u{feff}",
        "\n",
        "é",
    ];
    let piece = prop::sample::select(pieces).prop_map(|piece| piece.as_bytes().to_vec());
    let piece = prop_oneof![2 => piece, 1 => prop::collection::vec(any::<u8>(), 1..3)];
    let damage =
        (any::<Index>(), 0_usize..3, piece).prop_map(|(at, cut, put)| Damage(at, cut, put));
    prop::collection::vec(damage, 0..3)
}

fn damaged(body: &[u8], damages: &[Damage]) -> Vec<u8> {
    let mut bytes = body.to_vec();
    for Damage(at, cut, put) in damages {
        let at = at.index(bytes.len() + 1);
        let end = bytes.len().min(at + cut);
        bytes.splice(at..end, put.iter().copied());
    }
    bytes
}

/// All of it. A time is written in microseconds, whatever it was read from.
fn assert_same(one: &Envelope, other: &Envelope) {
    assert!((one.time - other.time).abs() < TimeDelta::microseconds(1));
    let with_time = |envelope: &Envelope| Envelope { time: one.time, ..envelope.clone() };
    let (one, other) = (with_time(one), with_time(other));
    assert_eq!(one.to_bytes().unwrap(), other.to_bytes().unwrap());
}

/// The refusal that bytes must meet, as far as another reader can tell. `Ok` says nothing yet.
fn assert_judged(body: &[u8], decoded: &Result<Envelope, DecodeError>) {
    let known = serde_json::from_slice::<Value>(body);
    match decoded {
        Err(DecodeError::Oversize { size }) => {
            assert!(*size == body.len() && *size > MAX_BODY);
        }
        Err(DecodeError::Malformed(_)) => {
            let clean = check_json(body).is_ok();
            assert!(body.len() <= MAX_BODY && !clean);
        }
        Err(DecodeError::Invalid(_)) => assert!(body.len() <= MAX_BODY && known.is_ok()),
        Ok(envelope) => {
            let known = known.unwrap();
            assert_eq!(known["source"], envelope.source);
            assert_eq!(known["type"], envelope.event_type);
            assert_eq!(known["subject"], envelope.subject.as_str());
            assert_eq!(known["aggversion"], envelope.aggversion);
            assert_eq!(known["id"].as_str().unwrap().parse(), Ok(envelope.id));
            assert_eq!(known["data"], envelope.data::<Value>().unwrap());
        }
    }
}

proptest! {
    #[test]
    fn an_envelope_is_read_as_it_was_written(envelope in envelope()) {
        let bytes = envelope.to_bytes().unwrap();
        let again = Envelope::decode(&bytes).unwrap();
        prop_assert_eq!(again.time, envelope.time);
        prop_assert_eq!(again.to_bytes().unwrap(), bytes);
    }

    #[test]
    fn what_is_taken_of_a_damaged_envelope_means_the_same_when_it_is_written_again(
        envelope in envelope(), damages in damages(),
    ) {
        let body = damaged(&envelope.to_bytes().unwrap(), &damages);
        let decoded = Envelope::decode(&body);
        assert_judged(&body, &decoded);
        if let Ok(taken) = decoded {
            assert_same(&Envelope::decode(&taken.to_bytes().unwrap()).unwrap(), &taken);
        }
    }

    #[test]
    fn any_bytes_are_judged(body in prop_oneof![
        prop::collection::vec(any::<u8>(), 0..300),
        "[\\[\\]{}:,\"0-9a-f\\\\ut.eE+ -]{0,60}".prop_map(String::into_bytes),
    ]) {
        let decoded = Envelope::decode(&body);
        assert_judged(&body, &decoded);
        prop_assert!(matches!(decoded, Err(DecodeError::Malformed(_) | DecodeError::Invalid(_))));
    }

    #[test]
    fn size_is_judged_before_anything_is_read(
        envelope in envelope(), garbage in any::<bool>(), over in 0_usize..3,
    ) {
        let mut body = if garbage { b"{".to_vec() } else { envelope.to_bytes().unwrap() };
        body.resize(MAX_BODY + over, b' ');
        match Envelope::decode(&body) {
            Err(DecodeError::Oversize { .. }) => prop_assert!(over > 0),
            Err(DecodeError::Malformed(_)) => prop_assert!(over == 0 && garbage),
            other => prop_assert!(over == 0 && !garbage && other.is_ok()),
        }
    }

    #[test]
    fn a_key_that_stands_twice_is_malformed_wherever_it_stands(
        envelope in envelope(), name in any::<Index>(), inside in any::<bool>(),
    ) {
        let mut value = serde_json::to_value(&envelope).unwrap();
        let names: Vec<String> = value.as_object().unwrap().keys().cloned().collect();
        let name = &names[name.index(names.len())];
        let again = value[name].clone();
        let twice = format!("{{\"{name}\":{again},");
        let body = if inside {
            value["data"] = serde_json::json!("here");
            value.to_string().replacen("\"here\"", &(twice + &format!("\"{name}\":1}}")), 1)
        } else {
            value.to_string().replacen('{', &twice, 1)
        };
        prop_assert!(matches!(Envelope::decode(body.as_bytes()), Err(DecodeError::Malformed(_))));
    }

    #[test]
    fn a_signature_holds_for_the_very_bytes_and_for_no_others(
        envelope in envelope(), damages in damages(), flip in any::<Index>(), bit in 0_u32..8,
    ) {
        let signer = Signer::from_seed("lamps-1", [7; 32]);
        let key = signer.public_for(&Identity::new("shop", "test", "lamps"));
        let ring = KeyRing::new(&KeyDocument { keys: vec![key] }).unwrap();
        let body = envelope.to_bytes().unwrap();
        let signature = signer.sign(&body);
        let verify = |body: &[u8], signature: &[u8; 64]| {
            ring.verify(Signed { body, signature, kid: "lamps-1" })
        };
        let other = damaged(&body, &damages);
        let expected = if other == body { Ok(()) } else { Err(Refusal::BadSignature) };
        prop_assert_eq!(verify(&other, &signature), expected);
        for at in [0, flip.index(body.len()), body.len() - 1] {
            let mut other = body.clone();
            other[at] ^= 1 << bit;
            prop_assert_eq!(verify(&other, &signature), Err(Refusal::BadSignature));
        }
        let mut forged = signature;
        forged[flip.index(64)] ^= 1 << bit;
        prop_assert_eq!(verify(&body, &forged), Err(Refusal::BadSignature));
    }

    #[test]
    fn a_signature_has_one_text(
        bytes in prop::collection::vec(any::<u8>(), 64), text in "[A-Za-z0-9_=-]{0,4}|[A-Za-z0-9_-]{85,87}|.{86}",
    ) {
        let signature: [u8; 64] = bytes.try_into().unwrap();
        prop_assert_eq!(signature_from_text(&signature_to_text(&signature)), Ok(signature));
        match signature_from_text(&text) {
            Ok(signature) => prop_assert_eq!(signature_to_text(&signature), text),
            Err(refusal) => prop_assert_eq!(refusal, Refusal::BadSignature),
        }
    }
}
