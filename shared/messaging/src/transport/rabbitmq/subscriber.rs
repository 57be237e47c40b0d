//! Consuming a queue, and settling what came from it.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::{FutureExt, StreamExt};
use lapin::message::Delivery as AmqpDelivery;
use lapin::options::{BasicAckOptions, BasicConsumeOptions, BasicQosOptions};
use lapin::types::FieldTable;
use lapin::{Channel, Connection, Consumer};

use super::super::{Delivery, Failure, Fate, Settlement, Subscription, TransportError};
use super::connection::{Owned, answered, classify, close, connect};
use super::publisher::{Publication, RabbitPublisher};
use super::{RabbitMq, exchange, headers};
use crate::topology::Topology;

/// How often a subscription that is quiet looks whether its connection still stands.
const LOOK: Duration = Duration::from_millis(500);

pub(crate) struct RabbitSubscription {
    transport: RabbitMq,
    topology: Topology,
    queue: String,
    connection: Owned,
    channel: Channel,
    consumer: Consumer,
    unsettled: HashMap<u64, AmqpDelivery>,
    /// Settlements whose copy found no place; tried again with every further one.
    owed: Vec<(Delivery, Settlement)>,
    /// For copies of failed messages: a connection of its own, made when the first one fails. An
    /// alarm blocks whoever publishes, and acks must go on.
    copies: Option<RabbitPublisher>,
}

impl RabbitSubscription {
    pub(crate) async fn open(
        transport: &RabbitMq,
        topology: &Topology,
        queue: String,
        prefetch: u16,
    ) -> Result<Self, TransportError> {
        let name = format!("{} consumer {queue}", transport.name);
        let connection = connect(&transport.url, &name).await?;
        let opened = answered(consume(&connection, &queue, prefetch)).await;
        let (channel, consumer) = match opened {
            Ok(opened) => opened,
            Err(error) => {
                close(&connection).await;
                return Err(error);
            }
        };
        let (transport, topology) = (transport.clone(), topology.clone());
        let unsettled = HashMap::new();
        Ok(Self {
            transport,
            topology,
            queue,
            connection,
            channel,
            consumer,
            unsettled,
            owed: Vec::new(),
            copies: None,
        })
    }

    /// The next item of the stream. It does not always end with its connection, so that is looked
    /// at, too.
    async fn item(&mut self) -> Result<Option<lapin::Result<AmqpDelivery>>, TransportError> {
        loop {
            if let Ok(item) = tokio::time::timeout(LOOK, self.consumer.next()).await {
                return Ok(item);
            }
            if !self.connection.status().connected() || !self.channel.status().connected() {
                return Err(TransportError::Away("connection is gone".into()));
            }
        }
    }

    fn take(
        &mut self,
        item: Option<lapin::Result<AmqpDelivery>>,
    ) -> Result<Delivery, TransportError> {
        match item {
            Some(Ok(delivery)) => {
                let ours = headers::delivery(&delivery, &self.transport.namespace);
                self.unsettled.insert(ours.tag, delivery);
                Ok(ours)
            }
            Some(Err(error)) => Err(classify(&error)),
            // The broker cancelled us (queue deleted, consumer time-out), while channel and
            // connection look healthy.
            None => Err(TransportError::Away(format!("consumer of {} was cancelled", self.queue))),
        }
    }

    /// Publishes the copies and waits for their confirms; only then may the originals be acked.
    /// Returns the tags of those that found no place.
    async fn copy(&mut self, copies: &[Copy]) -> Result<HashSet<u64>, TransportError> {
        if copies.is_empty() {
            return Ok(HashSet::new());
        }
        if self.copies.is_none() {
            let name = format!("{} copies", self.transport.name);
            let connection = connect(&self.transport.url, &name).await?;
            let timeout = self.transport.confirm_timeout;
            self.copies = Some(RabbitPublisher::open(connection, timeout).await?);
        }
        let publications: Vec<Publication<'_>> = copies
            .iter()
            .map(|copy| Publication {
                exchange: copy.exchange,
                routing_key: &copy.routing_key,
                properties: copy.properties.clone(),
                body: &copy.body,
            })
            .collect();
        let Some(publisher) = self.copies.as_mut() else { return Ok(HashSet::new()) };
        let fates = publisher.publish_all(&publications).await;
        if fates.contains(&Fate::Unknown) {
            self.copies = None;
            return Err(TransportError::Away("a copy was not confirmed".into()));
        }
        let unplaced = copies.iter().zip(fates).filter(|(_, fate)| *fate != Fate::Confirmed);
        Ok(unplaced.map(|(copy, _)| copy.tag).collect())
    }

    fn copy_of(&self, tag: u64, to: &Settlement) -> Option<Copy> {
        let original = self.unsettled.get(&tag)?;
        let (exchange, routing_key, failure): (_, _, &Failure) = match to {
            Settlement::Done => return None,
            Settlement::Later(rung, failure) => {
                (exchange::RETRY, self.topology.retry_queue(*rung), failure)
            }
            Settlement::Park(failure) => {
                (exchange::DEAD_LETTERS, self.topology.dead_letter_queue(), failure)
            }
        };
        let namespace = &self.transport.namespace;
        let properties = headers::of_copy(&original.properties, namespace, &self.queue, failure);
        Some(Copy { tag, exchange, routing_key, properties, body: original.data.clone() })
    }
}

struct Copy {
    /// Of the original.
    tag: u64,
    exchange: &'static str,
    routing_key: String,
    properties: lapin::BasicProperties,
    body: Vec<u8>,
}

async fn consume(
    connection: &Connection,
    queue: &str,
    prefetch: u16,
) -> lapin::Result<(Channel, Consumer)> {
    let channel = connection.create_channel().await?;
    channel.basic_qos(prefetch, BasicQosOptions::default()).await?;
    let consumer = channel
        .basic_consume(
            queue.into(),
            "".into(),
            BasicConsumeOptions::default(),
            FieldTable::default(),
        )
        .await?;
    Ok((channel, consumer))
}

#[async_trait]
impl Subscription for RabbitSubscription {
    async fn next(&mut self, max: usize) -> Result<Vec<Delivery>, TransportError> {
        let first = self.item().await?;
        let mut chunk = vec![self.take(first)?];
        while chunk.len() < max {
            let Some(item) = self.consumer.next().now_or_never() else { break };
            match self.take(item) {
                Ok(delivery) => chunk.push(delivery),
                // What came before the end is handled; its settlement will find out.
                Err(_) => break,
            }
        }
        Ok(chunk)
    }

    async fn settle(&mut self, all: Vec<(Delivery, Settlement)>) -> Result<(), TransportError> {
        let mut due = std::mem::take(&mut self.owed);
        due.extend(all);
        let copies: Vec<Copy> =
            due.iter().filter_map(|(delivery, to)| self.copy_of(delivery.tag, to)).collect();
        let unplaced = self.copy(&copies).await?;
        for (delivery, to) in due {
            if unplaced.contains(&delivery.tag) {
                self.owed.push((delivery, to));
                continue;
            }
            let Some(original) = self.unsettled.remove(&delivery.tag) else { continue };
            // `Ok(true)` proves nothing either, but what it leaves open the inbox closes.
            match original.acker.ack(BasicAckOptions::default()).await {
                Ok(true) => {}
                Ok(false) => {
                    return Err(TransportError::Away("ack after the channel ended".into()));
                }
                Err(error) => return Err(classify(&error)),
            }
        }
        if self.owed.is_empty() {
            return Ok(());
        }
        Err(TransportError::Topology(format!(
            "a retry or dead-letter queue of {} is missing or full",
            self.queue
        )))
    }

    async fn close(self: Box<Self>) {
        let cancel = self
            .channel
            .basic_cancel(self.consumer.tag(), lapin::options::BasicCancelOptions::default());
        if tokio::time::timeout(Duration::from_secs(2), cancel).await.is_err() {
            tracing::debug!("broker did not answer the cancel in time");
        }
        close(&self.connection).await;
        if let Some(copies) = &self.copies {
            copies.shut().await;
        }
    }
}
