//! One transaction over a chunk of messages: inbox rows, handlers one after the other, outbox rows,
//! one commit. It commits or fails as a whole.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use metrics::histogram;
use opentelemetry::Context;

use crate::cause::Cause;
use crate::failure::Trouble;
use crate::inbox::{self, Entry, Seen};
use crate::intake::Accepted;
use crate::pool::Pool;
use crate::reason::Code;
use crate::trace;
use crate::tx::Tx;

/// What a message came to in a committed transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Its effects are stored now.
    Handled,
    /// They were stored before.
    Duplicate,
    /// A later version of its aggregate was applied before; there is nothing left to do.
    Superseded,
    /// Another message was handled under its id.
    Collision,
}

/// Everything a transaction needs but its messages.
pub(crate) struct Desk<'a> {
    pub(crate) pool: &'a Pool,
    /// The consumer's name in the inbox.
    pub(crate) consumer: &'a str,
    /// The work queue, for span names.
    pub(crate) queue: &'a str,
    /// The longest that one handler may take.
    pub(crate) deadline: Duration,
}

impl Desk<'_> {
    /// Handles all of `batch` in one transaction. An error means that nothing of it happened.
    pub(crate) async fn handle(&self, batch: &[&Accepted]) -> Result<Vec<Outcome>, Trouble> {
        let mut spans = Vec::with_capacity(batch.len());
        let result = self.commit_all(batch, &mut spans).await;
        for span in &spans {
            if let Err(trouble) = &result {
                trace::fail(span, trouble.class(), trouble.why());
            }
            trace::end(span);
        }
        result
    }

    async fn commit_all(
        &self,
        batch: &[&Accepted],
        spans: &mut Vec<Context>,
    ) -> Result<Vec<Outcome>, Trouble> {
        let nobody = Cause::request(self.pool.new_id(), Context::new());
        let mut tx = Tx::begin(self.pool, nobody).await?;
        let entries: Vec<Entry> = batch.iter().map(|accepted| entry(accepted)).collect();
        let now = tx.now();
        let seen = inbox::insert(tx.conn(), self.consumer, &entries, now).await?;
        let mut outcomes = Vec::with_capacity(batch.len());
        for (accepted, seen) in batch.iter().zip(seen) {
            outcomes.push(match seen {
                Seen::Before => Outcome::Duplicate,
                Seen::Collision => Outcome::Collision,
                Seen::New => {
                    let span = self.span(accepted);
                    spans.push(span.clone());
                    self.one(&mut tx, accepted, span).await?
                }
            });
        }
        tx.commit().await?;
        Ok(outcomes)
    }

    async fn one(
        &self,
        tx: &mut Tx,
        accepted: &Accepted,
        span: Context,
    ) -> Result<Outcome, Trouble> {
        let envelope = &accepted.message.envelope;
        tx.set_cause(Cause {
            correlation_id: envelope.correlationid,
            causation_id: Some(envelope.id),
            context: span,
        });
        if accepted.ordered && !self.in_order(tx, accepted).await? {
            return Ok(Outcome::Superseded);
        }
        let begun = Instant::now();
        let handling = AssertUnwindSafe(accepted.prepared.handle(tx)).catch_unwind();
        let result = tokio::time::timeout(self.deadline, handling).await;
        let kind = accepted.message.short_type.clone();
        histogram!("handler_duration_seconds", "type" => kind).record(begun.elapsed());
        match result {
            Ok(Ok(handled)) => handled.map(|()| Outcome::Handled).map_err(Trouble::from),
            Ok(Err(panic)) => Err(Trouble::Transient(Code::Panicked, panic_text(&*panic))),
            Err(_) => {
                let why = format!("handler was not done within {:?}", self.deadline);
                Err(Trouble::Transient(Code::RetriesExhausted, why))
            }
        }
    }

    /// True: the next version. False: an old one. A gap is trouble that may pass.
    async fn in_order(&self, tx: &mut Tx, accepted: &Accepted) -> Result<bool, Trouble> {
        let envelope = &accepted.message.envelope;
        let (source, subject) = (&envelope.source, envelope.subject.as_str());
        let version = envelope.aggversion as i32;
        let last = inbox::last_version(tx.conn(), self.consumer, source, subject).await?;
        if version <= last {
            return Ok(false);
        }
        if version > last + 1 {
            let why = format!("version {version} of {subject} came after version {last}");
            return Err(Trouble::Transient(Code::SequenceGap, why));
        }
        if inbox::advance(tx.conn(), self.consumer, source, subject, version).await? {
            Ok(true)
        } else {
            Err(Trouble::Blip(format!("another replica moved {subject} on")))
        }
    }

    fn span(&self, accepted: &Accepted) -> Context {
        let envelope = &accepted.message.envelope;
        let from = crate::topology::destination(&accepted.message.short_type);
        let about = trace::About {
            system: crate::topology::SYSTEM,
            destination: &format!("{from}:{}", self.queue),
            event_id: envelope.id.to_string(),
            event_type: &envelope.event_type,
            subject: envelope.subject.as_str(),
            correlation_id: envelope.correlationid.to_string(),
        };
        trace::process(self.pool.tracer(), envelope, about, self.pool.clock().now())
    }
}

fn entry(accepted: &Accepted) -> Entry {
    let message = &accepted.message;
    Entry {
        source: message.envelope.source.clone(),
        event_id: message.envelope.id,
        event_type: message.envelope.event_type.clone(),
        subject: message.envelope.subject.to_string(),
        // The envelope's check bounds it.
        aggversion: message.envelope.aggversion as i32,
        body_sha256: message.body_sha256,
        key_id: message.key_id.clone(),
    }
}

fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned());
    format!("handler panicked: {}", text.unwrap_or_else(|| "no message".into()))
}
