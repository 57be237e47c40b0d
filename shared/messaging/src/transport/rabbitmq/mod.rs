//! RabbitMQ 3.10 and later, by AMQP 0-9-1. All of `lapin` lives in this folder.
//!
//! Its recovery stays off: it restores less than it promises, and a stream that ends looks healthy
//! from outside. Connections are rebuilt whole, by whoever holds the publisher or subscription.

mod connection;
mod copies;
mod headers;
mod publisher;
mod subscriber;
mod topology;

use std::time::Duration;

use async_trait::async_trait;

use super::{Publisher, Subscription, Transport, TransportError};
use crate::topology::Topology;
use connection::connect;
pub use topology::{Binding, Survey};

/// The exchanges. Queues are named by [`Topology`].
pub(crate) mod exchange {
    /// Topic: all events, by short type.
    pub(crate) const EVENTS: &str = crate::topology::EVENTS;
    /// Direct: copies on their way to a rung, by the retry queue's name.
    pub(crate) const RETRY: &str = "retry";
    /// Direct: copies on their way back, by the work queue's name. Not the events exchange, or
    /// every other subscriber would see the retry.
    pub(crate) const REQUEUE: &str = "requeue";
    /// Direct: parked messages, by the dead-letter queue's name.
    pub(crate) const DEAD_LETTERS: &str = "dead-letters";
}

/// How to talk to RabbitMQ.
#[derive(Debug, Clone)]
pub struct RabbitMq {
    url: String,
    name: String,
    namespace: String,
    confirm_timeout: Duration,
}

impl RabbitMq {
    /// `url` is `amqp://user:password@host:port/vhost`; `name` names the connections on the
    /// broker's side; `namespace` stands in header names. Nothing is connected yet.
    pub fn new(
        url: impl Into<String>,
        name: impl Into<String>,
        namespace: impl Into<String>,
    ) -> Self {
        Self {
            url: url.into(),
            name: name.into(),
            namespace: namespace.into(),
            confirm_timeout: Duration::from_secs(10),
        }
    }

    /// How long a confirm may take before its message counts as unknown and the connection is
    /// closed; default 10 s. Time in which the broker holds us back does not count.
    #[must_use]
    pub fn confirm_timeout(mut self, timeout: Duration) -> Self {
        self.confirm_timeout = timeout;
        self
    }

    /// Looks at all that services need of the broker, and changes nothing.
    ///
    /// # Errors
    /// [`TransportError::Topology`] when something exists with other properties: all differences.
    pub async fn survey(&self, topologies: &[Topology]) -> Result<Survey, TransportError> {
        let connection = self.provisioning().await?;
        let found = topology::survey(&connection, topologies).await;
        connection::close(&connection).await;
        found
    }

    /// Makes what a survey found missing, and tells `made` each thing once it is there: `queue
    /// order.in`. Bindings of queues that were there are made sure of; one of them is told only if
    /// the survey [knows](Survey::with_bindings) that it was missing.
    ///
    /// # Errors
    /// [`TransportError`]: what was told is there, and nothing else.
    pub async fn make(
        &self,
        survey: &Survey,
        mut made: impl FnMut(String) + Send,
    ) -> Result<(), TransportError> {
        let connection = self.provisioning().await?;
        let done = topology::make(&connection, survey, &mut made).await;
        connection::close(&connection).await;
        done
    }

    async fn provisioning(&self) -> Result<connection::Owned, TransportError> {
        connect(&self.url, &format!("{} provision", self.name)).await
    }
}

#[async_trait]
impl Transport for RabbitMq {
    async fn publisher(&self) -> Result<Box<dyn Publisher>, TransportError> {
        let connection = connect(&self.url, &format!("{} publisher", self.name)).await?;
        let publisher = publisher::RabbitPublisher::open(connection, self.confirm_timeout).await?;
        Ok(Box::new(publisher))
    }

    async fn subscribe(
        &self,
        topology: &Topology,
        prefetch: u16,
    ) -> Result<Box<dyn Subscription>, TransportError> {
        let queue = topology.work_queue();
        Ok(Box::new(subscriber::RabbitSubscription::open(self, topology, queue, prefetch).await?))
    }

    async fn parked(&self, topology: &Topology) -> Result<Box<dyn Subscription>, TransportError> {
        let queue = topology.dead_letter_queue();
        Ok(Box::new(subscriber::RabbitSubscription::open(self, topology, queue, 16).await?))
    }

    async fn provision(&self, topology: &Topology) -> Result<Vec<String>, TransportError> {
        let survey = self.survey(std::slice::from_ref(topology)).await?;
        let mut made = Vec::new();
        self.make(&survey, |one| made.push(one)).await?;
        Ok(made)
    }
}
