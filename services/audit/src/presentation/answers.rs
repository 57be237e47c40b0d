//! What clients are told.

use chassis::http::{Cursor, Limit};
use chrono::{DateTime, SecondsFormat, Utc};
use serde::Serialize;
use uuid::Uuid;

use crate::application::timeline::Timeline;
use crate::application::views::EventView;

/// What became of an order.
#[derive(Debug, Serialize)]
pub(super) struct TimelineBody {
    order_id: Uuid,
    trace_id: Option<String>,
    events: Vec<StepBody>,
}

#[derive(Debug, Serialize)]
struct StepBody {
    event_id: Uuid,
    r#type: String,
    source: String,
    aggversion: i32,
    #[serde(skip_serializing_if = "Option::is_none")]
    causationid: Option<Uuid>,
    occurred_at: String,
    received_at: String,
}

/// A page of events, newest first.
#[derive(Debug, Serialize)]
pub(super) struct EventsPage {
    events: Vec<EventBody>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_cursor: Option<Cursor>,
}

#[derive(Debug, Serialize)]
struct EventBody {
    seq: i64,
    subject: String,
    correlationid: Uuid,
    #[serde(flatten)]
    step: StepBody,
}

fn time(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Micros, true)
}

impl From<EventView> for StepBody {
    fn from(event: EventView) -> Self {
        Self {
            event_id: event.event_id,
            r#type: event.event_type,
            source: event.source,
            aggversion: event.aggversion,
            causationid: event.causation_id,
            occurred_at: time(event.occurred_at),
            received_at: time(event.received_at),
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
