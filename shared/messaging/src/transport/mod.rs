//! All that the kit asks of a broker. The relay, the consumer and the parker know nothing else of
//! one; RabbitMQ is the first to answer, a broker in memory the second.

#[cfg(feature = "conformance")]
pub mod conformance;
pub mod memory;
pub mod rabbitmq;
pub(crate) mod wire;

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::reason::Code;
use crate::retry::Rung;
use crate::topology::Topology;

/// A broker that is away, or that refused what it must not refuse.
#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    /// No connection, or the one there was is gone. It may be back at any time.
    #[error("broker is not reachable: {0}")]
    Away(String),
    /// The broker answers, but what we rely on is missing or different: needs an operator.
    #[error("broker is not set up as expected: {0}")]
    Topology(String),
}

/// A connection to a broker yet to be made. Cheap to share.
#[async_trait]
pub trait Transport: Send + Sync + 'static {
    /// A way to publish, on a connection that carries nothing else.
    ///
    /// # Errors
    /// [`TransportError`] when it cannot be had now.
    async fn publisher(&self) -> Result<Box<dyn Publisher>, TransportError>;

    /// The deliveries of a work queue, at most `prefetch` unsettled at a time.
    ///
    /// # Errors
    /// [`TransportError`] when it cannot be had now.
    async fn subscribe(
        &self,
        topology: &Topology,
        prefetch: u16,
    ) -> Result<Box<dyn Subscription>, TransportError>;

    /// The parked messages of a service, for the parker.
    ///
    /// # Errors
    /// [`TransportError`] when it cannot be had now.
    async fn parked(&self, topology: &Topology) -> Result<Box<dyn Subscription>, TransportError>;

    /// Makes what `topology` needs and is not there; deletes nothing. Returns what it made.
    ///
    /// # Errors
    /// [`TransportError::Topology`] when something exists with other properties: all differences.
    /// Nothing has been made then.
    async fn provision(&self, topology: &Topology) -> Result<Vec<String>, TransportError>;
}

/// A message to publish.
#[derive(Debug, Clone, Copy)]
pub struct Outgoing<'a> {
    /// The event's id: the message's id on every attempt, for ever.
    pub id: Uuid,
    /// Routing key: the type without the namespace.
    pub short_type: &'a str,
    /// The full type.
    pub full_type: &'a str,
    /// Who publishes.
    pub service: &'a str,
    /// The system's name, in header names.
    pub namespace: &'a str,
    /// The chain it belongs to.
    pub correlation_id: Uuid,
    /// The exact bytes that were signed.
    pub body: &'a [u8],
    /// Ed25519, 64 bytes.
    pub signature: &'a [u8],
    /// The signing key's id.
    pub key_id: &'a str,
    /// W3C context of the span that created it.
    pub traceparent: Option<&'a str>,
    /// W3C vendor context.
    pub tracestate: Option<&'a str>,
    /// When it was written.
    pub created_at: DateTime<Utc>,
    /// When it is handed to the broker, this time.
    pub published_at: DateTime<Utc>,
}

/// What stood beside the headers of a message, as it came; unsigned.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Properties {
    /// What the body is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
    /// The event's id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message_id: Option<String>,
    /// The full type.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub type_name: Option<String>,
    /// The chain it belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub correlation_id: Option<String>,
    /// Who published it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub app_id: Option<String>,
    /// When it was written, in seconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timestamp: Option<u64>,
}

/// A parked message to put back.
#[derive(Debug, Clone, Copy)]
pub struct Parked<'a> {
    /// The exact bytes.
    pub body: &'a [u8],
    /// What stood beside its headers.
    pub properties: &'a Properties,
    /// Its headers, those of its failures included: the transport leaves them out.
    pub headers: &'a BTreeMap<String, String>,
    /// The system's name, in header names.
    pub namespace: &'a str,
    /// The job that it goes back by; told in a header of its own.
    pub replay: Uuid,
}

/// What became of one message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// The broker has taken it over.
    Confirmed,
    /// No queue wants it.
    Unroutable,
    /// The broker said no: a queue is full.
    Refused,
    /// Nobody knows: a time-out or a lost connection. It may arrive all the same.
    Unknown,
}

/// Asks whether the broker holds a publisher back (a memory or disk alarm). It can be asked at any time:
/// also while the publisher waits for a batch, which is when it is held back.
pub type Blocked = Arc<dyn Fn() -> bool + Send + Sync>;

/// Publishes batches.
#[async_trait]
pub trait Publisher: Send + Sync {
    /// Publishes a batch and answers with the fate of each message, in the order of the batch. Each
    /// fate is the message's own, found by its id. After an [`Fate::Unknown`] the publisher is
    /// spent: its connection has been closed, so that nothing of it is still under way when the
    /// message is published again.
    async fn publish(&mut self, batch: &[Outgoing<'_>]) -> Vec<Fate>;

    /// Puts parked messages back into the work queue of `topology`, and into no other: their bytes
    /// and headers as they came, their attempts forgotten. Fates as of [`publish`](Self::publish).
    async fn put_back(&mut self, topology: &Topology, batch: &[Parked<'_>]) -> Vec<Fate>;

    /// What came in between, after an [`Fate::Unknown`]; for people.
    fn trouble(&self) -> String {
        "confirms did not come".into()
    }

    /// Whether the connection still stands, as far as is known.
    fn connected(&self) -> bool;

    /// Whether the broker holds us back.
    fn blocked(&self) -> Blocked;

    /// Hands the connection back in order.
    async fn close(self: Box<Self>);
}

/// A message that was delivered.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// What to settle it by; valid for its subscription only.
    pub tag: u64,
    /// The exact bytes.
    pub body: Vec<u8>,
    /// As sent; unsigned.
    pub content_type: Option<String>,
    /// As sent; unsigned.
    pub message_id: Option<String>,
    /// As sent; unsigned.
    pub type_name: Option<String>,
    /// As sent; unsigned.
    pub correlation_id: Option<String>,
    /// As sent; unsigned.
    pub app_id: Option<String>,
    /// As sent, in seconds since 1970; unsigned.
    pub timestamp: Option<u64>,
    /// As whom its publisher had logged in, where it says so; the broker has checked it.
    pub user_id: Option<String>,
    /// All headers with a text form; unsigned and untrusted.
    pub headers: BTreeMap<String, String>,
    /// Failed attempts so far, by our own header; unsigned and untrusted.
    pub attempts: u32,
    /// When the first attempt failed.
    pub first_failed_at: Option<DateTime<Utc>>,
    /// Whether the broker says it may have delivered it before.
    pub redelivered: bool,
}

/// Why and since when a message fails.
#[derive(Debug, Clone)]
pub struct Failure {
    /// The class.
    pub code: Code,
    /// In words, for people.
    pub reason: String,
    /// Failed attempts, this one included.
    pub attempts: u32,
    /// When the first one failed.
    pub first_failed_at: DateTime<Utc>,
}

/// What is to become of a delivery.
#[derive(Debug, Clone)]
pub enum Settlement {
    /// Its effects are committed (or it was a duplicate).
    Done,
    /// It comes again after the rung's delay, to this queue only.
    Later(Rung, Failure),
    /// It is parked with its reason.
    Park(Failure),
}

/// Deliveries of one queue.
#[async_trait]
pub trait Subscription: Send + Sync {
    /// Waits for a delivery, then takes what else is ready, up to `max` in all. None when there is
    /// something to [`settle`](Self::settle) again first.
    ///
    /// # Errors
    /// [`TransportError`]: the subscription is spent, and what was not settled comes again.
    async fn next(&mut self, max: usize) -> Result<Vec<Delivery>, TransportError>;

    /// Settles deliveries, each once; first those that are done. For those that come again or are
    /// parked it may wait until another delivery comes, and a few seconds at most, as a broker may hold
    /// back what is published: they are on their way then.
    ///
    /// # Errors
    /// [`TransportError::Topology`]: some have found no place yet (a queue is missing or full, or
    /// the broker takes nothing now). They stay unsettled, are tried again with the next call, also
    /// one without deliveries, and the subscription goes on. [`TransportError::Away`]: the subscription is spent. A delivery whose
    /// settlement is lost comes again; its inbox row knows it.
    async fn settle(&mut self, all: Vec<(Delivery, Settlement)>) -> Result<(), TransportError>;

    /// Stops deliveries, not the connection. What is unsettled goes back to its queue, for others to
    /// handle, but for `kept` and what has found no place yet.
    ///
    /// # Errors
    /// [`TransportError`]: the subscription is spent, and what was not settled comes again.
    async fn pause(&mut self, kept: &Delivery) -> Result<(), TransportError>;

    /// Takes deliveries again after a [`pause`](Self::pause).
    ///
    /// # Errors
    /// As [`pause`](Self::pause).
    async fn resume(&mut self) -> Result<(), TransportError>;

    /// Stops deliveries and hands the connection back; what is unsettled goes back to its queue.
    async fn close(self: Box<Self>);
}
