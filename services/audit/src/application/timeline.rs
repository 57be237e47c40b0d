//! Telling what became of an order.

use uuid::Uuid;

use super::views::EventView;
use crate::domain::timeline::{Happening, causal_order};

/// What became of an order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timeline {
    /// The trace that it began in, 32 hex digits, if any event tells.
    pub trace_id: Option<String>,
    /// Its events in causal order.
    pub events: Vec<EventView>,
}

/// The timeline of an order, out of all events that share its correlation id. None when nothing of
/// the kind was ever heard of: chains that no order began have ids, too.
pub fn timeline(order_id: Uuid, events: Vec<EventView>) -> Option<Timeline> {
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
    let mut unplaced: Vec<Option<EventView>> = events.into_iter().map(Some).collect();
    let placed = causal_order(&happenings).into_iter().filter_map(|n| unplaced[n].take());
    let events: Vec<EventView> = placed.collect();
    let trace_id = events.iter().find_map(|event| trace_id(event.traceparent.as_deref()?));
    Some(Timeline { trace_id, events })
}

/// W3C Trace Context: `version-traceid-parentid-flags`.
fn trace_id(traceparent: &str) -> Option<String> {
    let id = traceparent.split('-').nth(1)?;
    let hex = |digit: u8| matches!(digit, b'0'..=b'9' | b'a'..=b'f');
    (id.len() == 32 && id.bytes().all(hex)).then(|| id.to_owned())
}
