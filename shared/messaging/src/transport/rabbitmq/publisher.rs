//! Publishing with confirms.

use std::collections::HashSet;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::join_all;
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::{BasicProperties, Channel, Confirmation, Connection, PublisherConfirm};

use super::super::{Fate, Outgoing, Publisher, TransportError};
use super::connection::{classify, close};
use super::{exchange, headers};

/// How often a wait for confirms looks whether the broker holds us back.
const BLOCKED_CHECK: Duration = Duration::from_millis(250);

pub(crate) struct RabbitPublisher {
    connection: Connection,
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
        connection: Connection,
        confirm_timeout: Duration,
    ) -> Result<Self, TransportError> {
        let channel = connection.create_channel().await.map_err(|e| classify(&e))?;
        channel.confirm_select(ConfirmSelectOptions::default()).await.map_err(|e| classify(&e))?;
        Ok(Self { connection, channel, confirm_timeout, trouble: String::new() })
    }

    /// Publishes all and waits for all. One batch is in flight on the channel at a time, because
    /// only a batch that is complete can be judged: the client library hands a returned message to
    /// whichever confirm completes next, so who was returned is known by message id alone.
    pub(crate) async fn publish_all(&mut self, batch: &[Publication<'_>]) -> Vec<Fate> {
        let mut confirms = Vec::with_capacity(batch.len());
        for message in batch {
            match self.send(message).await {
                Ok(confirm) => confirms.push(confirm),
                Err(error) => {
                    self.trouble = error.to_string();
                    break;
                }
            }
        }
        let sent_all = confirms.len() == batch.len();
        match self.settled(confirms).await {
            Some(confirmations) if sent_all => fates(batch, confirmations),
            // Some answers are missing, so no absence of a return can be trusted either.
            _ => {
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

    /// All confirmations, in order; none when one is lost or late. Time in which the broker blocks
    /// us does not count: a publish that timed out then would still arrive later.
    async fn settled(&mut self, confirms: Vec<PublisherConfirm>) -> Option<Vec<Confirmation>> {
        let all = join_all(confirms);
        tokio::pin!(all);
        let mut waited = Duration::ZERO;
        loop {
            match tokio::time::timeout(BLOCKED_CHECK, &mut all).await {
                Ok(results) => {
                    return results
                        .into_iter()
                        .collect::<lapin::Result<Vec<_>>>()
                        .inspect_err(|error| self.trouble = error.to_string())
                        .ok();
                }
                Err(_) if self.blocked() => {}
                Err(_) => waited += BLOCKED_CHECK,
            }
            if waited >= self.confirm_timeout || !self.connection.status().connected() {
                self.trouble = format!("confirms did not come within {waited:?}");
                return None;
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
