//! Between our messages and AMQP properties and headers.

use std::collections::BTreeMap;

use envelope::CONTENT_TYPE;
use lapin::BasicProperties;
use lapin::message::Delivery as AmqpDelivery;
use lapin::types::{AMQPValue, FieldTable, LongString, ShortString};

use super::super::wire::{self, Names, is_of_the_journey};
use super::super::{Delivery, Failure, Outgoing, Parked};

const PERSISTENT: u8 = 2;

/// The header that tells copies of one connection apart.
const MARK: &str = "copy";

/// Properties go in one frame, and the smallest that a broker of today agrees to has 8 KiB: what a
/// copy keeps, a reason and all other properties at their longest fit into it together.
const KEPT_BYTES: usize = 4_096;

fn text(value: &str) -> AMQPValue {
    AMQPValue::LongString(LongString::from(value.to_owned()))
}

/// Properties of an event's first and every later publish.
pub(crate) fn of_event(message: &Outgoing<'_>) -> BasicProperties {
    let mut headers = FieldTable::default();
    for (name, value) in wire::of_event(message) {
        headers.insert(name.into(), text(&value));
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

/// Properties of the copy of a failed message: what it came with that still holds, and why it failed.
/// `mark` is what a return of this copy is known by.
///
/// Nothing of the journey so far goes with it. An expiry would lose it in its queue, carbon copies
/// would send it to others, a user id is checked against a connection that is not its author's, and
/// the broker's own notes tell the parker that it was the broker that gave up on it.
pub(crate) fn of_copy(
    original: &BasicProperties,
    namespace: &str,
    queue: &str,
    failure: &Failure,
    mark: u64,
) -> BasicProperties {
    let names = Names(namespace);
    let came = original.headers().iter().flat_map(|table| table.inner());
    let came = came.map(|(name, value)| (name.clone(), value.clone()));
    let mut headers = kept(came, &names);
    for (name, value) in wire::of_failure(&names, queue, failure) {
        headers.insert(name.into(), text(&value));
    }
    let mut put = |what: &str, value: AMQPValue| {
        headers.insert(ShortString::from(names.header(what)), value);
    };
    put("attempt", AMQPValue::LongUInt(failure.attempts));
    put(MARK, text(&mark.to_string()));
    let mut copy = BasicProperties::default().with_delivery_mode(PERSISTENT).with_headers(headers);
    macro_rules! keep {
        ($($get:ident $with:ident),*) => {$(
            if let Some(value) = original.$get() { copy = copy.$with(value.clone()); }
        )*};
    }
    keep!(content_type with_content_type, content_encoding with_content_encoding,
        message_id with_message_id, correlation_id with_correlation_id, kind with_type,
        app_id with_app_id, timestamp with_timestamp);
    copy
}

/// Properties of a parked message that goes back to its queue: as it came, and by which replay. What
/// its failures have told of it stays behind. `mark` as of [`of_copy`].
pub(crate) fn of_parked(parked: &Parked<'_>, mark: usize) -> BasicProperties {
    let names = Names(parked.namespace);
    let came = wire::of_parked(parked).into_iter();
    let came = came.filter_map(|(name, value)| Some((short(&name)?, text(&value))));
    let mut headers = kept(came, &names);
    headers.insert(names.header(MARK).into(), text(&mark.to_string()));
    let mut back = BasicProperties::default().with_delivery_mode(PERSISTENT).with_headers(headers);
    let was = parked.properties;
    macro_rules! keep {
        ($($field:ident $with:ident),*) => {$(
            if let Some(value) = was.$field.as_deref().and_then(short) { back = back.$with(value); }
        )*};
    }
    keep!(content_type with_content_type, message_id with_message_id, type_name with_type,
        correlation_id with_correlation_id, app_id with_app_id);
    match was.timestamp {
        Some(timestamp) => back.with_timestamp(timestamp),
        None => back,
    }
}

/// Nothing longer has a place in a property or in the name of a header.
fn short(text: &str) -> Option<ShortString> {
    (text.len() <= usize::from(u8::MAX)).then(|| ShortString::from(text))
}

/// What a copy is known by, on its way and when it is returned.
pub(crate) fn mark_of(copy: &BasicProperties, namespace: &str) -> Option<String> {
    let name = Names(namespace).header(MARK);
    as_text(copy.headers().as_ref()?.inner().get(name.as_str())?)
}

/// The headers that go with a copy: signature and trace before others, as many as fit, so that a
/// copy can be sent whatever the original came with.
fn kept(came: impl Iterator<Item = (ShortString, AMQPValue)>, names: &Names<'_>) -> FieldTable {
    let signature = ["sig", "kid", "sigver"].map(|what| names.header(what));
    let (first, others): (Vec<_>, Vec<_>) =
        came.filter(|(name, _)| !is_of_the_journey(name.as_str())).partition(|(name, _)| {
            let name = name.as_str();
            signature.iter().any(|one| one == name) || matches!(name, "traceparent" | "tracestate")
        });
    let mut headers = FieldTable::default();
    let mut room = KEPT_BYTES;
    for (name, value) in first.into_iter().chain(others) {
        if let Some(rest) = room.checked_sub(name.as_str().len() + 1 + size(&value)) {
            room = rest;
            headers.insert(name, value);
        }
    }
    headers
}

/// Bytes of a value on the wire, or a few more.
fn size(value: &AMQPValue) -> usize {
    1 + match value {
        AMQPValue::LongString(text) => 4 + text.as_bytes().len(),
        AMQPValue::ShortString(text) => 1 + text.as_str().len(),
        AMQPValue::ByteArray(bytes) => 4 + bytes.as_slice().len(),
        AMQPValue::FieldArray(values) => 4 + values.as_slice().iter().map(size).sum::<usize>(),
        AMQPValue::FieldTable(table) => {
            let entry = |(name, value): (&ShortString, _)| name.as_str().len() + 1 + size(value);
            4 + table.inner().iter().map(entry).sum::<usize>()
        }
        _ => 8,
    }
}

/// What was delivered, in our terms. Headers that have no text form are left out.
pub(crate) fn delivery(from: &AmqpDelivery, namespace: &str) -> Delivery {
    let properties = &from.properties;
    let text = |property: &Option<ShortString>| property.as_ref().map(ToString::to_string);
    let headers: BTreeMap<String, String> = properties
        .headers()
        .iter()
        .flat_map(|h| h.inner())
        .filter_map(|(name, value)| Some((name.to_string(), as_text(value)?)))
        .collect();
    let (attempts, first_failed_at) = wire::failed_before(&headers, namespace);
    Delivery {
        tag: from.delivery_tag,
        body: from.data.clone(),
        content_type: text(properties.content_type()),
        message_id: text(properties.message_id()),
        type_name: text(properties.kind()),
        correlation_id: text(properties.correlation_id()),
        app_id: text(properties.app_id()),
        timestamp: *properties.timestamp(),
        user_id: text(properties.user_id()),
        attempts,
        first_failed_at,
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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use chrono::DateTime;

    use super::super::super::Properties;
    use super::*;
    use crate::reason::Code;

    fn copy(original: &BasicProperties, reason: &str) -> BasicProperties {
        let failure = Failure {
            code: Code::Rejected,
            reason: reason.to_owned(),
            attempts: 1,
            first_failed_at: DateTime::UNIX_EPOCH,
        };
        of_copy(original, "house", "ledger.in", &failure, 7)
    }

    fn names(properties: &BasicProperties) -> Vec<String> {
        let table = properties.headers().as_ref().unwrap();
        table.inner().keys().map(ToString::to_string).collect()
    }

    #[test]
    fn a_copy_leaves_the_journey_of_its_original_behind() {
        let mut headers = FieldTable::default();
        for name in [
            "CC",
            "BCC",
            "x-death",
            "x-first-death-reason",
            "x-last-death-queue",
            "x-delivery-count",
            "x-acquired-count",
            "x-house-sig",
            "x-of-the-sender",
        ] {
            headers.insert(name.into(), text("v"));
        }
        let original = BasicProperties::default()
            .with_headers(headers)
            .with_expiration("1".into())
            .with_user_id("guest".into())
            .with_reply_to("elsewhere".into())
            .with_priority(9)
            .with_message_id("m".into())
            .with_content_type("c".into());
        let copy = copy(&original, "not ever");
        let expected = [
            "x-house-attempt",
            "x-house-code",
            "x-house-copy",
            "x-house-first-failed",
            "x-house-origin-queue",
            "x-house-reason",
            "x-house-sig",
            "x-of-the-sender",
        ];
        assert_eq!(names(&copy), expected);
        assert_eq!(copy.expiration(), &None);
        assert_eq!((copy.user_id(), copy.reply_to(), copy.priority()), (&None, &None, &None));
        assert_eq!(copy.message_id().as_ref().unwrap().as_str(), "m");
        assert_eq!(copy.content_type().as_ref().unwrap().as_str(), "c");
        assert_eq!(mark_of(&copy, "house").as_deref(), Some("7"));
        assert_eq!(mark_of(&original, "house"), None);
    }

    #[test]
    fn a_copy_keeps_what_fits_and_our_own_headers_first() {
        let mut headers = FieldTable::default();
        headers.insert("a-long-one".into(), text(&"a".repeat(KEPT_BYTES - 100)));
        let mut long = FieldTable::default();
        long.insert("k".into(), text(&"b".repeat(KEPT_BYTES)));
        headers.insert("b-too-long".into(), AMQPValue::FieldTable(long));
        headers.insert("traceparent".into(), text(&"t".repeat(55)));
        headers.insert("x-house-sig".into(), text(&"s".repeat(86)));
        headers.insert("z-short".into(), text("z"));
        let kept = names(&copy(&BasicProperties::default().with_headers(headers), "r"));
        for name in ["traceparent", "x-house-sig", "z-short"] {
            assert!(kept.iter().any(|one| one == name), "{name}: {kept:?}");
        }
        assert!(!kept.iter().any(|one| one.ends_with("-long") || one == "a-long-one"), "{kept:?}");
    }

    #[test]
    fn a_parked_message_goes_back_as_it_came_without_its_failures() {
        let kept = ["x-house-sig", "x-of-the-sender"];
        let left = ["attempt", "first-failed", "code", "reason", "origin-queue", "copy", "replay"];
        let left = left.map(|what| format!("x-house-{what}"));
        let headers: BTreeMap<String, String> = kept
            .iter()
            .map(|name| (*name).to_owned())
            .chain(left)
            .chain(["x-first-death-reason".to_owned(), "n".repeat(256)])
            .map(|name| (name, "v".to_owned()))
            .collect();
        let properties = Properties {
            content_type: Some("c".into()),
            message_id: Some("m".repeat(256)),
            timestamp: Some(7),
            ..Default::default()
        };
        let replay = uuid::Uuid::from_u128(1);
        let (body, namespace) = (&b"b"[..], "house");
        let parked = Parked { body, properties: &properties, headers: &headers, namespace, replay };
        let back = of_parked(&parked, 3);
        assert_eq!(
            names(&back),
            ["x-house-copy", "x-house-replay", "x-house-sig", "x-of-the-sender"]
        );
        assert_eq!(mark_of(&back, "house").as_deref(), Some("3"));
        assert_eq!(back.content_type().as_ref().unwrap().as_str(), "c");
        assert_eq!((back.message_id(), back.user_id()), (&None, &None), "too long, and not ours");
        assert_eq!((back.timestamp(), back.delivery_mode()), (&Some(7), &Some(PERSISTENT)));
    }

    #[test]
    fn a_reason_is_cut_between_two_characters() {
        let copy = copy(&BasicProperties::default(), &"\u{20ac}".repeat(1_000));
        let table = copy.headers().as_ref().unwrap();
        let reason = as_text(table.inner().get("x-house-reason").unwrap()).unwrap();
        assert_eq!(reason, "\u{20ac}".repeat(333));
    }
}
