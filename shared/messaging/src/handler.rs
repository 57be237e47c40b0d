//! What a service registers: handlers for event types.

use std::any::type_name;
use std::collections::BTreeMap;
use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use envelope::{Envelope, Event};

use crate::tx::{Tx, TxError};

/// A verified event, as a handler sees it.
#[derive(Debug, Clone)]
pub struct Received<E> {
    /// The event.
    pub data: E,
    /// What it travelled in.
    pub message: Arc<Message>,
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

type Handling<'a> = Pin<Box<dyn Future<Output = HandlerResult> + Send + 'a>>;

/// Leaves it all to the [`ChunkHandler`].
struct Together;

impl AnyHandler for Together {
    async fn handle(&self, _: &mut Tx, _: Arc<Message>) -> HandlerResult {
        Ok(())
    }
}

/// An event whose data has been read, bound to its handler.
pub(crate) trait Prepared: Send + Sync {
    fn handle<'a>(&'a self, tx: &'a mut Tx) -> Handling<'a>;
}

/// A registered handler, its event type erased.
pub(crate) trait Registered: Send + Sync {
    /// Reads the data; the error says what does not fit.
    fn prepare(&self, message: Arc<Message>) -> Result<Box<dyn Prepared>, String>;
    /// Whether versions of one aggregate must be applied in order, without a gap.
    fn ordered(&self) -> bool;
    /// For error texts.
    fn name(&self) -> &'static str;
}

struct Typed<E, H> {
    handler: Arc<H>,
    ordered: bool,
    event: PhantomData<fn() -> E>,
}

struct TypedPrepared<E, H> {
    handler: Arc<H>,
    event: Received<E>,
}

impl<E: Event + Clone, H: Handler<E>> Registered for Typed<E, H> {
    fn prepare(&self, message: Arc<Message>) -> Result<Box<dyn Prepared>, String> {
        let data = message.envelope.data::<E>().map_err(|error| error.to_string())?;
        let (handler, event) = (self.handler.clone(), Received { data, message });
        Ok(Box::new(TypedPrepared { handler, event }))
    }

    fn ordered(&self) -> bool {
        self.ordered
    }

    fn name(&self) -> &'static str {
        type_name::<H>()
    }
}

impl<E: Event + Clone, H: Handler<E>> Prepared for TypedPrepared<E, H> {
    fn handle<'a>(&'a self, tx: &'a mut Tx) -> Handling<'a> {
        Box::pin(self.handler.handle(tx, self.event.clone()))
    }
}

struct Any<H>(Arc<H>);

struct AnyPrepared<H>(Arc<H>, Arc<Message>);

impl<H: AnyHandler> Registered for Any<H> {
    fn prepare(&self, message: Arc<Message>) -> Result<Box<dyn Prepared>, String> {
        Ok(Box::new(AnyPrepared(self.0.clone(), message)))
    }

    fn ordered(&self) -> bool {
        false
    }

    fn name(&self) -> &'static str {
        type_name::<H>()
    }
}

impl<H: AnyHandler> Prepared for AnyPrepared<H> {
    fn handle<'a>(&'a self, tx: &'a mut Tx) -> Handling<'a> {
        Box::pin(self.0.handle(tx, self.1.clone()))
    }
}

/// A [`ChunkHandler`], its type erased.
pub(crate) trait BeforeChunk: Send + Sync {
    fn before_chunk<'a>(&'a self, tx: &'a mut Tx, messages: &'a [Arc<Message>]) -> Handling<'a>;
}

struct Chunked<H>(H);

impl<H: ChunkHandler> BeforeChunk for Chunked<H> {
    fn before_chunk<'a>(&'a self, tx: &'a mut Tx, messages: &'a [Arc<Message>]) -> Handling<'a> {
        Box::pin(self.0.before_chunk(tx, messages))
    }
}

/// The handlers of one service. Its queue's bindings follow from them.
#[derive(Default)]
pub struct Handlers {
    by_type: BTreeMap<&'static str, Box<dyn Registered>>,
    any: Option<Box<dyn Registered>>,
    chunk: Option<Box<dyn BeforeChunk>>,
}

impl Handlers {
    /// No handlers yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Handles `E` from stored state, in whatever order it comes.
    #[must_use]
    pub fn on<E: Event + Clone>(self, handler: impl Handler<E>) -> Self {
        self.register::<E, _>(handler, false)
    }

    /// Handles `E` in the order of its aggregate's versions: an older one is skipped, a gap waits
    /// on the retry ladder. Only for consumers that register every type of the aggregate this way;
    /// any other would wait for versions that never come.
    #[must_use]
    pub fn on_ordered<E: Event + Clone>(self, handler: impl Handler<E>) -> Self {
        self.register::<E, _>(handler, true)
    }

    /// Handles every event there is, also of types unknown here.
    #[must_use]
    pub fn on_any(mut self, handler: impl AnyHandler) -> Self {
        self.any = Some(Box::new(Any(Arc::new(handler))));
        self
    }

    /// Handles every event there is, also of types unknown here, all of a transaction at once: what
    /// stores them needs one statement and not one for each.
    #[must_use]
    pub fn on_any_together(self, handler: impl ChunkHandler) -> Self {
        self.on_any(Together).on_chunk(handler)
    }

    /// Shows `handler` all messages of a transaction before they are handled.
    #[must_use]
    pub fn on_chunk(mut self, handler: impl ChunkHandler) -> Self {
        self.chunk = Some(Box::new(Chunked(handler)));
        self
    }

    pub(crate) fn chunk_handler(&self) -> Option<&dyn BeforeChunk> {
        self.chunk.as_deref()
    }

    fn register<E: Event + Clone, H: Handler<E>>(mut self, handler: H, ordered: bool) -> Self {
        let typed = Typed { handler: Arc::new(handler), ordered, event: PhantomData };
        if let Some(first) = self.by_type.insert(E::TYPE, Box::new(typed)) {
            tracing::warn!(event = E::TYPE, replaced = first.name(), "two handlers for one event");
        }
        self
    }

    /// The short types to bind to; `#` when everything is handled.
    pub fn bindings(&self) -> Vec<String> {
        match self.any {
            Some(_) => vec!["#".to_owned()],
            None => self.by_type.keys().map(|name| (*name).to_owned()).collect(),
        }
    }

    pub(crate) fn of(&self, short_type: &str) -> Option<&dyn Registered> {
        self.by_type.get(short_type).or(self.any.as_ref()).map(Box::as_ref)
    }

    /// Whether another major version of this type is handled.
    pub(crate) fn knows_other_major(&self, short_type: &str) -> bool {
        let name = |full: &str| full.rsplit_once(".v").map(|(name, _)| name.to_owned());
        let asked = name(short_type);
        asked.is_some() && self.by_type.keys().any(|known| name(known) == asked)
    }
}
