//! What a dead letter says of itself, made fit for a table.

use std::collections::BTreeMap;

use chrono::{DateTime, Datelike as _, Utc};
use envelope::MAX_BODY;
use serde::Deserialize;
use serde_json::Value;
use uuid::Uuid;

use crate::reason::Code;
use crate::topology::Topology;
use crate::transport::{Delivery, Properties};

/// Characters of a claim: an index entry has room for two, at four bytes a character.
const LONGEST_CLAIM: usize = 255;
const LONGEST_REASON: usize = 1_000;

/// What a letter says of itself. None of it is proven: what could not be verified still needs a name
/// to be found by.
pub(super) struct Claims {
    pub(super) queue: String,
    pub(super) source: Option<String>,
    pub(super) event_id: Option<Uuid>,
    pub(super) event_type: Option<String>,
    pub(super) subject: Option<String>,
    pub(super) aggversion: Option<i32>,
    pub(super) occurred_at: Option<DateTime<Utc>>,
    pub(super) properties: Properties,
    pub(super) headers: Value,
    pub(super) code: String,
    pub(super) reason: String,
}

impl Claims {
    pub(super) fn of(letter: &Delivery, topology: &Topology, namespace: &str) -> Self {
        // Our own copies carry no note of the broker's. With one, or without a code of ours, it was
        // the broker that gave up on it, whatever it had failed with before.
        let ours = !letter.headers.contains_key("x-first-death-reason");
        let told = |what: &str| {
            letter
                .headers
                .get(&format!("x-{namespace}-{what}"))
                .filter(|_| ours)
                .map(String::as_str)
        };
        let id = letter.message_id.as_deref();
        let headers: BTreeMap<String, String> = letter
            .headers
            .iter()
            .map(|(name, value)| (printable(name), printable(value)))
            .collect();
        let inside = Inside::of(&letter.body);
        Self {
            queue: told("origin-queue").map_or_else(|| topology.work_queue(), short),
            source: inside.source.as_str().map(short),
            subject: inside.subject.as_str().map(short),
            aggversion: inside.aggversion.as_i64().and_then(|n| i32::try_from(n).ok()),
            occurred_at: inside.time.as_str().and_then(time),
            properties: properties(letter),
            event_id: id.and_then(|id| Uuid::parse_str(id).ok()),
            event_type: letter.type_name.as_deref().map(short),
            headers: serde_json::json!(headers),
            code: told("code").map_or_else(|| Code::DeliveryLimit.as_str().to_owned(), short),
            reason: told("reason").map_or_else(
                || "the broker's delivery limit was reached".to_owned(),
                |why| printable(why).chars().take(LONGEST_REASON).collect(),
            ),
        }
    }

    /// The rest of it, for a database that does not take it all.
    pub(super) fn without_names(self, topology: &Topology) -> Self {
        let queue = topology.work_queue();
        let (source, event_id, event_type) = (None, None, None);
        let (subject, aggversion, occurred_at) = (None, None, None);
        Self { queue, source, event_id, event_type, subject, aggversion, occurred_at, ..self }
    }
}

/// What the body claims, as far as it is an envelope at all.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Inside {
    source: Value,
    subject: Value,
    aggversion: Value,
    time: Value,
}

impl Inside {
    fn of(body: &[u8]) -> Self {
        // A list would do for a struct, too.
        if body.len() > MAX_BODY || !body.trim_ascii_start().starts_with(b"{") {
            return Self::default();
        }
        serde_json::from_slice(body).unwrap_or_default()
    }
}

/// None where it is no time that a database has.
fn time(text: &str) -> Option<DateTime<Utc>> {
    let at = DateTime::parse_from_rfc3339(text).ok()?.to_utc();
    (0..=9_999).contains(&at.year()).then_some(at)
}

/// What stood beside the headers, as it goes back with the letter.
fn properties(letter: &Delivery) -> Properties {
    let text = |property: &Option<String>| property.as_deref().map(printable);
    Properties {
        content_type: text(&letter.content_type),
        message_id: text(&letter.message_id),
        type_name: text(&letter.type_name),
        correlation_id: text(&letter.correlation_id),
        app_id: text(&letter.app_id),
        timestamp: letter.timestamp,
    }
}

/// Postgres stores any text but U+0000, and a poison message may well contain one.
fn printable(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}

/// Short enough for an index, whatever it is.
fn short(text: &str) -> String {
    printable(text).chars().take(LONGEST_CLAIM).collect()
}
