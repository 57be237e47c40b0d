//! Events, and the CloudEvents 1.0 envelope (structured mode) that they travel in.

use std::fmt;

use chrono::{DateTime, SecondsFormat, Utc};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::{DecodeError, Identity, MAX_BODY};

/// Something that happened, as its owner promises it to others.
pub trait Event: Serialize + DeserializeOwned + Send + Sync + 'static {
    /// `<owner>.<what_happened>.v<major>`; also the routing key. Changing it breaks every consumer.
    const TYPE: &'static str;
    /// Raised when optional fields are added; consumers of any older minor still read it.
    const MINOR: u32 = 0;
    /// The aggregate that this event belongs to: what order is kept within.
    fn subject(&self) -> Subject;
}

/// The name of an aggregate, `<kind>/<id>`: `order/0192…`, `product/85123A`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Subject(String);

impl Subject {
    /// The aggregate `id` of the given kind.
    pub fn new(kind: &str, id: impl fmt::Display) -> Self {
        Self(format!("{kind}/{id}"))
    }

    /// The whole name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A CloudEvents 1.0 envelope with the extensions that every event here carries.
///
/// It is serialised once, when it is written; from then on its bytes are signed, stored and
/// forwarded as they are.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Envelope {
    /// Always `1.0`.
    pub specversion: String,
    /// UUIDv7, the same on every attempt to deliver this event.
    pub id: Uuid,
    /// The publisher: `urn:<namespace>:<environment>:<service>`.
    pub source: String,
    /// The full type with its major version: `shop.order.placed.v1`.
    #[serde(rename = "type")]
    pub event_type: String,
    /// The aggregate.
    pub subject: Subject,
    /// Business time, UTC.
    #[serde(serialize_with = "rfc3339_micros")]
    pub time: DateTime<Utc>,
    /// Always `application/json`: the media type of `data`.
    pub datacontenttype: String,
    /// The schema of `data`, with its minor version.
    pub dataschema: String,
    /// The number of this event among those of its aggregate: 1, 2, 3, ... without a gap.
    pub aggversion: u32,
    /// What the writer's partition was computed from: the subject.
    pub partitionkey: String,
    /// Shared by everything that one request or order set in motion.
    pub correlationid: Uuid,
    /// The event that this one answers; absent on the first of a chain.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub causationid: Option<Uuid>,
    /// W3C context of the span that created this event.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<String>,
    /// W3C vendor context beside `traceparent`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tracestate: Option<String>,
    /// The event itself, as its own bytes.
    pub data: Box<RawValue>,
}

/// Why an event could not be put into an envelope: what its readers would refuse is not written.
#[derive(Debug, thiserror::Error)]
pub enum EncodeError {
    /// The event's own `Serialize` failed.
    #[error("event does not serialise")]
    Serialize(#[from] serde_json::Error),
    /// The event's own `Deserialize` does not take what its `Serialize` has written.
    #[error("event does not read back: {0}")]
    Unreadable(#[source] serde_json::Error),
    /// The event is another service's to tell; its type begins with that one's name.
    #[error("{0} is an event of another service")]
    NotOurs(&'static str),
    /// The body would be larger than [`MAX_BODY`].
    #[error("event of {size} bytes is over the limit of {MAX_BODY}")]
    Oversize {
        /// Bytes of the whole body.
        size: usize,
    },
    /// An attribute that is out of bounds, a key that stands twice, or bottomless nesting.
    #[error("no reader would take the event: {0}")]
    Refused(#[source] DecodeError),
}

impl Envelope {
    /// Wraps `event` as version `aggversion` of its aggregate, as the start of a chain of its own:
    /// the correlation id is the event's id until [`caused_by`](Self::caused_by) says otherwise.
    ///
    /// # Errors
    /// [`EncodeError::Serialize`] and [`EncodeError::Unreadable`] when the event cannot be written as
    /// JSON or is not read back from it.
    pub fn wrap<E: Event>(
        publisher: &Identity,
        event: &E,
        aggversion: u32,
        id: Uuid,
        time: DateTime<Utc>,
    ) -> Result<Self, EncodeError> {
        let subject = event.subject();
        let data = serde_json::value::to_raw_value(event)?;
        serde_json::from_str::<E>(data.get()).map_err(EncodeError::Unreadable)?;
        Ok(Self {
            specversion: "1.0".into(),
            id,
            source: publisher.source(),
            event_type: publisher.full_type(E::TYPE),
            partitionkey: subject.as_str().to_owned(),
            subject,
            time,
            datacontenttype: "application/json".into(),
            dataschema: publisher.schema(E::TYPE, E::MINOR),
            aggversion,
            correlationid: id,
            causationid: None,
            traceparent: None,
            tracestate: None,
            data,
        })
    }

    /// Names the chain that this event belongs to and the event that it answers.
    #[must_use]
    pub fn caused_by(mut self, correlation: Uuid, causation: Option<Uuid>) -> Self {
        self.correlationid = correlation;
        self.causationid = causation;
        self
    }

    /// Carries the W3C context of the span that created the event.
    #[must_use]
    pub fn traced(mut self, traceparent: Option<String>, tracestate: Option<String>) -> Self {
        self.traceparent = traceparent;
        self.tracestate = tracestate;
        self
    }

    /// The bytes to sign, store and send: such as [`decode`](Self::decode) takes.
    ///
    /// # Errors
    /// [`EncodeError::Oversize`] over [`MAX_BODY`] bytes, [`EncodeError::Refused`] for anything else
    /// that readers would not take.
    pub fn to_bytes(&self) -> Result<Vec<u8>, EncodeError> {
        let bytes = serde_json::to_vec(self)?;
        match Self::decode(&bytes) {
            Ok(_) => Ok(bytes),
            Err(DecodeError::Oversize { size }) => Err(EncodeError::Oversize { size }),
            Err(refused) => Err(EncodeError::Refused(refused)),
        }
    }

    /// The event itself.
    ///
    /// # Errors
    /// When `data` does not have the shape of `T`.
    pub fn data<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        serde_json::from_str(self.data.get())
    }
}

fn rfc3339_micros<S: Serializer>(time: &DateTime<Utc>, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(&time.to_rfc3339_opts(SecondsFormat::Micros, true))
}
