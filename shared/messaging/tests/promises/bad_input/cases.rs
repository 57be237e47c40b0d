//! The table of bad input, row by row.

use chrono::{TimeDelta, Utc};
use envelope::{Clock, Envelope, MAX_BODY};
use lapin::BasicProperties;
use serde_json::{Value, json};

use crate::house::{Dimmed, Lit, Raw, header, identity, signer};

/// A message and the code that it is to be parked under; none when it is to be handled.
#[derive(Clone)]
pub struct Case {
    pub name: String,
    pub code: Option<&'static str>,
    pub raw: Raw,
}

impl Case {
    pub fn parked(name: &str, code: &'static str, raw: Raw) -> Self {
        Self { name: name.to_owned(), code: Some(code), raw }
    }

    pub fn handled(name: &str, raw: Raw) -> Self {
        Self { name: name.to_owned(), code: None, raw }
    }
}

/// A good message that a case spoils.
fn good(lamp: &str) -> Raw {
    Raw::of(&Lit::new(lamp, 1), 1)
}

fn spoiled(lamp: &str, spoil: impl FnOnce(&mut Raw)) -> Raw {
    let mut raw = good(lamp);
    spoil(&mut raw);
    raw
}

/// A message whose body is these bytes, signed as they are.
fn signed(body: impl Into<Vec<u8>>) -> Raw {
    spoiled("signed", |raw| raw.sign(&signer("lamp"), body.into()))
}

/// A message whose envelope was changed before it was signed.
fn enveloped(lamp: &str, change: impl FnOnce(&mut Value)) -> Raw {
    spoiled(lamp, |raw| {
        let mut envelope: Value = serde_json::from_slice(&raw.body).unwrap();
        change(&mut envelope);
        raw.sign(&signer("lamp"), envelope.to_string().into_bytes());
    })
}

/// A signed event of the lamp's, of any type.
pub fn event_of_type(short: &str) -> Raw {
    let mut envelope = Envelope::decode(&good("any").body).unwrap();
    envelope.id = Clock::system().new_id();
    envelope.event_type = identity("lamp").full_type(short);
    Raw::enveloped(&envelope)
}

/// A body of exactly this many bytes.
fn of_size(size: usize) -> Raw {
    let bare = good("").body.len();
    enveloped("", |envelope| envelope["data"]["lamp"] = json!("x".repeat(size - bare)))
}

fn content_type(properties: &BasicProperties, content_type: Option<&str>) -> BasicProperties {
    let bare = BasicProperties::default()
        .with_message_id(properties.message_id().clone().unwrap())
        .with_type(properties.kind().clone().unwrap())
        .with_headers(properties.headers().clone().unwrap());
    content_type.map_or(bare.clone(), |text| bare.with_content_type(text.into()))
}

pub fn outside() -> Vec<Case> {
    let typed = |text: Option<&str>| {
        spoiled("typed", |raw| raw.properties = content_type(&raw.properties, text))
    };
    let without = |what: &str| spoiled("unsigned", |raw| raw.set_header(&header(what), None));
    vec![
        Case::parked("a byte too large", "oversize", of_size(MAX_BODY + 1)),
        Case::handled("as large as may be", of_size(MAX_BODY)),
        Case::parked(
            "large and unsigned",
            "oversize",
            Raw { properties: BasicProperties::default(), body: vec![b'x'; MAX_BODY * 4] },
        ),
        Case::parked("plain JSON", "bad_content_type", typed(Some("application/json"))),
        Case::parked("no content type", "bad_content_type", typed(None)),
        Case::parked(
            "a content type with a parameter",
            "bad_content_type",
            typed(Some("application/cloudevents+json; charset=utf-8")),
        ),
        Case::parked("no signature", "unsigned", without("sig")),
        Case::parked("no key id", "unsigned", without("kid")),
        Case::parked("no suite", "unsigned", without("sigver")),
        Case::parked(
            "nothing but a content type",
            "unsigned",
            Raw {
                properties: content_type(&good("x").properties, Some(envelope::CONTENT_TYPE))
                    .with_headers(lapin::types::FieldTable::default()),
                body: Vec::new(),
            },
        ),
    ]
}

pub fn signatures() -> Vec<Case> {
    let with = |what: &str, value: &str| {
        spoiled("forged", |raw| raw.set_header(&header(what), Some(value)))
    };
    let by = |service: &str| {
        spoiled("forged", |raw| {
            let body = raw.body.clone();
            raw.sign(&signer(service), body);
        })
    };
    let flipped = spoiled("forged", |raw| {
        let at = raw.body.windows(6).position(|part| part == b"forged").unwrap();
        // Still JSON, and another lamp.
        raw.body[at] ^= 1;
    });
    let another_key = spoiled("forged", |raw| {
        let body = raw.body.clone();
        raw.sign(&signer("ledger"), body);
        raw.set_header(&header("kid"), Some("lamp-1"));
    });
    let short = &good("x").header(&header("sig")).unwrap()[..84];
    let foreign_type = enveloped("forged", |e| e["type"] = json!("house.ledger.booked.v1"));
    vec![
        Case::parked("a flipped bit", "bad_signature", flipped),
        Case::parked("a short signature", "bad_signature", with("sig", short)),
        Case::parked("a signature that is no base64", "bad_signature", with("sig", "%%%")),
        Case::parked("an empty signature", "bad_signature", with("sig", "")),
        Case::parked("another suite", "bad_signature", with("sigver", "hmac-sha256-1")),
        Case::parked("a signature by another key", "bad_signature", another_key),
        Case::parked("a short signature of nobody", "bad_signature", {
            let mut raw = by("nobody");
            raw.set_header(&header("sig"), Some(short));
            raw
        }),
        Case::parked("a key that nobody knows", "unknown_key", by("nobody")),
        Case::parked("a key that was revoked", "revoked_key", by("old")),
        Case::parked("a source of another service", "not_authorised", by("ledger")),
        Case::parked("a type of another service", "not_authorised", foreign_type),
        Case::parked(
            "a source of another environment",
            "not_authorised",
            enveloped("forged", |e| e["source"] = json!("urn:house:prod:lamp")),
        ),
    ]
}

pub fn malformed() -> Vec<Case> {
    let good = String::from_utf8(good("hall").body).unwrap();
    let inside = |data: &str| {
        let (head, _) = good.split_once(r#""data":"#).unwrap();
        format!(r#"{head}"data":{data}}}"#)
    };
    let deep = |levels: usize| format!("{}1{}", "[".repeat(levels), "]".repeat(levels));
    let just = enveloped("hall", |e| e["data"] = serde_json::from_str(&deep(31)).unwrap());
    let twice = good.replacen(r#""id":"#, r#""id":"x","id":"#, 1);
    let bad_utf8 = [good.replace("hall", "hal\u{1}").into_bytes()]
        .concat()
        .iter()
        .map(|byte| if *byte == 1 { 0xff } else { *byte })
        .collect::<Vec<u8>>();
    vec![
        Case::parked("nothing", "malformed", signed("")),
        Case::parked("half an envelope", "malformed", signed(&good[..good.len() / 2])),
        Case::parked("a key that stands twice", "malformed", signed(twice)),
        Case::parked(
            "a key that stands twice inside",
            "malformed",
            signed(inside(r#"{"lamp":"a","lamp":"b","n":1}"#)),
        ),
        // The envelope is the first level.
        Case::parked("nested too deep", "malformed", signed(inside(&deep(32)))),
        Case::parked("nested as deep as may be", "schema_invalid", just),
        Case::parked("bad UTF-8", "malformed", signed(bad_utf8)),
        Case::parked("half a surrogate", "malformed", signed(inside(r#""\ud800""#))),
        Case::parked("more behind the end", "malformed", signed(format!("{good} x"))),
        Case::parked("a byte order mark", "malformed", signed(format!("\u{feff}{good}"))),
        Case::parked("a bare NaN", "malformed", signed("NaN")),
    ]
}

pub fn envelopes() -> Vec<Case> {
    let required = [
        "specversion",
        "id",
        "source",
        "type",
        "subject",
        "time",
        "datacontenttype",
        "dataschema",
        "aggversion",
        "partitionkey",
        "correlationid",
        "data",
    ];
    let without = |name: &str| {
        enveloped("hall", |envelope| drop(envelope.as_object_mut().unwrap().remove(name)))
    };
    let missing =
        required.map(|name| Case::parked(&format!("no {name}"), "envelope_invalid", without(name)));
    let changed = [
        ("specversion", json!("1.1")),
        ("id", json!("not an id")),
        ("id", json!(7)),
        ("time", json!("yesterday")),
        ("datacontenttype", json!("text/plain")),
        ("aggversion", json!(0)),
        ("aggversion", json!(-1)),
        ("aggversion", json!("1")),
        ("aggversion", json!(1.5)),
        ("aggversion", json!(5_000_000_000_u64)),
        ("source", json!("urn:house:test:lamp\u{0}")),
        ("subject", json!("")),
        ("subject", json!("x".repeat(256))),
        ("correlationid", json!(null)),
    ]
    .map(|(name, value)| {
        let case = format!("{name} {}", value.to_string().chars().take(40).collect::<String>());
        let raw = enveloped("hall", |envelope| envelope[name] = value);
        Case::parked(&case, "envelope_invalid", raw)
    });
    let others = [("a list", "[]"), ("a text", "\"x\""), ("null", "null"), ("a number", "7")]
        .map(|(name, body)| Case::parked(name, "envelope_invalid", signed(body)));
    [missing.to_vec(), changed.to_vec(), others.to_vec()].concat()
}

pub fn mirrors() -> Vec<Case> {
    let outside =
        |name: &str, value: &str| spoiled("hall", |raw| raw.set_header(name, Some(value)));
    let id = |id: &str| {
        spoiled("hall", |raw| raw.properties = raw.properties.clone().with_message_id(id.into()))
    };
    let kind = spoiled("hall", |raw| {
        raw.properties = raw.properties.clone().with_type("house.lamp.dimmed.v1".into());
    });
    let nameless = spoiled("hall", |raw| {
        raw.properties = BasicProperties::default()
            .with_content_type(envelope::CONTENT_TYPE.into())
            .with_headers(raw.properties.headers().clone().unwrap());
    });
    let agreeing = spoiled("agreeing", |raw| {
        let id = raw.id();
        raw.set_header("cloudEvents_id", Some(&id));
        raw.set_header("cloudEvents_source", Some("urn:house:test:lamp"));
        raw.set_header("cloudEvents_type", Some("house.lamp.lit.v1"));
    });
    let nobody = "01920000-0000-7000-8000-000000000001";
    vec![
        Case::parked("another message id", "header_mismatch", id(nobody)),
        Case::parked("a message id that is none", "header_mismatch", id("7\u{0}")),
        Case::parked("no message id", "header_mismatch", nameless),
        Case::parked("another type", "header_mismatch", kind),
        Case::parked(
            "another id in a header",
            "header_mismatch",
            outside("cloudEvents_id", nobody),
        ),
        Case::parked(
            "another source in a header",
            "header_mismatch",
            outside("cloudEvents_source", "urn:house:test:ledger"),
        ),
        Case::parked(
            "another type in a header",
            "header_mismatch",
            outside("cloudEvents_type", "house.lamp.dimmed.v1"),
        ),
        Case::handled("headers that agree", agreeing),
    ]
}

pub fn types() -> Vec<Case> {
    let data = |data: Value| enveloped("typed", |envelope| envelope["data"] = data);
    let newer = enveloped("newer", |envelope| {
        envelope["dataschema"] = json!("urn:house:schema:lamp.lit:1.7");
        envelope["data"]["colour"] = json!({ "warm": true });
        envelope["somethingnew"] = json!("x");
    });
    let dimmed = Raw::of(&Dimmed { lamp: "hall".into(), n: 1 }, 1);
    let old_and_unknown = enveloped("old", |envelope| {
        envelope["type"] = json!("house.lamp.dimmed.v1");
        envelope["time"] = json!("2001-01-01T00:00:00Z");
    });
    vec![
        Case::parked("a type that nobody handles", "unknown_type", dimmed),
        Case::parked("a type without a version", "unknown_type", event_of_type("lamp.lit")),
        Case::parked("the next major version", "unsupported_version", event_of_type("lamp.lit.v2")),
        Case::handled("the next minor version", newer),
        Case::parked("data of no shape", "schema_invalid", data(json!({}))),
        Case::parked("data of another shape", "schema_invalid", data(json!({"lamp": 1, "n": "x"}))),
        Case::parked("data that is null", "schema_invalid", data(json!(null))),
        Case::parked("old and unknown", "unknown_type", {
            let mut raw = old_and_unknown;
            raw.properties = raw.properties.with_type("house.lamp.dimmed.v1".into());
            raw
        }),
    ]
}

pub fn times() -> Vec<Case> {
    let at = |lamp: &str, ahead: TimeDelta| {
        let time = Utc::now() + ahead;
        enveloped(lamp, |envelope| envelope["time"] = json!(time.to_rfc3339()))
    };
    vec![
        Case::parked("two days ahead", "time_in_future", at("hall", TimeDelta::hours(48))),
        Case::handled("ten minutes ahead", at("skewed", TimeDelta::minutes(10))),
        Case::handled("a minute ahead", at("nearly", TimeDelta::minutes(1))),
        Case::parked("older than the inbox", "stale", at("hall", TimeDelta::days(-31))),
        Case::handled("nearly as old", at("old", TimeDelta::days(-29))),
    ]
}
