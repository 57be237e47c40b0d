//! What audit listens to: everything. The consumer owns the transaction of each message.

use std::sync::Arc;

use chrono::{DateTime, SubsecRound as _, Utc};
use messaging::step::Signal;
use messaging::{ChunkHandler, HandlerError, HandlerResult, Handlers, Message, Tx};

use crate::application::ports::StoreError;
use crate::application::record_event::{RecordError, record_events};
use crate::domain::chain::Entry;
use crate::store;

/// Longer than any version of W3C Trace Context says.
const LONGEST_TRACEPARENT: usize = 128;

/// What audit listens to.
pub fn handlers(recorded: &Signal) -> Handlers {
    Handlers::new().on_any_together(Recording { recorded: recorded.clone() })
}

/// Records events.
struct Recording {
    /// Given when there is something new in the log.
    recorded: Signal,
}

impl ChunkHandler for Recording {
    async fn before_chunk(&self, tx: &mut Tx, messages: &[Arc<Message>]) -> HandlerResult {
        let received_at = tx.now();
        let entries: Vec<Entry<'_>> =
            messages.iter().map(|message| entry(message, received_at)).collect();
        if record_events(&mut store(tx), &entries).await? {
            tx.after_commit(&self.recorded);
        }
        Ok(())
    }
}

fn entry(message: &Message, received_at: DateTime<Utc>) -> Entry<'_> {
    let envelope = &message.envelope;
    Entry {
        event_id: envelope.id,
        source: &envelope.source,
        event_type: &envelope.event_type,
        subject: envelope.subject.as_str(),
        // The envelope's check bounds it.
        aggversion: envelope.aggversion as i32,
        correlation_id: envelope.correlationid,
        causation_id: envelope.causationid,
        traceparent: envelope.traceparent.as_deref().filter(|text| is_plain(text)),
        // As finely as Postgres stores it, so that what is hashed can be hashed again.
        occurred_at: envelope.time.trunc_subsecs(6),
        received_at,
        published_at: message.published_at,
        body: &message.body,
        signature: &message.signature,
        key_id: &message.key_id,
    }
}

/// Nobody has checked this field yet. The body keeps it, whatever it is.
fn is_plain(traceparent: &str) -> bool {
    traceparent.len() <= LONGEST_TRACEPARENT && traceparent.bytes().all(|c| c.is_ascii_graphic())
}

impl From<RecordError> for HandlerError {
    fn from(error: RecordError) -> Self {
        match error {
            RecordError::Store(StoreError(error)) => Self::Database(error),
            some_known @ RecordError::SomeKnown => Self::Transient(some_known.into()),
        }
    }
}
