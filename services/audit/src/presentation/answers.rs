//! What clients are told.

use chassis::http::{Cursor, Limit, Time};
use schemars::JsonSchema;
use serde::Serialize;
use uuid::Uuid;

use crate::application::timeline::Timeline;
use crate::application::views::EventView;

/// What became of an order.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Timeline")]
pub(super) struct TimelineBody {
    order_id: Uuid,
    trace_id: Option<String>,
    events: Vec<StepBody>,
}

#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Step")]
struct StepBody {
    event_id: Uuid,
    r#type: String,
    source: String,
    aggversion: i32,
    /// The event that it answers, if it answers one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Uuid", default)]
    causationid: Option<Uuid>,
    occurred_at: Time,
    received_at: Time,
}

/// A page of events, newest first.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct EventsPage {
    events: Vec<EventBody>,
    /// Absent on the last page.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Cursor", default)]
    next_cursor: Option<Cursor>,
}

#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Event")]
struct EventBody {
    seq: i64,
    subject: String,
    correlationid: Uuid,
    #[serde(flatten)]
    step: StepBody,
}

impl From<EventView> for StepBody {
    fn from(event: EventView) -> Self {
        Self {
            event_id: event.event_id,
            r#type: event.event_type,
            source: event.source,
            aggversion: event.aggversion,
            causationid: event.causation_id,
            occurred_at: event.occurred_at.into(),
            received_at: event.received_at.into(),
        }
    }
}

impl From<EventView> for EventBody {
    fn from(event: EventView) -> Self {
        let (subject, correlationid) = (event.subject.clone(), event.correlation_id);
        Self { seq: event.seq, subject, correlationid, step: event.into() }
    }
}

impl TimelineBody {
    /// The timeline of that order.
    pub(super) fn new(order_id: Uuid, Timeline { trace_id, events }: Timeline) -> Self {
        Self { order_id, trace_id, events: events.into_iter().map(StepBody::from).collect() }
    }
}

impl EventsPage {
    /// The page out of the events found, of which there is one more if another page follows.
    pub(super) fn new(found: Vec<EventView>, limit: Limit) -> Self {
        let cursor =
            |last: &EventView| Cursor::behind_time(last.received_at.timestamp_micros(), last.seq);
        let (page, next_cursor) = limit.cut(found, cursor);
        Self { events: page.into_iter().map(EventBody::from).collect(), next_cursor }
    }
}
