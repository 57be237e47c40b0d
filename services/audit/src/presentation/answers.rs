//! What clients are told.

use chassis::http::{Cursor, Limit, Time};
use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::Serialize;
use uuid::Uuid;

use crate::application::timeline::{Handled, Step, Timeline};
use crate::application::views::EventView;

/// What became of an order.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Timeline")]
pub(super) struct TimelineBody {
    order_id: Uuid,
    trace_id: Option<String>,
    events: Vec<TimelineStepBody>,
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
    /// When it was handed to the broker, by its publisher's clock; null where that is not known.
    published_at: Option<Time>,
    received_at: Time,
}

/// A step, and who acted on it.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "TimelineStep")]
struct TimelineStepBody {
    #[serde(flatten)]
    step: StepBody,
    /// Milliseconds from when it happened to when it was published: the rest of its handler, the
    /// commit, and the wait in the outbox.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "f64", default)]
    outbox_ms: Option<f64>,
    /// Who acted on it, as far as it shows: audit itself, and each service that published something
    /// because of it.
    handled: Vec<HandledBody>,
}

/// A service that acted on an event.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Handled")]
struct HandledBody {
    consumer: String,
    /// When it did, by its own clock: a handler when it began, a task that called the outside world
    /// when it had the answer.
    at: Time,
    /// Milliseconds from when it was published to then; for a handler that is the wait in the queue.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "f64", default)]
    dwell_ms: Option<f64>,
}

impl From<Step> for TimelineStepBody {
    fn from(Step { event, handled }: Step) -> Self {
        let published_at = event.published_at;
        let handled = handled.into_iter().map(|Handled { consumer, at }| HandledBody {
            consumer,
            at: at.into(),
            dwell_ms: published_at.map(|published_at| between(published_at, at)),
        });
        let handled = handled.collect();
        let outbox_ms = published_at.map(|published_at| between(event.occurred_at, published_at));
        Self { step: event.into(), outbox_ms, handled }
    }
}

/// Milliseconds. Clocks of different machines differ: what would be less than nothing is nothing.
fn between(earlier: DateTime<Utc>, later: DateTime<Utc>) -> f64 {
    let micros = (later - earlier).num_microseconds().unwrap_or(i64::MAX).max(0);
    micros as f64 / 1_000.0
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
pub(super) struct EventBody {
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
            published_at: event.published_at.map(Time::from),
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
        let events = events.into_iter().map(TimelineStepBody::from).collect();
        Self { order_id, trace_id, events }
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
