//! What can be said of a message without reading it.

use envelope::MAX_BODY;
use lapin::BasicProperties;
use lapin::types::FieldTable;
use serde_json::json;

use super::inside::{enveloped, signed_by};
use super::table::{Case, Row, good, spoiled};
use crate::house::{Raw, header, signer};

pub fn rows() -> Vec<Row> {
    vec![
        Row::new(
            "Body > 64 KiB (CloudEvents size rule)",
            "park `oversize`, do not parse",
            oversize(),
        ),
        Row::new(
            "content_type not `application/cloudevents+json`",
            "park `bad_content_type`",
            content_types(),
        ),
        Row::new(
            "Signature header missing / malformed / unknown kid / revoked kid",
            "park `unsigned` / `bad_signature` / `unknown_key` / `revoked_key`, security alert, body \
             not parsed",
            signature_headers(),
        ),
        Row::new(
            "Signature does not verify (1 bit flipped in body)",
            "park `bad_signature`",
            signatures(),
        ),
        Row::new(
            "Key not owner of `source`, or not allowed for `type`",
            "park `not_authorised`",
            authority(),
        ),
    ]
}

/// A body of exactly this many bytes.
fn of_size(size: usize) -> Raw {
    let bare = good("").body.len();
    enveloped("", |envelope| envelope["data"]["lamp"] = json!("x".repeat(size - bare)))
}

fn oversize() -> Vec<Case> {
    vec![
        Case::parked("a byte too large", "oversize", of_size(MAX_BODY + 1)),
        Case::handled("as large as may be", of_size(MAX_BODY)),
        Case::parked(
            "large and unsigned",
            "oversize",
            Raw { properties: BasicProperties::default(), body: vec![b'x'; MAX_BODY * 4] },
        ),
        // No JSON, and signed: it is not looked at.
        Case::parked(
            "large, signed and no JSON",
            "oversize",
            signed_by("lamp", vec![b'x'; MAX_BODY + 1]),
        ),
    ]
}

fn content_type(properties: &BasicProperties, content_type: Option<&str>) -> BasicProperties {
    let bare = BasicProperties::default()
        .with_message_id(properties.message_id().clone().unwrap())
        .with_type(properties.kind().clone().unwrap())
        .with_headers(properties.headers().clone().unwrap());
    content_type.map_or(bare.clone(), |text| bare.with_content_type(text.into()))
}

fn content_types() -> Vec<Case> {
    let typed = |text: Option<&str>| {
        spoiled("typed", |raw| raw.properties = content_type(&raw.properties, text))
    };
    vec![
        Case::parked("plain JSON", "bad_content_type", typed(Some("application/json"))),
        Case::parked("no content type", "bad_content_type", typed(None)),
        Case::parked(
            "a content type with a parameter",
            "bad_content_type",
            typed(Some("application/cloudevents+json; charset=utf-8")),
        ),
    ]
}

/// The body is no JSON: whoever read it would park it under another code.
fn unread(spoil: impl FnOnce(&mut Raw)) -> Raw {
    let mut raw = signed_by("lamp", "{");
    spoil(&mut raw);
    raw
}

fn signature_headers() -> Vec<Case> {
    let with = |what: &str, value: Option<&str>| unread(|raw| raw.set_header(&header(what), value));
    let short = &good("x").header(&header("sig")).unwrap()[..84];
    let nothing_else = Raw {
        properties: content_type(&good("x").properties, Some(envelope::CONTENT_TYPE))
            .with_headers(FieldTable::default()),
        body: Vec::new(),
    };
    let mut short_of_nobody = signed_by("nobody", "{");
    short_of_nobody.set_header(&header("sig"), Some(short));
    let suite = with("sigver", Some("hmac-sha256-1"));
    vec![
        Case::parked("no signature", "unsigned", with("sig", None)),
        Case::parked("no key id", "unsigned", with("kid", None)),
        Case::parked("no suite", "unsigned", with("sigver", None)),
        Case::parked("nothing but a content type", "unsigned", nothing_else),
        Case::parked("a short signature", "bad_signature", with("sig", Some(short))),
        Case::parked("a signature that is no base64", "bad_signature", with("sig", Some("%%%"))),
        Case::parked("an empty signature", "bad_signature", with("sig", Some(""))),
        Case::parked("another suite", "bad_signature", suite),
        Case::parked("a short signature of nobody", "bad_signature", short_of_nobody),
        Case::parked("a key that nobody knows", "unknown_key", signed_by("nobody", "{")),
        Case::parked("a key that was revoked", "revoked_key", signed_by("old", "{")),
    ]
}

fn signatures() -> Vec<Case> {
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
    vec![
        Case::parked("a flipped bit", "bad_signature", flipped),
        Case::parked("a signature by another key", "bad_signature", another_key),
    ]
}

fn authority() -> Vec<Case> {
    let foreign_source = spoiled("forged", |raw| {
        let body = raw.body.clone();
        raw.sign(&signer("ledger"), body);
    });
    let foreign_type = enveloped("forged", |e| e["type"] = json!("house.ledger.booked.v1"));
    let elsewhere = enveloped("forged", |e| e["source"] = json!("urn:house:prod:lamp"));
    vec![
        Case::parked("a source of another service", "not_authorised", foreign_source),
        Case::parked("a type of another service", "not_authorised", foreign_type),
        Case::parked("a source of another environment", "not_authorised", elsewhere),
    ]
}
