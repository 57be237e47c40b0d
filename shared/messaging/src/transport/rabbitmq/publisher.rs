//! Publishing with confirms.

use std::collections::HashSet;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::join_all;
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::{BasicProperties, Channel, Confirmation, PublisherConfirm};

use super::super::{Fate, Outgoing, Publisher, TransportError};
use super::connection::{Owned, answered, close};
use super::{exchange, headers};

/// How often a wait for confirms looks whether the broker holds us back.
const BLOCKED_CHECK: Duration = Duration::from_millis(250);

pub(crate) struct RabbitPublisher {
    connection: Owned,
    channel: Channel,
    confirm_timeout: Duration,
    trouble: String,
}

/// Where one message goes, and what it is.
pub(crate) struct Publication<'a> {
    pub(crate) exchange: &'static str,
    pub(crate) routing_key: &'a str,
    pub(crate) properties: BasicProperties,
    pub(crate) body: &'a [u8],
}

impl RabbitPublisher {
    pub(crate) async fn open(
        connection: Owned,
        confirm_timeout: Duration,
    ) -> Result<Self, TransportError> {
        let channel = answered(connection.create_channel()).await?;
        answered(channel.confirm_select(ConfirmSelectOptions::default())).await?;
        Ok(Self { connection, channel, confirm_timeout, trouble: String::new() })
    }

    /// Publishes all and waits for all. One batch is in flight on the channel at a time, because
    /// only a batch that is complete can be judged: the client library hands a returned message to
    /// whichever confirm completes next, so who was returned is known by message id alone.
    pub(crate) async fn publish_all(&mut self, batch: &[Publication<'_>]) -> Vec<Fate> {
        match self.settled(batch).await {
            Ok(confirmations) => fates(batch, confirmations),
            // Some answers are missing, so no absence of a return can be trusted either.
            Err(trouble) => {
                self.trouble = trouble;
                close(&self.connection).await;
                vec![Fate::Unknown; batch.len()]
            }
        }
    }

    #[expect(clippy::disallowed_methods, reason = "this is the publisher that the ban points to")]
    async fn send(&self, message: &Publication<'_>) -> lapin::Result<PublisherConfirm> {
        self.channel
            .basic_publish(
                message.exchange.into(),
                message.routing_key.into(),
                BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() },
                message.body,
                message.properties.clone(),
            )
            .await
    }

    /// All confirmations, in order; or why one of them is lost or late. Time in which the broker
    /// blocks us does not count: a publish that timed out then would still arrive later.
    async fn settled(&self, batch: &[Publication<'_>]) -> Result<Vec<Confirmation>, String> {
        let all = async {
            let mut confirms = Vec::with_capacity(batch.len());
            for message in batch {
                confirms.push(self.send(message).await?);
            }
            join_all(confirms).await.into_iter().collect::<lapin::Result<Vec<_>>>()
        };
        tokio::pin!(all);
        let mut waited = Duration::ZERO;
        loop {
            match tokio::time::timeout(BLOCKED_CHECK, &mut all).await {
                Ok(confirmations) => return confirmations.map_err(|error| error.to_string()),
                Err(_) if self.blocked() => {}
                Err(_) => waited += BLOCKED_CHECK,
            }
            if waited >= self.confirm_timeout || !self.connected() {
                return Err(format!("confirms did not come within {waited:?}"));
            }
        }
    }
}

fn fates(batch: &[Publication<'_>], confirmations: Vec<Confirmation>) -> Vec<Fate> {
    let mut returned = HashSet::new();
    let mut refused = Vec::with_capacity(batch.len());
    for confirmation in confirmations {
        refused.push(!confirmation.is_ack());
        if let Some(message) = confirmation.take_message() {
            returned.extend(message.delivery.properties.message_id().clone());
        }
    }
    batch
        .iter()
        .zip(refused)
        .map(|(message, refused)| match message.properties.message_id() {
            Some(id) if returned.contains(id) => Fate::Unroutable,
            _ if refused => Fate::Refused,
            _ => Fate::Confirmed,
        })
        .collect()
}

#[async_trait]
impl Publisher for RabbitPublisher {
    async fn publish(&mut self, batch: &[Outgoing<'_>]) -> Vec<Fate> {
        let publications: Vec<Publication<'_>> = batch
            .iter()
            .map(|message| Publication {
                exchange: exchange::EVENTS,
                routing_key: message.short_type,
                properties: headers::of_event(message),
                body: message.body,
            })
            .collect();
        self.publish_all(&publications).await
    }

    fn trouble(&self) -> String {
        self.trouble.clone()
    }

    fn connected(&self) -> bool {
        self.connection.status().connected() && self.channel.status().connected()
    }

    fn blocked(&self) -> bool {
        self.connection.status().blocked()
    }

    async fn close(self: Box<Self>) {
        close(&self.connection).await;
    }
}

impl RabbitPublisher {
    pub(crate) async fn shut(&self) {
        close(&self.connection).await;
    }
}
