//! Messages that a consumer must not handle, one of each kind.

use envelope::signature::{SUITE, Signer, signature_to_text};
use envelope::{CONTENT_TYPE, Envelope, MAX_BODY};
use lapin::BasicProperties;
use lapin::types::{AMQPValue, FieldTable, LongString};
use serde_json::{Value, json};

use super::publish::Message;

const PERSISTENT: u8 = 2;
/// By the queue's name, past all bindings: what a binding keeps out would not be seen at all.
const REQUEUE: &str = "requeue";

/// Who signs the bad ones: one who may, one whose key was withdrawn, one whom nobody knows.
#[derive(Debug)]
pub(crate) struct Signers {
    pub(crate) good: Signer,
    pub(crate) revoked: Signer,
    pub(crate) unknown: Signer,
}

/// One message of every kind that is parked for what it is, made of a good one, straight into a queue.
///
/// # Errors
/// When the good one cannot be written.
pub(crate) fn one_of_each(
    queue: &str,
    good: &Envelope,
    signers: &Signers,
) -> anyhow::Result<Vec<Message>> {
    let body = good.to_bytes()?;
    let value: Value = serde_json::from_slice(&body)?;
    let with = |name: &str, new: Value| {
        let mut changed = value.clone();
        changed[name] = new;
        changed.to_string().into_bytes()
    };
    let mut flipped = signed(queue, good, &signers.good, body.clone());
    if let Some(last) = flipped.body.last_mut() {
        *last ^= 1;
    }
    let plain = signed(queue, good, &signers.good, body.clone());
    let mut untyped = plain.clone();
    untyped.properties = untyped.properties.with_content_type("application/json".into());
    let mut unsigned = plain.clone();
    unsigned.properties = unsigned.properties.with_headers(FieldTable::default());
    let mut misnamed = plain;
    misnamed.properties = misnamed.properties.with_app_id("somebody".into());
    let mut all = vec![flipped, untyped, unsigned, misnamed];
    all.push(signed(queue, good, &signers.revoked, body.clone()));
    all.push(signed(queue, good, &signers.unknown, body.clone()));
    for spoiled in [
        format!("{}{}", good.id, "x".repeat(MAX_BODY)).into_bytes(),
        format!("{{\"id\":\"{}", good.id).into_bytes(),
        with("specversion", json!("0.3")),
        with("aggversion", json!(0)),
        with("source", json!("urn:shop:production:order")),
        with("type", json!("shop.order.forgotten.v1")),
        with("type", json!("shop.order.placed.v2")),
        with("data", json!({ "order_id": 7 })),
        with("time", json!("2001-01-01T00:00:00Z")),
        with("time", json!("2999-01-01T00:00:00Z")),
    ] {
        all.push(signed(queue, good, &signers.good, spoiled));
    }
    Ok(all)
}

/// Any body under a good signature, with what stands outside as the good one has it, but for the type:
/// left out, it cannot be another one than inside.
pub(crate) fn signed(queue: &str, good: &Envelope, signer: &Signer, body: Vec<u8>) -> Message {
    let mut headers = FieldTable::default();
    let signature = signature_to_text(&signer.sign(&body));
    for (name, value) in
        [("x-shop-sig", signature.as_str()), ("x-shop-kid", signer.kid()), ("x-shop-sigver", SUITE)]
    {
        headers.insert(name.into(), AMQPValue::LongString(LongString::from(value)));
    }
    let properties = BasicProperties::default()
        .with_content_type(CONTENT_TYPE.into())
        .with_delivery_mode(PERSISTENT)
        .with_message_id(good.id.to_string().into())
        .with_app_id("order".into())
        .with_headers(headers);
    Message { exchange: REQUEUE, routing_key: queue.to_owned(), properties, body }
}
