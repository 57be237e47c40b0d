//! The handlers of a service, their types erased: what a consumer finds by the type of a message.

use std::any::{Any as AnyType, type_name, type_name_of_val};
use std::collections::BTreeMap;
use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;

use envelope::Event;

use crate::cause::Cause;
use crate::handler::{
    AnyHandler, ChunkHandler, Handler, HandlerResult, ManyHandler, Message, Received,
};
use crate::tx::Tx;

type Handling<'a> = Pin<Box<dyn Future<Output = HandlerResult> + Send + 'a>>;

/// Leaves it all to the [`ChunkHandler`].
struct Together;

impl AnyHandler for Together {
    async fn handle(&self, _: &mut Tx, _: Arc<Message>) -> HandlerResult {
        Ok(())
    }
}

/// Messages whose data has been read, of one type, and why whatever is done about each is done.
pub(crate) type Batch<'a> = [(&'a dyn Prepared, Cause)];

/// A message whose data has been read, bound to its handler.
pub(crate) trait Prepared: AnyType + Send + Sync {
    /// Handles all of `batch`, which are of the same type as this one.
    fn handle<'a>(&'a self, tx: &'a mut Tx, batch: &'a Batch<'a>) -> Handling<'a>;
}

/// How a handler wants its messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Manner {
    /// One by one, in whatever order.
    OneByOne,
    /// One by one, each aggregate's in the order of their versions, without a gap.
    InOrder,
    /// All of a transaction at once.
    Together,
}

/// A registered handler, its event type erased.
pub(crate) trait Registered: Send + Sync {
    /// Reads the data; the error says what does not fit.
    fn prepare(&self, message: Arc<Message>) -> Result<Box<dyn Prepared>, String>;
    fn manner(&self) -> Manner;
    /// For error texts.
    fn name(&self) -> &'static str;
}

/// One handler per message.
struct Single<H>(H);

/// One handler for all messages.
struct Many<H>(H);

struct Typed<E, K> {
    kind: Arc<K>,
    manner: Manner,
    name: &'static str,
    event: PhantomData<fn() -> E>,
}

struct TypedPrepared<E, K> {
    kind: Arc<K>,
    data: E,
    message: Arc<Message>,
}

impl<E: Event + Clone, K: Send + Sync + 'static> TypedPrepared<E, K> {
    /// What its handler sees of `batch`.
    fn received<'a>(batch: &'a Batch<'a>) -> impl Iterator<Item = Received<E>> + Send + 'a {
        batch.iter().filter_map(|(one, cause)| {
            let one: &dyn AnyType = *one;
            let Self { data, message, .. } = one.downcast_ref()?;
            Some(Received { data: data.clone(), message: message.clone(), cause: cause.clone() })
        })
    }
}

impl<E, K> Registered for Typed<E, K>
where
    E: Event + Clone,
    K: Send + Sync + 'static,
    TypedPrepared<E, K>: Prepared,
{
    fn prepare(&self, message: Arc<Message>) -> Result<Box<dyn Prepared>, String> {
        let data = message.envelope.data::<E>().map_err(|error| error.to_string())?;
        Ok(Box::new(TypedPrepared { kind: self.kind.clone(), data, message }))
    }

    fn manner(&self) -> Manner {
        self.manner
    }

    fn name(&self) -> &'static str {
        self.name
    }
}

impl<E: Event + Clone, H: Handler<E>> Prepared for TypedPrepared<E, Single<H>> {
    fn handle<'a>(&'a self, tx: &'a mut Tx, batch: &'a Batch<'a>) -> Handling<'a> {
        Box::pin(async move {
            for event in Self::received(batch) {
                tx.because_of(&event.cause);
                self.kind.0.handle(tx, event).await?;
            }
            Ok(())
        })
    }
}

impl<E: Event + Clone, H: ManyHandler<E>> Prepared for TypedPrepared<E, Many<H>> {
    fn handle<'a>(&'a self, tx: &'a mut Tx, batch: &'a Batch<'a>) -> Handling<'a> {
        // What it publishes without saying of which event must not count as another message's.
        if let Some((_, first)) = batch.first() {
            tx.because_of(first);
        }
        Box::pin(self.kind.0.handle_many(tx, Self::received(batch).collect()))
    }
}

struct Any<H>(Arc<H>);

struct AnyPrepared<H>(Arc<H>, Arc<Message>);

impl<H: AnyHandler> Registered for Any<H> {
    fn prepare(&self, message: Arc<Message>) -> Result<Box<dyn Prepared>, String> {
        Ok(Box::new(AnyPrepared(self.0.clone(), message)))
    }

    fn manner(&self) -> Manner {
        Manner::OneByOne
    }

    fn name(&self) -> &'static str {
        type_name::<H>()
    }
}

impl<H: AnyHandler> Prepared for AnyPrepared<H> {
    fn handle<'a>(&'a self, tx: &'a mut Tx, batch: &'a Batch<'a>) -> Handling<'a> {
        Box::pin(async move {
            for (one, cause) in batch {
                let one: &dyn AnyType = *one;
                if let Some(Self(handler, message)) = one.downcast_ref() {
                    tx.because_of(cause);
                    handler.handle(tx, message.clone()).await?;
                }
            }
            Ok(())
        })
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
        self.single::<E, _>(handler, Manner::OneByOne)
    }

    /// Handles `E` from stored state, in whatever order it comes, all of a transaction at once: where
    /// the first of them stands among the others.
    #[must_use]
    pub fn on_many<E: Event + Clone>(self, handler: impl ManyHandler<E>) -> Self {
        let name = type_name_of_val(&handler);
        self.register::<E, _>(Many(handler), Manner::Together, name)
    }

    /// Handles `E` in the order of its aggregate's versions: an older one is skipped, a gap waits
    /// on the retry ladder. Only for consumers that register every type of the aggregate this way;
    /// any other would wait for versions that never come.
    #[must_use]
    pub fn on_ordered<E: Event + Clone>(self, handler: impl Handler<E>) -> Self {
        self.single::<E, _>(handler, Manner::InOrder)
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

    fn single<E: Event + Clone, H: Handler<E>>(self, handler: H, manner: Manner) -> Self {
        self.register::<E, _>(Single(handler), manner, type_name::<H>())
    }

    fn register<E, K>(mut self, kind: K, manner: Manner, name: &'static str) -> Self
    where
        E: Event,
        Typed<E, K>: Registered + 'static,
    {
        let typed = Typed { kind: Arc::new(kind), manner, name, event: PhantomData };
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
