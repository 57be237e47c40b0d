//! What a signed message says.

use chrono::{TimeDelta, Utc};
use envelope::{Clock, Envelope};
use lapin::BasicProperties;
use serde_json::{Value, json};

use super::LOGIN;
use super::table::{Case, Row, good, spoiled};
use crate::house::{Dimmed, Raw, identity, signer};

/// A message whose body is these bytes, signed as they are.
pub fn signed_by(service: &str, body: impl Into<Vec<u8>>) -> Raw {
    spoiled("signed", |raw| raw.sign(&signer(service), body.into()))
}

/// A message whose envelope was changed before it was signed.
pub fn enveloped(lamp: &str, change: impl FnOnce(&mut Value)) -> Raw {
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

pub fn shape() -> Vec<Row> {
    vec![
        Row::new(
            "Invalid JSON / UTF-8, depth > 32, duplicate key",
            "park `malformed`",
            malformed(),
        ),
        Row::new(
            "Missing id/source/type/specversion/subject/aggversion; specversion not 1.0",
            "park `envelope_invalid`",
            envelopes(),
        ),
    ]
}

fn malformed() -> Vec<Case> {
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
        Case::parked("nothing", "malformed", signed_by("lamp", "")),
        Case::parked("half an envelope", "malformed", signed_by("lamp", &good[..good.len() / 2])),
        Case::parked("a key that stands twice", "malformed", signed_by("lamp", twice)),
        Case::parked(
            "a key that stands twice inside",
            "malformed",
            signed_by("lamp", inside(r#"{"lamp":"a","lamp":"b","n":1}"#)),
        ),
        // The envelope is the first level.
        Case::parked("nested too deep", "malformed", signed_by("lamp", inside(&deep(32)))),
        Case::parked("nested as deep as may be", "schema_invalid", just),
        Case::parked("bad UTF-8", "malformed", signed_by("lamp", bad_utf8)),
        Case::parked("half a surrogate", "malformed", signed_by("lamp", inside(r#""\ud800""#))),
        Case::parked("more behind the end", "malformed", signed_by("lamp", format!("{good} x"))),
        Case::parked(
            "a byte order mark",
            "malformed",
            signed_by("lamp", format!("\u{feff}{good}")),
        ),
        Case::parked("a bare NaN", "malformed", signed_by("lamp", "NaN")),
    ]
}

fn envelopes() -> Vec<Case> {
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
        .map(|(name, body)| Case::parked(name, "envelope_invalid", signed_by("lamp", body)));
    [missing.to_vec(), changed.to_vec(), others.to_vec()].concat()
}

pub fn mirrors() -> Vec<Row> {
    vec![Row::new(
        "Mirrored header or `message_id`/`user_id` disagrees with signed body",
        "park `header_mismatch`",
        [mirrored_properties(), mirrored_headers()].concat(),
    )]
}

fn mirrored_properties() -> Vec<Case> {
    let with = |change: fn(BasicProperties) -> BasicProperties| {
        spoiled("hall", |raw| raw.properties = change(raw.properties.clone()))
    };
    let nameless = spoiled("hall", |raw| {
        raw.properties = BasicProperties::default()
            .with_content_type(envelope::CONTENT_TYPE.into())
            .with_headers(raw.properties.headers().clone().unwrap());
    });
    [
        ("another message id", with(|all| all.with_message_id(NOBODY.into()))),
        ("a message id that is none", with(|all| all.with_message_id("7\u{0}".into()))),
        ("no message id", nameless),
        ("another type", with(|all| all.with_type("house.lamp.dimmed.v1".into()))),
        ("another correlation id", with(|all| all.with_correlation_id(NOBODY.into()))),
        ("another app id", with(|all| all.with_app_id("ledger".into()))),
        // The broker sees to it that a user id is the publisher's; services send none.
        ("the user id of another", with(|all| all.with_user_id(LOGIN.into()))),
    ]
    .map(|(name, raw)| Case::parked(name, "header_mismatch", raw))
    .into()
}

fn mirrored_headers() -> Vec<Case> {
    let different = [
        ("cloudEvents_id", NOBODY),
        ("cloudEvents_source", "urn:house:test:ledger"),
        ("cloudEvents_type", "house.lamp.dimmed.v1"),
        ("cloudEvents_specversion", "0.3"),
        ("cloudEvents_subject", "lamp/attic"),
        ("traceparent", TRACE),
        ("tracestate", "house=7"),
    ]
    .map(|(name, value)| {
        let raw = spoiled("hall", |raw| raw.set_header(name, Some(value)));
        Case::parked(&format!("another {name}"), "header_mismatch", raw)
    });
    let traced = enveloped("traced", |envelope| envelope["traceparent"] = json!(TRACE));
    let mut another_trace = enveloped("hall", |envelope| envelope["traceparent"] = json!(TRACE));
    another_trace.set_header("traceparent", Some(&TRACE.replace("-01", "-00")));
    let mut agreeing = traced.clone();
    let id = agreeing.id();
    agreeing.properties = agreeing
        .properties
        .with_correlation_id(id.as_str().into())
        .with_app_id("lamp".into())
        .with_timestamp(7);
    for (name, value) in [
        ("cloudEvents_id", id.as_str()),
        ("cloudEvents_source", "urn:house:test:lamp"),
        ("cloudEvents_type", "house.lamp.lit.v1"),
        ("cloudEvents_specversion", "1.0"),
        ("cloudEvents_subject", "lamp/traced"),
        ("traceparent", TRACE),
    ] {
        agreeing.set_header(name, Some(value));
    }
    let mut all = different.to_vec();
    all.push(Case::parked("a trace in another sampling", "header_mismatch", another_trace));
    all.push(Case::handled("mirrors that agree", agreeing));
    all
}

pub fn types() -> Vec<Row> {
    let data = |data: Value| enveloped("typed", |envelope| envelope["data"] = data);
    let newer = enveloped("newer", |envelope| {
        envelope["dataschema"] = json!("urn:house:schema:lamp.lit:1.7");
        envelope["data"]["colour"] = json!({ "warm": true });
        envelope["somethingnew"] = json!("x");
    });
    let dimmed = Raw::of(&Dimmed { lamp: "hall".into(), n: 1 }, 1);
    let mut old_and_unknown = enveloped("old", |envelope| {
        envelope["type"] = json!("house.lamp.dimmed.v1");
        envelope["time"] = json!("2001-01-01T00:00:00Z");
    });
    old_and_unknown.properties =
        old_and_unknown.properties.with_type("house.lamp.dimmed.v1".into());
    let unknown = vec![
        Case::parked("a type that nobody handles", "unknown_type", dimmed),
        Case::parked("a type without a version", "unknown_type", event_of_type("lamp.lit")),
        Case::parked("old and unknown", "unknown_type", old_and_unknown),
    ];
    let next = event_of_type("lamp.lit.v2");
    let wrong = vec![
        Case::parked("data of no shape", "schema_invalid", data(json!({}))),
        Case::parked("data of another shape", "schema_invalid", data(json!({"lamp": 1, "n": "x"}))),
        Case::parked("data that is null", "schema_invalid", data(json!(null))),
    ];
    vec![
        Row::new("Unknown `type`", "park `unknown_type` (a binding bug: alert)", unknown),
        Row::new(
            "Known type, unknown major",
            "park `unsupported_version`",
            vec![Case::parked("the next major version", "unsupported_version", next)],
        ),
        Row::new(
            "Newer minor: extra optional fields",
            "accept, ignore extras",
            vec![Case::handled("the next minor version", newer)],
        ),
        Row::new("`data` fails schema for its version", "park `schema_invalid`", wrong),
    ]
}

pub fn times() -> Vec<Row> {
    let at = |lamp: &str, ahead: TimeDelta| {
        let time = Utc::now() + ahead;
        enveloped(lamp, |envelope| envelope["time"] = json!(time.to_rfc3339()))
    };
    let (day, minute) = (TimeDelta::days(1), TimeDelta::minutes(1));
    let ahead = vec![
        Case::parked("two days ahead", "time_in_future", at("hall", day * 2)),
        Case::parked("a little more than a day ahead", "time_in_future", at("hall", day + minute)),
        Case::handled("a little less than a day ahead", at("ahead", day - minute)),
        Case::handled("six minutes ahead", at("skewed", minute * 6)),
        Case::handled("four minutes ahead", at("nearly", minute * 4)),
    ];
    let old = vec![
        Case::parked("older than the inbox", "stale", at("hall", day * -30 - minute)),
        Case::handled("nearly as old", at("old", day * -30 + minute)),
    ];
    vec![
        Row::new(
            "`expirytime` passed (commands only)",
            "ack, record `expired`, emit rejection event",
            vec![],
        )
        .but("events tell what has happened and do not expire; there are no commands"),
        Row::new("`time` > 5 min ahead", "process, flag `clock_skew`; > 24 h ahead: park", ahead),
        Row::new("Older than inbox retention", "park `stale`", old),
    ]
}

const NOBODY: &str = "01920000-0000-7000-8000-000000000001";
const TRACE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
