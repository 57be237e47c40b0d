//! Telling what became of an order.

use std::collections::{BTreeMap, HashMap};

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::views::EventView;
use crate::domain::timeline::{Happening, causal_order};

/// What became of an order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timeline {
    /// The trace that it began in, 32 hex digits, if any event tells.
    pub trace_id: Option<String>,
    /// Its events in causal order.
    pub events: Vec<Step>,
}

/// An event, and who acted on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// The event.
    pub event: EventView,
    /// Who acted on it, and when, in that order.
    pub handled: Vec<Handled>,
}

/// A service that acted on an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Handled {
    /// Its name.
    pub consumer: String,
    /// When it did.
    pub at: DateTime<Utc>,
}

/// The timeline of an order, out of all events that share its correlation id, as `recorder` has
/// received them. Who acted on an event shows by what it published because of it: whoever only took
/// note is not seen. None when nothing of
/// the kind was ever heard of: chains that no order began have ids, too.
pub fn timeline(order_id: Uuid, events: Vec<EventView>, recorder: &str) -> Option<Timeline> {
    let name = order_id.to_string();
    let of_the_order = |event: &EventView| event.subject.ends_with(&name);
    if !events.iter().any(of_the_order) {
        return None;
    }
    let happenings: Vec<Happening> = events
        .iter()
        .map(|event| Happening {
            id: event.event_id,
            cause: event.causation_id,
            at: event.occurred_at,
        })
        .collect();
    let mut handled = handlings(&events, recorder);
    let mut unplaced: Vec<Option<EventView>> = events.into_iter().map(Some).collect();
    let placed = causal_order(&happenings).into_iter().filter_map(|n| unplaced[n].take());
    let with_handlings = placed.map(|event| {
        let handled = handled.remove(&event.event_id).unwrap_or_default();
        Step { event, handled }
    });
    let events: Vec<Step> = with_handlings.collect();
    let trace_id = events.iter().find_map(|step| trace_id(step.event.traceparent.as_deref()?));
    Some(Timeline { trace_id, events })
}

/// Who acted on which event, and when: a service that answers an event says so by its own event's time.
fn handlings(events: &[EventView], recorder: &str) -> HashMap<Uuid, Vec<Handled>> {
    let mut handlings: HashMap<Uuid, BTreeMap<&str, DateTime<Utc>>> = HashMap::new();
    for event in events {
        let here = handlings.entry(event.event_id).or_default();
        here.insert(recorder, event.received_at);
    }
    for event in events {
        let answered = event.causation_id.and_then(|cause| handlings.get_mut(&cause));
        if let Some((handled, service)) = answered.zip(event.source.rsplit(':').next()) {
            let at = handled.entry(service).or_insert(event.occurred_at);
            *at = event.occurred_at.min(*at);
        }
    }
    let in_time = |(id, handled): (Uuid, BTreeMap<&str, DateTime<Utc>>)| {
        let handled = handled.into_iter();
        let mut handled: Vec<Handled> =
            handled.map(|(consumer, at)| Handled { consumer: consumer.to_owned(), at }).collect();
        handled.sort_by_key(|handled| handled.at);
        (id, handled)
    };
    handlings.into_iter().map(in_time).collect()
}

/// W3C Trace Context: `version-traceid-parentid-flags`.
fn trace_id(traceparent: &str) -> Option<String> {
    let id = traceparent.split('-').nth(1)?;
    let hex = |digit: u8| matches!(digit, b'0'..=b'9' | b'a'..=b'f');
    (id.len() == 32 && id.bytes().all(hex)).then(|| id.to_owned())
}
