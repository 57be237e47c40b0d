//! Consuming a queue, and settling what came from it.

use std::collections::HashMap;
use std::pin::pin;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::try_join_all;
use futures_util::{FutureExt, StreamExt};
use lapin::message::Delivery as AmqpDelivery;
use lapin::options::{
    BasicAckOptions, BasicCancelOptions, BasicConsumeOptions, BasicNackOptions, BasicQosOptions,
};
use lapin::types::FieldTable;
use lapin::{Channel, Connection, Consumer};

use super::super::{Delivery, Fate, Settlement, Subscription, TransportError};
use super::connection::{Owned, answered, classify, close, connect};
use super::copies::{Copies, Copy};
use super::{RabbitMq, exchange, headers};
use crate::crash::{self, Point};
use crate::topology::Topology;

/// How often a subscription that is quiet looks whether its connection still stands.
const LOOK: Duration = Duration::from_millis(500);
/// What a consumer's stream gives; nothing at its end.
type Item = Option<lapin::Result<AmqpDelivery>>;

/// How long an orderly end may take, the close of the connection not counted.
const GOODBYE: Duration = Duration::from_secs(2);

pub(crate) struct RabbitSubscription {
    transport: RabbitMq,
    topology: Topology,
    queue: String,
    connection: Owned,
    channel: Channel,
    consumer: Consumer,
    unsettled: HashMap<u64, AmqpDelivery>,
    /// Settlements whose copy has found no place yet; tried again with every further one.
    owed: Vec<(Delivery, Settlement)>,
    /// Whether the last copies that landed found no place, or not all of them.
    unplaced: bool,
    copies: Copies,
    /// The fates of copies that nothing was done about yet.
    landed: HashMap<u64, Fate>,
    /// What came while copies were waited for.
    early: Option<Item>,
    paused: bool,
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
        Ok(Self {
            transport: transport.clone(),
            topology: topology.clone(),
            queue,
            connection,
            channel,
            consumer,
            unsettled: HashMap::new(),
            owed: Vec::new(),
            unplaced: false,
            copies: Copies::new(transport.clone()),
            landed: HashMap::new(),
            early: None,
            paused: false,
        })
    }

    /// The next item of the stream. It does not always end with its connection, so that is looked
    /// at, too.
    async fn item(&mut self) -> Result<Item, TransportError> {
        if let Some(early) = self.early.take() {
            return Ok(early);
        }
        loop {
            if let Ok(item) = tokio::time::timeout(LOOK, self.consumer.next()).await {
                return Ok(item);
            }
            self.check_connection()?;
        }
    }

    /// The next item; none when copies have landed, or are late. May be cut off anywhere: nothing that
    /// came is lost.
    async fn item_or_debt(&mut self) -> Result<Option<Item>, TransportError> {
        while self.early.is_none() {
            tokio::select! {
                // Copies first: those that were late would not be noticed while deliveries keep coming.
                biased;
                fates = self.copies.landed() => {
                    self.landed = fates;
                    return Ok(None);
                }
                item = self.consumer.next() => return Ok(Some(item)),
                () = tokio::time::sleep(LOOK) => {
                    self.check_connection()?;
                    if self.copies.late() {
                        return Ok(None);
                    }
                }
            }
        }
        Ok(self.early.take())
    }

    /// Sends copies for what is owed and waits for them, but only until a delivery comes: good ones do
    /// not wait for the copies of bad ones.
    async fn pay(&mut self) -> Result<(), TransportError> {
        let landed = std::mem::take(&mut self.landed);
        self.conclude(&landed).await?;
        loop {
            let due = if self.copies.ready() { self.due() } else { Vec::new() };
            if !due.is_empty() {
                self.copies.send(due);
            }
            if self.early.is_some() || !self.copies.under_way() {
                return Ok(());
            }
            let until_late = self.copies.until_late();
            tokio::select! {
                biased;
                fates = self.copies.landed() => self.conclude(&fates).await?,
                item = self.consumer.next(), if !self.paused => self.early = Some(item),
                () = tokio::time::sleep(until_late) => {}
            }
            if self.unplaced {
                return Ok(());
            }
        }
    }

    fn check_connection(&self) -> Result<(), TransportError> {
        if self.connection.status().connected() && self.channel.status().connected() {
            return Ok(());
        }
        Err(TransportError::Away("connection is gone".into()))
    }

    fn take(&mut self, item: Item) -> Result<Delivery, TransportError> {
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

    /// Acks deliveries, each by itself and all on their way at once: one after the other, each would wait
    /// for the one before to be sent. `Ok(true)` of the library proves nothing, but what it leaves open
    /// the inbox closes.
    async fn ack(&mut self, tags: impl IntoIterator<Item = u64>) -> Result<(), TransportError> {
        let unsettled = &mut self.unsettled;
        let originals: Vec<AmqpDelivery> =
            tags.into_iter().filter_map(|tag| unsettled.remove(&tag)).collect();
        let acks = originals.iter().map(|one| one.acker.ack(BasicAckOptions::default()));
        let mut acking = pin!(answered(try_join_all(acks)));
        // One that is begun as its connection breaks may never be answered.
        let acked = loop {
            match tokio::time::timeout(LOOK, &mut acking).await {
                Ok(acked) => break acked?,
                Err(_) => self.check_connection()?,
            }
        };
        match acked.into_iter().all(|acked| acked) {
            true => Ok(()),
            false => Err(TransportError::Away("ack after the channel ended".into())),
        }
    }

    /// Acks the originals of the copies that have found a place; the others stay owed.
    async fn conclude(&mut self, fates: &HashMap<u64, Fate>) -> Result<(), TransportError> {
        let placed = |tag| fates.get(&tag) == Some(&Fate::Confirmed);
        if fates.values().any(|fate| *fate == Fate::Confirmed) {
            crash::point(Point::C15);
        }
        if !fates.is_empty() {
            self.unplaced = fates.values().any(|fate| *fate != Fate::Confirmed);
        }
        self.owed.retain(|(delivery, _)| !placed(delivery.tag));
        self.ack(fates.keys().copied().filter(|tag| placed(*tag))).await
    }

    /// Copies for all that is owed; what is not unsettled any more is not owed either.
    fn due(&mut self) -> Vec<Copy> {
        let Self { transport, topology, queue, unsettled, owed, copies, .. } = self;
        owed.retain(|(delivery, _)| unsettled.contains_key(&delivery.tag));
        let copy = |(delivery, to): &(Delivery, Settlement)| {
            let (exchange, routing_key, failure) = match to {
                Settlement::Done => return None,
                Settlement::Later(rung, failure) => {
                    (exchange::RETRY, topology.retry_queue(*rung), failure)
                }
                Settlement::Park(failure) => {
                    (exchange::DEAD_LETTERS, topology.dead_letter_queue(), failure)
                }
            };
            let original = unsettled.get(&delivery.tag)?;
            let mark = copies.next_mark();
            let namespace = &transport.namespace;
            let properties =
                headers::of_copy(&original.properties, namespace, queue, failure, mark);
            let body = original.data.clone();
            Some(Copy { tag: delivery.tag, exchange, routing_key, properties, body })
        };
        owed.iter().filter_map(copy).collect()
    }

    /// Gives back what is unsettled, but for `kept` and what is owed.
    async fn give_back(&mut self, kept: u64) -> Result<(), TransportError> {
        let Self { unsettled, owed, .. } = self;
        let stays = |tag| tag == kept || owed.iter().any(|(delivery, _)| delivery.tag == tag);
        let others: Vec<AmqpDelivery> =
            unsettled.extract_if(|tag, _| !stays(*tag)).map(|(_, delivery)| delivery).collect();
        for delivery in others {
            let again = BasicNackOptions { requeue: true, ..BasicNackOptions::default() };
            answered(delivery.acker.nack(again)).await?;
        }
        Ok(())
    }

    fn debt(&self) -> TransportError {
        let queue = &self.queue;
        TransportError::Topology(match self.copies.trouble() {
            Some(why) => format!("copies of failed messages of {queue} wait: {why}"),
            None => format!("a retry or dead-letter queue of {queue} is missing or full"),
        })
    }
}

async fn consume(
    connection: &Connection,
    queue: &str,
    prefetch: u16,
) -> lapin::Result<(Channel, Consumer)> {
    let channel = connection.create_channel().await?;
    // Holds for every consumer that the channel gets.
    channel.basic_qos(prefetch, BasicQosOptions::default()).await?;
    let consumer = consume_on(&channel, queue).await?;
    Ok((channel, consumer))
}

async fn consume_on(channel: &Channel, queue: &str) -> lapin::Result<Consumer> {
    let (options, arguments) = (BasicConsumeOptions::default(), FieldTable::default());
    channel.basic_consume(queue.into(), "".into(), options, arguments).await
}

#[async_trait]
impl Subscription for RabbitSubscription {
    async fn next(&mut self, max: usize) -> Result<Vec<Delivery>, TransportError> {
        let Some(first) = self.item_or_debt().await? else { return Ok(Vec::new()) };
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
        // One that is paused has no other way to find out.
        self.check_connection()?;
        // First what needs no copy: the broker may hold copies back for as long as it likes.
        let is_done = |(_, to): &(Delivery, Settlement)| matches!(to, Settlement::Done);
        let (done, owed): (Vec<_>, Vec<_>) = all.into_iter().partition(is_done);
        self.owed.extend(owed);
        self.ack(done.into_iter().map(|(delivery, _)| delivery.tag)).await?;
        self.pay().await?;
        let waits = self.unplaced || self.copies.trouble().is_some();
        if waits && !self.owed.is_empty() { Err(self.debt()) } else { Ok(()) }
    }

    async fn pause(&mut self, kept: &Delivery) -> Result<(), TransportError> {
        let options = BasicCancelOptions::default();
        answered(self.channel.basic_cancel(self.consumer.tag(), options)).await?;
        self.paused = true;
        // What was under way before the broker answered is here by now; then the stream ends.
        while let Some(item) = self.item().await? {
            self.take(Some(item))?;
        }
        self.give_back(kept.tag).await
    }

    async fn resume(&mut self) -> Result<(), TransportError> {
        self.consumer = answered(consume_on(&self.channel, &self.queue)).await?;
        self.paused = false;
        Ok(())
    }

    async fn close(mut self: Box<Self>) {
        let patience = if self.copies.under_way() { GOODBYE } else { Duration::ZERO };
        if let Ok(landed) = tokio::time::timeout(patience, self.copies.landed()).await {
            self.landed.extend(landed);
        }
        let landed = std::mem::take(&mut self.landed);
        let _ = self.conclude(&landed).await;
        let goodbye = async {
            self.channel.basic_cancel(self.consumer.tag(), BasicCancelOptions::default()).await?;
            // Nobody failed at what comes back now. Since RabbitMQ 4.3 a nack says so; a channel
            // that is closed counts as a failed delivery of all that was open on it.
            let all = BasicNackOptions { multiple: true, requeue: true };
            self.channel.basic_nack(0, all).await
        };
        if tokio::time::timeout(GOODBYE, goodbye).await.is_err() {
            tracing::debug!("broker did not answer the cancel in time");
        }
        close(&self.connection).await;
        self.copies.close().await;
    }
}
