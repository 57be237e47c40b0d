//! One transaction over a chunk of messages: inbox rows, handlers one after the other, outbox rows,
//! one commit. It commits or fails as a whole.

use std::any::Any;
use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use envelope::Envelope;
use futures_util::FutureExt;
use metrics::histogram;
use opentelemetry::Context;

use crate::cause::Cause;
use crate::crash::{self, Point};
use crate::failure::Trouble;
use crate::handler::Message;
use crate::inbox::{self, Aggregate, Entry, Seen};
use crate::intake::Accepted;
use crate::pool::Pool;
use crate::reason::Code;
use crate::registry::{Handlers, Manner};
use crate::trace;
use crate::tx::Tx;

/// The longest that a statement of the kit's own may take. The server ends one after 30 s; one that is
/// frozen, or that the network has lost, ends nothing.
const ANSWER: Duration = Duration::from_secs(40);

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
    pub(crate) handlers: &'a Handlers,
    /// The consumer's name in the inbox.
    pub(crate) consumer: &'a str,
    /// The work queue, for span names.
    pub(crate) queue: &'a str,
    /// The longest that one handler may take.
    pub(crate) deadline: Duration,
}

/// The versions that ordering handlers have come to, within a transaction.
type Progress = HashMap<Aggregate, i32>;

impl Desk<'_> {
    /// Handles all of `batch` in one transaction. An error means that nothing of it happened. Gives the
    /// spans of those that were begun, which have ended.
    pub(crate) async fn handle(
        &self,
        batch: &[&Accepted],
    ) -> (Result<Vec<Outcome>, Trouble>, Vec<Context>) {
        let mut spans = Vec::with_capacity(batch.len());
        let result = self.commit_all(batch, &mut spans).await;
        let last = spans.len().saturating_sub(1);
        for (n, span) in spans.iter().enumerate() {
            // Where it broke off, the last one begun tells why; the others' traces have no share in
            // somebody else's error.
            match &result {
                Err(trouble) if n == last => trace::fail(span, trouble.class(), trouble.why()),
                Err(_) => trace::fail(span, "rolled_back", "rolled back with its chunk"),
                Ok(_) => {}
            }
            trace::end(span);
        }
        (result, spans)
    }

    async fn commit_all(
        &self,
        batch: &[&Accepted],
        spans: &mut Vec<Context>,
    ) -> Result<Vec<Outcome>, Trouble> {
        let nobody = Cause::resumed(self.pool.new_id(), None, None, None);
        let mut tx = answered(Tx::begin(self.pool, nobody)).await?;
        let entries: Vec<Entry> = batch.iter().map(|accepted| entry(accepted)).collect();
        let now = tx.now();
        let insert = inbox::insert(tx.conn(), self.consumer, &entries, self.deadline, now);
        let seen = answered(insert).await?;
        #[cfg(feature = "crash-points")]
        if crash::has(crash::Bug::InboxApart) {
            tx.commit().await?;
            tx = Tx::begin(self.pool, Cause::resumed(self.pool.new_id(), None, None, None)).await?;
        }
        crash::point(Point::C9);
        let new: Vec<&Accepted> = batch
            .iter()
            .zip(&seen)
            .filter_map(|(accepted, seen)| (*seen == Seen::New).then_some(*accepted))
            .collect();
        self.before_chunk(&mut tx, &new).await?;
        let mut progress = self.progress(&mut tx, &new).await?;
        let mut together = together(&new);
        let mut outcomes = Vec::with_capacity(batch.len());
        for (accepted, seen) in batch.iter().zip(seen) {
            outcomes.push(match seen {
                Seen::Before => Outcome::Duplicate,
                Seen::Collision => Outcome::Collision,
                Seen::New if accepted.manner == Manner::Together => {
                    let all = together.remove(&*accepted.message.short_type);
                    self.all(&mut tx, &all.unwrap_or_default(), spans).await?;
                    Outcome::Handled
                }
                Seen::New => {
                    let span = self.span(accepted);
                    spans.push(span.clone());
                    self.one(&mut tx, accepted, span, &mut progress).await?
                }
            });
        }
        crash::point(Point::C12);
        // Cut off, it may have taken effect all the same: then all of them are duplicates next time.
        answered(tx.commit()).await?;
        Ok(outcomes)
    }

    async fn before_chunk(&self, tx: &mut Tx, new: &[&Accepted]) -> Result<(), Trouble> {
        let Some(handler) = self.handlers.chunk_handler() else { return Ok(()) };
        if new.is_empty() {
            return Ok(());
        }
        let messages: Vec<Arc<Message>> = new.iter().map(|one| one.message.clone()).collect();
        self.bounded(async { handler.before_chunk(tx, &messages).await }).await
    }

    async fn one(
        &self,
        tx: &mut Tx,
        accepted: &Accepted,
        span: Context,
        progress: &mut Progress,
    ) -> Result<Outcome, Trouble> {
        if accepted.is_ordered() && !self.in_order(tx, accepted, progress).await? {
            return Ok(Outcome::Superseded);
        }
        let begun = Instant::now();
        let alone = [(&*accepted.prepared, cause(accepted, span))];
        let handled = self.bounded(async { accepted.prepared.handle(tx, &alone).await }).await;
        let kind = accepted.message.short_type.clone();
        histogram!("handler_duration_seconds", "type" => kind).record(begun.elapsed());
        handled.map(|()| Outcome::Handled)
    }

    /// Hands all of these to the one handler that wants them together; none once that is done.
    async fn all(
        &self,
        tx: &mut Tx,
        all: &[&Accepted],
        spans: &mut Vec<Context>,
    ) -> Result<(), Trouble> {
        let Some(first) = all.first() else { return Ok(()) };
        let mut received = Vec::with_capacity(all.len());
        for one in all {
            let span = self.span(one);
            spans.push(span.clone());
            received.push((&*one.prepared, cause(one, span)));
        }
        let begun = Instant::now();
        let handled = self.bounded(async { first.prepared.handle(tx, &received).await }).await;
        // Each took its share, so that counts and sums mean the same for every handler.
        let took = begun.elapsed().as_secs_f64() / all.len() as f64;
        let kind = first.message.short_type.clone();
        histogram!("handler_duration_seconds", "type" => kind).record_many(took, all.len());
        handled
    }

    /// A service's own code: it may panic, and it may take no longer than the deadline.
    async fn bounded(
        &self,
        work: impl Future<Output = crate::HandlerResult>,
    ) -> Result<(), Trouble> {
        let work = AssertUnwindSafe(work).catch_unwind();
        match tokio::time::timeout(self.deadline, work).await {
            Ok(Ok(handled)) => handled.map_err(Trouble::from),
            Ok(Err(panic)) => {
                let panic = crash::or_die(panic);
                Err(Trouble::Transient(Code::Panicked, panic_text(&*panic)))
            }
            Err(_) => {
                let why = format!("handler was not done within {:?}", self.deadline);
                Err(Trouble::Overdue(why))
            }
        }
    }

    /// How far ordering handlers have come with the aggregates of these messages, locked.
    async fn progress(&self, tx: &mut Tx, new: &[&Accepted]) -> Result<Progress, Trouble> {
        let aggregates: Vec<Aggregate> =
            new.iter().filter(|one| one.is_ordered()).map(|one| aggregate(one)).collect();
        if aggregates.is_empty() {
            return Ok(Progress::new());
        }
        answered(inbox::last_versions(tx.conn(), self.consumer, &aggregates)).await
    }

    /// True: the next version. False: an old one. A gap is trouble that may pass.
    async fn in_order(
        &self,
        tx: &mut Tx,
        accepted: &Accepted,
        progress: &mut Progress,
    ) -> Result<bool, Trouble> {
        let aggregate = aggregate(accepted);
        let (source, subject) = &aggregate;
        let version = accepted.message.envelope.aggversion as i32;
        let last = progress.get(&aggregate).copied().unwrap_or(0);
        if version <= last {
            return Ok(false);
        }
        if version > last + 1 {
            let why = format!("version {version} of {subject} came after version {last}");
            return Err(Trouble::Transient(Code::SequenceGap, why));
        }
        if answered(inbox::advance(tx.conn(), self.consumer, source, subject, version)).await? {
            progress.insert(aggregate, version);
            Ok(true)
        } else {
            Err(Trouble::Blip(format!("another replica moved {subject} on")))
        }
    }

    fn span(&self, accepted: &Accepted) -> Context {
        let envelope = &accepted.message.envelope;
        let from = crate::topology::destination(&accepted.message.short_type);
        let destination = format!("{from}:{}", self.queue);
        let about = about(envelope, &destination);
        trace::process(self.pool.tracer(), envelope, about, self.pool.clock().now())
    }
}

/// What a span of a message that came is about.
pub(crate) fn about<'a>(envelope: &'a Envelope, destination: &'a str) -> trace::About<'a> {
    trace::About {
        system: crate::topology::SYSTEM,
        destination,
        event_id: envelope.id.to_string(),
        event_type: &envelope.event_type,
        subject: envelope.subject.as_str(),
        correlation_id: envelope.correlationid.to_string(),
    }
}

/// Those that are wanted together, by their type.
fn together<'a>(new: &[&'a Accepted]) -> HashMap<&'a str, Vec<&'a Accepted>> {
    let mut all: HashMap<&str, Vec<&Accepted>> = HashMap::new();
    for one in new.iter().filter(|one| one.manner == Manner::Together) {
        all.entry(&one.message.short_type).or_default().push(one);
    }
    all
}

/// Why whatever is done about a message is done.
fn cause(accepted: &Accepted, span: Context) -> Cause {
    let envelope = &accepted.message.envelope;
    Cause {
        correlation_id: envelope.correlationid,
        causation_id: Some(envelope.id),
        context: span,
        from_outside: false,
    }
}

async fn answered<T, E: Into<Trouble>>(
    statement: impl Future<Output = Result<T, E>>,
) -> Result<T, Trouble> {
    match tokio::time::timeout(ANSWER, statement).await {
        Ok(answer) => answer.map_err(Into::into),
        Err(_) => Err(Trouble::Away(format!("no answer within {ANSWER:?}"))),
    }
}

fn aggregate(accepted: &Accepted) -> Aggregate {
    let envelope = &accepted.message.envelope;
    (envelope.source.clone(), envelope.subject.to_string())
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

/// What a panic said, where it said it in words.
pub(crate) fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned());
    format!("handler panicked: {}", text.unwrap_or_else(|| "no message".into()))
}
