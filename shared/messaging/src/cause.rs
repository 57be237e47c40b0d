//! Why something happens: what an event written now belongs to and answers.

use opentelemetry::Context;
use uuid::Uuid;

/// The chain that work belongs to. Carried by a [`Tx`](crate::Tx) into every event it writes.
#[derive(Debug, Clone)]
pub struct Cause {
    pub(crate) correlation_id: Uuid,
    pub(crate) causation_id: Option<Uuid>,
    pub(crate) context: Context,
    /// Whether somebody outside waits for it, who can be told to come back later.
    pub(crate) from_outside: bool,
}

impl Cause {
    /// Work that starts a chain of its own, such as a request: `correlation_id` is what everything
    /// it sets in motion will share, `context` holds the span that it runs in.
    pub fn request(correlation_id: Uuid, context: Context) -> Self {
        Self { correlation_id, causation_id: None, context, from_outside: true }
    }

    /// Work that goes on with a stored chain, such as a leased task: `causation_id` is the event
    /// that asked for it, `traceparent` and `tracestate` are the stored W3C context.
    pub fn resumed(
        correlation_id: Uuid,
        causation_id: Option<Uuid>,
        traceparent: Option<&str>,
        tracestate: Option<&str>,
    ) -> Self {
        let context = crate::trace::extract(traceparent, tracestate);
        Self { correlation_id, causation_id, context, from_outside: false }
    }

    /// The same chain, inside another span.
    #[must_use]
    pub fn within(&self, context: Context) -> Self {
        Self { context, ..self.clone() }
    }

    /// What everything in this chain shares.
    pub fn correlation_id(&self) -> Uuid {
        self.correlation_id
    }

    /// The event that is being answered, if any.
    pub fn causation_id(&self) -> Option<Uuid> {
        self.causation_id
    }

    /// The span that the work runs in.
    pub fn context(&self) -> &Context {
        &self.context
    }

    /// The W3C `traceparent` of that span, to store with work that is done later.
    pub fn traceparent(&self) -> Option<String> {
        crate::trace::inject(&self.context).traceparent
    }
}
