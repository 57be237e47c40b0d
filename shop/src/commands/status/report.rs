//! The answer: each service's figures at the later of two readings, and for the time between them.

use std::time::Instant;

use chrono::{DateTime, Utc};
use serde::{Serialize, Serializer};

use super::metrics::Metrics;
use super::reading::{Reading, ServiceReading};
use crate::probe::Readiness;
use crate::verify::Depths;

/// The share of handled messages that took no longer than the time that is shown.
const P95: f64 = 0.95;

/// The answer for machines.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    /// When it was read.
    pub(super) at: DateTime<Utc>,
    /// Whether all services are ready.
    pub(super) ready: bool,
    pub(super) services: Vec<Row>,
    /// Why the broker's figures are unknown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) broker_error: Option<String>,
}

/// A service. What nobody knows is none.
#[derive(Debug, Serialize)]
pub(super) struct Row {
    pub(super) service: &'static str,
    pub(super) state: State,
    /// Why it is not ready.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) reason: Option<String>,
    /// Messages that its handlers have handled, per second.
    #[serde(serialize_with = "thousandths")]
    pub(super) handled_per_second: Option<f64>,
    /// The time that 95 % of its handlers' calls were done within; none when there was no call.
    #[serde(serialize_with = "thousandths")]
    pub(super) p95_ms: Option<f64>,
    #[serde(flatten)]
    pub(super) outbox: Outbox,
    #[serde(flatten)]
    pub(super) queues: Queues,
    /// Dead letters in its table.
    pub(super) dead_letters: Option<u64>,
}

/// What a service says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum State {
    /// It can work.
    Ready,
    /// It cannot, and says why.
    NotReady,
    /// It does not answer.
    Away,
}

/// What a service has written and the broker does not have yet.
#[derive(Debug, Default, PartialEq, Serialize)]
pub(super) struct Outbox {
    /// Events that wait to be published.
    #[serde(rename = "outbox_pending")]
    pub(super) pending: Option<u64>,
    /// How long the oldest has waited, in seconds.
    #[serde(rename = "outbox_oldest_age_seconds", serialize_with = "thousandths")]
    pub(super) oldest_age: Option<f64>,
    /// Those that failed when they were tried.
    #[serde(rename = "outbox_stuck")]
    pub(super) stuck: Option<u64>,
    /// Whether the broker holds the service's publisher back.
    #[serde(rename = "broker_blocked")]
    pub(super) blocked: Option<bool>,
}

/// What the broker holds for a service.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Queues {
    /// Messages that wait in its queue.
    #[serde(rename = "queue_ready")]
    pub(super) ready: Option<u64>,
    /// Messages that it has taken and not settled.
    #[serde(rename = "queue_unacked")]
    pub(super) unacked: Option<u64>,
    /// Those who take from its queue: one per process of the service.
    pub(super) consumers: Option<u64>,
    /// Messages on its retry ladder.
    pub(super) retry: Option<u64>,
    /// Messages on their way into its table of dead letters.
    #[serde(rename = "dead_letter_queue")]
    pub(super) dead: Option<u64>,
}

impl Report {
    /// The report of `now`, with rates since `before`.
    pub(super) fn new(at: DateTime<Utc>, before: &[ServiceReading], now: &Reading) -> Self {
        let depths = now.queues.as_ref().ok();
        let rows = now.services.iter().map(|service| {
            let earlier = before.iter().find(|earlier| earlier.service == service.service);
            Row::new(service, earlier.and_then(|earlier| earlier.metrics.as_ref()), depths)
        });
        let services: Vec<Row> = rows.collect();
        let ready = services.iter().all(|row| row.state == State::Ready);
        Self { at, ready, services, broker_error: now.queues.as_ref().err().cloned() }
    }
}

impl Row {
    fn new(
        now: &ServiceReading,
        earlier: Option<&(Instant, Metrics)>,
        depths: Option<&Depths>,
    ) -> Self {
        let (state, reason) = match &now.readiness {
            Readiness::Ready => (State::Ready, None),
            Readiness::NotReady(why) => (State::NotReady, Some(why.clone())),
            Readiness::Away(why) => (State::Away, Some(why.clone())),
        };
        let metrics = now.metrics.as_ref().map(|(_, metrics)| metrics);
        let between = now.metrics.as_ref().zip(earlier);
        let rate = between.map(|((at, metrics), (before, earlier))| {
            metrics.handled_since(earlier) / at.duration_since(*before).as_secs_f64()
        });
        let p95 = between.and_then(|((_, metrics), (_, earlier))| {
            metrics.durations.since(&earlier.durations).quantile(P95)
        });
        let service = now.service.name();
        Self {
            service,
            state,
            reason,
            handled_per_second: rate.filter(|rate| rate.is_finite()),
            p95_ms: p95.map(|seconds| seconds * 1e3),
            outbox: metrics.map(Outbox::new).unwrap_or_default(),
            queues: depths.map(|depths| Queues::new(depths, service)).unwrap_or_default(),
            dead_letters: metrics.and_then(|metrics| whole(metrics.dead_letters)),
        }
    }
}

impl Outbox {
    fn new(metrics: &Metrics) -> Self {
        Self {
            pending: whole(metrics.outbox_pending),
            oldest_age: metrics.outbox_oldest_age,
            stuck: whole(metrics.outbox_stuck),
            blocked: metrics.broker_blocked.map(|blocked| blocked > 0.0),
        }
    }
}

impl Queues {
    /// Without its own queue a service has no ladder either.
    fn new(depths: &Depths, service: &str) -> Self {
        let Some(work) = depths.work(service) else { return Self::default() };
        Self {
            ready: Some(work.ready),
            unacked: Some(work.unacked),
            consumers: Some(work.consumers),
            retry: Some(depths.retry(service)),
            dead: depths.dead(service),
        }
    }
}

/// A gauge that counts.
fn whole(gauge: Option<f64>) -> Option<u64> {
    gauge.map(|value| value as u64)
}

/// More digits would be invented.
#[expect(clippy::ref_option, reason = "the form that serde calls")]
fn thousandths<S: Serializer>(value: &Option<f64>, to: S) -> Result<S::Ok, S::Error> {
    value.map(|value| (value * 1e3).round() / 1e3).serialize(to)
}
