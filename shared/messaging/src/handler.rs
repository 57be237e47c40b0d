//! What a service registers: handlers for event types.

use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use envelope::{Envelope, Event};
use uuid::Uuid;

use crate::cause::Cause;
use crate::tx::{Tx, TxError};

/// A verified event, as a handler sees it.
#[derive(Debug, Clone)]
pub struct Received<E> {
    /// The event.
    pub data: E,
    /// What it travelled in.
    pub message: Arc<Message>,
    /// Why whatever is done about it is done: the event itself, in the span of its handling.
    pub cause: Cause,
}

/// Why something happens to each of the aggregates that one transaction is about.
pub type Causes = HashMap<Uuid, Cause>;

impl<E> Received<E> {
    /// The causes of `events`, by the id of what each is `about`.
    pub fn causes(events: &[Self], about: impl Fn(&E) -> Uuid) -> Causes {
        events.iter().map(|event| (about(&event.data), event.cause.clone())).collect()
    }
}

/// A verified message.
#[derive(Debug)]
pub struct Message {
    /// The envelope, read from `body`.
    pub envelope: Envelope,
    /// The type without the namespace.
    pub short_type: String,
    /// The exact bytes that were signed.
    pub body: Vec<u8>,
    /// SHA-256 of `body`.
    pub body_sha256: [u8; 32],
    /// Ed25519, 64 bytes.
    pub signature: [u8; 64],
    /// The key that vouched for it.
    pub key_id: String,
    /// When its publisher handed it to the broker, by that process's clock. Nobody signs for it: good
    /// for figures, nothing more.
    pub published_at: Option<DateTime<Utc>>,
}

/// A failed handling. The variant is the decision, the source is for the log.
#[derive(Debug, thiserror::Error)]
pub enum HandlerError {
    /// May pass later: retry ladder, then parked.
    #[error("transient failure")]
    Transient(#[source] anyhow::Error),
    /// What handlers need besides the database is away, and the message is innocent: no attempt is
    /// spent, and the consumer pauses until a try with this message gets through. Say it of nothing
    /// that may be the message's own fault, or it holds up all others.
    #[error("what is needed is away")]
    Unavailable(#[source] anyhow::Error),
    /// The aggregate is not known here yet; it may be on its way. Retry ladder, then parked.
    #[error("aggregate is not known here")]
    UnknownAggregate,
    /// Will never pass (bad data, broken rule): parked at once.
    #[error("permanent failure")]
    Permanent(#[source] anyhow::Error),
    /// The database failed. Whether to try again at once, to wait or to climb the ladder follows
    /// from the error.
    #[error("database failure")]
    Database(#[source] sqlx::Error),
}

impl From<sqlx::Error> for HandlerError {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(error)
    }
}

impl From<TxError> for HandlerError {
    fn from(error: TxError) -> Self {
        match error {
            TxError::Database(error) => Self::Database(error),
            TxError::Encode(error) => Self::Permanent(error.into()),
            full @ TxError::OutboxFull => Self::Transient(full.into()),
        }
    }
}

impl From<envelope::EncodeError> for HandlerError {
    fn from(error: envelope::EncodeError) -> Self {
        Self::Permanent(error.into())
    }
}

/// What handling came to.
pub type HandlerResult = Result<(), HandlerError>;

/// Reacts to events of type `E`.
///
/// Everything it does goes through `tx`: its effects, its outgoing events and the inbox row commit
/// together. It must not commit, acknowledge, publish elsewhere, or call the outside world; it
/// decides from stored state, because messages come at least once and in any order.
pub trait Handler<E: Event>: Send + Sync + 'static {
    /// Handles one event.
    ///
    /// # Errors
    /// [`HandlerError`]: its variant decides what becomes of the message.
    fn handle(&self, tx: &mut Tx, event: Received<E>)
    -> impl Future<Output = HandlerResult> + Send;
}

/// Reacts to all events of type `E` that a transaction has, at once: what reads and writes for all of
/// them together takes a statement where [`Handler`] takes one for each.
///
/// What several of them do to the same row is this handler's to add up, and because of which event
/// something is published [`Tx::because_of`] says; until it does, that is the first one. Fails one of
/// them, none is handled, and each is tried alone.
pub trait ManyHandler<E: Event>: Send + Sync + 'static {
    /// Handles at least one event; several in the order in which they came.
    ///
    /// # Errors
    /// As [`Handler::handle`].
    fn handle_many(
        &self,
        tx: &mut Tx,
        events: Vec<Received<E>>,
    ) -> impl Future<Output = HandlerResult> + Send;
}

/// Reacts to every message whose signature and envelope hold, whatever its type.
pub trait AnyHandler: Send + Sync + 'static {
    /// Handles one message. As [`Handler::handle`].
    ///
    /// # Errors
    /// [`HandlerError`]: its variant decides what becomes of the message.
    fn handle(
        &self,
        tx: &mut Tx,
        message: Arc<Message>,
    ) -> impl Future<Output = HandlerResult> + Send;
}

/// Sees all messages of a transaction at once, before their handlers run one after the other.
///
/// The consumer handles in one transaction whatever is ready. What can be done for all of it at once
/// is cheaper than message by message; and rows that several messages lock must be locked here, in
/// one order for all, or two replicas wait for each other.
pub trait ChunkHandler: Send + Sync + 'static {
    /// Prepares for `messages`, each of them new. Of one that stands alone the slice has one.
    ///
    /// # Errors
    /// As [`Handler::handle`]; none of the messages is handled then, and each is tried alone.
    fn before_chunk(
        &self,
        tx: &mut Tx,
        messages: &[Arc<Message>],
    ) -> impl Future<Output = HandlerResult> + Send;
}
