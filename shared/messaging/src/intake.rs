//! Which deliveries may be handled: size, content type, signature, envelope, authority, type, in
//! this order. What fails is parked under the code of the first check that it fails, and nothing
//! after that check has looked at it.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use chrono::{DateTime, Datelike as _, TimeDelta, Utc};
use envelope::signature::{KeyRing, Refusal, SUITE, Signed, signature_from_text};
use envelope::{CONTENT_TYPE, DecodeError, Envelope, Identity, MAX_BODY};
use sha2::{Digest, Sha256};

use crate::chunk::panic_text;
use crate::handler::Message;
use crate::inbox::Aggregate;
use crate::reason::Code;
use crate::registry::{Handlers, Manner, Prepared};
use crate::transport::Delivery;

/// A clock may be this far ahead of ours before its message is held to be wrong.
const TOO_FAR_AHEAD: TimeDelta = TimeDelta::hours(24);
/// And this far before it is worth a remark.
const SKEWED: TimeDelta = TimeDelta::minutes(5);

/// Why a delivery may not be handled.
#[derive(Debug)]
pub(crate) struct Fault {
    pub(crate) code: Code,
    pub(crate) why: String,
}

fn fault<T>(code: Code, why: impl Into<String>) -> Result<T, Fault> {
    Err(Fault { code, why: why.into() })
}

impl From<Refusal> for Fault {
    fn from(refusal: Refusal) -> Self {
        let code = match refusal {
            Refusal::BadSignature => Code::BadSignature,
            Refusal::UnknownKey => Code::UnknownKey,
            Refusal::RevokedKey => Code::RevokedKey,
            Refusal::NotAuthorised => Code::NotAuthorised,
        };
        Self { code, why: refusal.to_string() }
    }
}

impl From<DecodeError> for Fault {
    fn from(error: DecodeError) -> Self {
        let code = match error {
            DecodeError::Oversize { .. } => Code::Oversize,
            DecodeError::Malformed(_) => Code::Malformed,
            DecodeError::Invalid(_) => Code::EnvelopeInvalid,
        };
        Self { code, why: error.to_string() }
    }
}

/// A delivery that may be handled.
pub(crate) struct Accepted {
    pub(crate) message: Arc<Message>,
    pub(crate) prepared: Box<dyn Prepared>,
    pub(crate) manner: Manner,
}

impl Accepted {
    pub(crate) fn is_ordered(&self) -> bool {
        self.manner == Manner::InOrder
    }

    /// Of which aggregate it is and which version of that, if its handler goes by it.
    pub(crate) fn place(&self) -> Option<(Aggregate, u32)> {
        let envelope = &self.message.envelope;
        let aggregate = || (envelope.source.clone(), envelope.subject.to_string());
        self.is_ordered().then(|| (aggregate(), envelope.aggversion))
    }
}

/// What a service accepts.
pub(crate) struct Intake {
    pub(crate) identity: Identity,
    pub(crate) keys: Arc<KeyRing>,
    pub(crate) handlers: Arc<Handlers>,
    /// Older than this, an inbox row may already be gone: it cannot be known for new.
    pub(crate) inbox_retention: TimeDelta,
}

impl Intake {
    /// A verdict for each delivery, in order. Signatures are verified together.
    pub(crate) fn judge(
        &self,
        chunk: &[Delivery],
        now: DateTime<Utc>,
    ) -> Vec<Result<Accepted, Fault>> {
        let outside: Vec<Result<(String, [u8; 64]), Fault>> =
            chunk.iter().map(|delivery| self.outside(delivery)).collect();
        let signed: Vec<Signed<'_>> = chunk
            .iter()
            .zip(&outside)
            .filter_map(|(delivery, outside)| {
                let (kid, signature) = outside.as_ref().ok()?;
                Some(Signed { body: &delivery.body, signature, kid })
            })
            .collect();
        let mut verdicts = self.keys.verify_all(&signed).into_iter();
        chunk
            .iter()
            .zip(outside)
            .map(|(delivery, outside)| {
                let (kid, signature) = outside?;
                verdicts.next().unwrap_or(Err(Refusal::BadSignature))?;
                self.inside(delivery, kid, signature, now)
            })
            .collect()
    }

    /// What can be said without trusting a byte of the body.
    fn outside(&self, delivery: &Delivery) -> Result<(String, [u8; 64]), Fault> {
        if delivery.body.len() > MAX_BODY {
            let why =
                format!("body of {} bytes is over the limit of {MAX_BODY}", delivery.body.len());
            return fault(Code::Oversize, why);
        }
        if delivery.content_type.as_deref() != Some(CONTENT_TYPE) {
            return fault(Code::BadContentType, format!("content type is not {CONTENT_TYPE}"));
        }
        let header =
            |what: &str| delivery.headers.get(&format!("x-{}-{what}", self.identity.namespace()));
        let (Some(signature), Some(kid), Some(suite)) =
            (header("sig"), header("kid"), header("sigver"))
        else {
            return fault(Code::Unsigned, "a signature header is missing");
        };
        if suite != SUITE {
            return fault(Code::BadSignature, format!("signature suite is not {SUITE}"));
        }
        let signature = signature_from_text(signature)?;
        self.keys.usable(kid)?;
        Ok((kid.clone(), signature))
    }

    fn inside(
        &self,
        delivery: &Delivery,
        key_id: String,
        signature: [u8; 64],
        now: DateTime<Utc>,
    ) -> Result<Accepted, Fault> {
        let envelope = Envelope::decode(&delivery.body)?;
        self.keys.authorise(&key_id, &envelope.source, &envelope.event_type)?;
        check_mirrors(delivery, &envelope)?;
        let Some(short_type) = self.identity.short_type(&envelope.event_type) else {
            return fault(Code::UnknownType, "type is of another system");
        };
        let short_type = short_type.to_owned();
        let Some(handler) = self.handlers.of(&short_type) else {
            return if self.handlers.knows_other_major(&short_type) {
                fault(Code::UnsupportedVersion, "another major version is handled here")
            } else {
                fault(Code::UnknownType, "no handler is registered for this type")
            };
        };
        let body = delivery.body.clone();
        let body_sha256 = Sha256::digest(&body).into();
        let published_at = published_at(delivery, self.identity.namespace());
        let message = Arc::new(Message {
            envelope,
            short_type,
            body,
            body_sha256,
            signature,
            key_id,
            published_at,
        });
        // Reading is the event type's own code, and it may panic.
        let read = std::panic::catch_unwind(AssertUnwindSafe(|| handler.prepare(message.clone())));
        let prepared = match read {
            Ok(Ok(prepared)) => prepared,
            Ok(Err(why)) => return fault(Code::SchemaInvalid, why),
            Err(panic) => return fault(Code::Panicked, panic_text(&*panic)),
        };
        self.check_time(&message.envelope, now)?;
        Ok(Accepted { message, prepared, manner: handler.manner() })
    }

    fn check_time(&self, envelope: &Envelope, now: DateTime<Utc>) -> Result<(), Fault> {
        let ahead = envelope.time.signed_duration_since(now);
        if ahead > TOO_FAR_AHEAD {
            return fault(Code::TimeInFuture, "time is more than a day ahead");
        }
        if ahead > SKEWED {
            tracing::warn!(event_id = %envelope.id, source = envelope.source, "clock skew");
            metrics::counter!("clock_skew_total").increment(1);
        }
        if -ahead > self.inbox_retention {
            return fault(Code::Stale, "older than the inbox remembers");
        }
        Ok(())
    }
}

/// None where it is absent, or no time that a database has.
fn published_at(delivery: &Delivery, namespace: &str) -> Option<DateTime<Utc>> {
    let text = delivery.headers.get(&format!("x-{namespace}-published"))?;
    let at = DateTime::parse_from_rfc3339(text).ok()?.to_utc();
    (0..=9_999).contains(&at.year()).then_some(at)
}

/// What stands outside for routing and people must not tell another story than what was signed.
fn check_mirrors(delivery: &Delivery, envelope: &Envelope) -> Result<(), Fault> {
    let id = envelope.id.to_string();
    let correlation = envelope.correlationid.to_string();
    let service = envelope.source.rsplit(':').next();
    let header = |name: &str| delivery.headers.get(name).map(String::as_str);
    // The timestamp is left out: a broker may be told to set its own.
    for (name, outside, inside) in [
        ("message_id", delivery.message_id.as_deref(), Some(id.as_str())),
        ("type", delivery.type_name.as_deref(), Some(envelope.event_type.as_str())),
        ("correlation_id", delivery.correlation_id.as_deref(), Some(&correlation)),
        ("app_id", delivery.app_id.as_deref(), service),
        ("user_id", delivery.user_id.as_deref(), service),
        ("traceparent", header("traceparent"), envelope.traceparent.as_deref()),
        ("tracestate", header("tracestate"), envelope.tracestate.as_deref()),
        ("cloudEvents_id", header("cloudEvents_id"), Some(&id)),
        ("cloudEvents_source", header("cloudEvents_source"), Some(&envelope.source)),
        ("cloudEvents_type", header("cloudEvents_type"), Some(&envelope.event_type)),
        ("cloudEvents_subject", header("cloudEvents_subject"), Some(envelope.subject.as_str())),
        ("cloudEvents_specversion", header("cloudEvents_specversion"), Some(&envelope.specversion)),
    ] {
        if outside.is_some() && outside != inside {
            return fault(Code::HeaderMismatch, format!("{name} differs from the signed body"));
        }
    }
    if delivery.message_id.is_none() {
        return fault(Code::HeaderMismatch, "message_id is missing");
    }
    Ok(())
}

#[cfg(test)]
mod tests;
