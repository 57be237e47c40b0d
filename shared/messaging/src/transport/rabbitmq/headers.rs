//! Between our messages and AMQP properties and headers.

use std::collections::BTreeMap;

use chrono::{DateTime, SecondsFormat, Utc};
use envelope::CONTENT_TYPE;
use envelope::signature::{SUITE, signature_to_text};
use lapin::BasicProperties;
use lapin::message::Delivery as AmqpDelivery;
use lapin::types::{AMQPValue, FieldTable, LongString, ShortString};

use super::super::{Delivery, Failure, Outgoing};

const PERSISTENT: u8 = 2;

/// The names of our headers, which carry the system's own: `x-shop-sig`.
pub(crate) struct Names<'a>(pub(crate) &'a str);

impl Names<'_> {
    pub(crate) fn header(&self, what: &str) -> String {
        format!("x-{}-{what}", self.0)
    }
}

fn text(value: &str) -> AMQPValue {
    AMQPValue::LongString(LongString::from(value.to_owned()))
}

/// Properties of an event's first and every later publish.
pub(crate) fn of_event(message: &Outgoing<'_>) -> BasicProperties {
    let names = Names(message.namespace);
    let mut headers = FieldTable::default();
    let mut put = |name: String, value: &str| {
        headers.insert(ShortString::from(name), text(value));
    };
    if let Ok(signature) = <&[u8; 64]>::try_from(message.signature) {
        put(names.header("sig"), &signature_to_text(signature));
    }
    put(names.header("kid"), message.key_id);
    put(names.header("sigver"), SUITE);
    if let Some(traceparent) = message.traceparent {
        put("traceparent".into(), traceparent);
    }
    if let Some(tracestate) = message.tracestate {
        put("tracestate".into(), tracestate);
    }
    BasicProperties::default()
        .with_content_type(CONTENT_TYPE.into())
        .with_delivery_mode(PERSISTENT)
        .with_message_id(message.id.to_string().into())
        .with_correlation_id(message.correlation_id.to_string().into())
        .with_type(message.full_type.into())
        .with_app_id(message.service.into())
        .with_timestamp(u64::try_from(message.created_at.timestamp()).unwrap_or(0))
        .with_headers(headers)
}

/// Properties of the copy of a failed message: what it came with, and why it failed.
pub(crate) fn of_copy(
    original: &BasicProperties,
    namespace: &str,
    queue: &str,
    failure: &Failure,
) -> BasicProperties {
    let names = Names(namespace);
    let mut headers = FieldTable::default();
    for (name, value) in original.headers().iter().flat_map(|h| h.inner()) {
        // The broker's own notes are about the journey so far; it writes new ones.
        if !name.as_str().starts_with("x-death") && !name.as_str().starts_with("x-first-death") {
            headers.insert(name.clone(), value.clone());
        }
    }
    let mut put = |what: &str, value: AMQPValue| {
        headers.insert(ShortString::from(names.header(what)), value);
    };
    put("attempt", AMQPValue::LongUInt(failure.attempts));
    put(
        "first-failed",
        text(&failure.first_failed_at.to_rfc3339_opts(SecondsFormat::Micros, true)),
    );
    put("code", text(failure.code.as_str()));
    put("reason", text(&shortened(&failure.reason)));
    put("origin-queue", text(queue));
    let copy = original.clone().with_delivery_mode(PERSISTENT).with_headers(headers);
    // The broker checks a user id against the connection, and this connection is not the author's.
    if original.user_id().is_some() { without_user_id(&copy) } else { copy }
}

fn without_user_id(from: &BasicProperties) -> BasicProperties {
    let mut to = BasicProperties::default().with_delivery_mode(PERSISTENT);
    macro_rules! keep {
        ($($get:ident $with:ident),*) => {$(
            if let Some(value) = from.$get() { to = to.$with(value.clone()); }
        )*};
    }
    keep!(content_type with_content_type, headers with_headers, message_id with_message_id,
        correlation_id with_correlation_id, kind with_type, app_id with_app_id,
        timestamp with_timestamp);
    to
}

/// Frames are finite: an error text that carries a page of SQL must not break the parking.
fn shortened(reason: &str) -> String {
    reason.chars().take(1_000).collect()
}

/// What was delivered, in our terms. Headers that have no text form are left out.
pub(crate) fn delivery(from: &AmqpDelivery, namespace: &str) -> Delivery {
    let properties = &from.properties;
    let headers: BTreeMap<String, String> = properties
        .headers()
        .iter()
        .flat_map(|h| h.inner())
        .filter_map(|(name, value)| Some((name.to_string(), as_text(value)?)))
        .collect();
    let names = Names(namespace);
    Delivery {
        tag: from.delivery_tag,
        body: from.data.clone(),
        content_type: properties.content_type().as_ref().map(ToString::to_string),
        message_id: properties.message_id().as_ref().map(ToString::to_string),
        type_name: properties.kind().as_ref().map(ToString::to_string),
        attempts: headers.get(&names.header("attempt")).and_then(|a| a.parse().ok()).unwrap_or(0),
        first_failed_at: headers
            .get(&names.header("first-failed"))
            .and_then(|at| DateTime::parse_from_rfc3339(at).ok())
            .map(|at| at.with_timezone(&Utc)),
        redelivered: from.redelivered,
        headers,
    }
}

fn as_text(value: &AMQPValue) -> Option<String> {
    Some(match value {
        AMQPValue::LongString(text) => String::from_utf8_lossy(text.as_bytes()).into_owned(),
        AMQPValue::ShortString(text) => text.to_string(),
        AMQPValue::Boolean(yes) => yes.to_string(),
        AMQPValue::ShortShortInt(n) => n.to_string(),
        AMQPValue::ShortShortUInt(n) => n.to_string(),
        AMQPValue::ShortInt(n) => n.to_string(),
        AMQPValue::ShortUInt(n) => n.to_string(),
        AMQPValue::LongInt(n) => n.to_string(),
        AMQPValue::LongUInt(n) => n.to_string(),
        AMQPValue::LongLongInt(n) => n.to_string(),
        AMQPValue::Timestamp(seconds) => seconds.to_string(),
        _ => return None,
    })
}
