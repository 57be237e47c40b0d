//! Publishing with confirms.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use futures_util::future::try_join_all;
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::{BasicProperties, Channel, Confirmation, PublisherConfirm};

use super::super::{Blocked, Fate, Outgoing, Parked, Publisher, TransportError, wire};
use super::connection::{Owned, answered, close};
use super::{exchange, headers};
use crate::crash::{self, Point};
use crate::topology::Topology;

/// How often a wait for confirms looks whether the broker holds us back.
const BLOCKED_CHECK: Duration = Duration::from_millis(250);
/// The most that counts as waited between two looks: nobody may have looked for long.
const COUNTED: Duration = Duration::from_secs(1);

/// Messages that are written at once; as many again wait for their confirms meanwhile. With more of them
/// the broker has them queue within itself, and needs more time for each.
const AT_ONCE: usize = 128;

pub(crate) struct RabbitPublisher {
    connection: Owned,
    channel: Channel,
    confirm_timeout: Duration,
    trouble: String,
    /// The channel was refused something. It may go on being refused after there is room again: RabbitMQ
    /// tells a channel that a queue is full, and forgets to tell it otherwise when the limit is lifted.
    refused: bool,
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
        let channel = confirming(&connection).await?;
        let (trouble, refused) = (String::new(), false);
        Ok(Self { connection, channel, confirm_timeout, trouble, refused })
    }

    /// Another channel in the place of one that was refused something.
    async fn renew(&mut self) -> Result<(), String> {
        if std::mem::take(&mut self.refused) {
            let renewed = confirming(&self.connection).await.map_err(|error| error.to_string())?;
            let old = std::mem::replace(&mut self.channel, renewed);
            answered(old.close(200, "refused".into())).await.map_err(|error| error.to_string())?;
        }
        Ok(())
    }

    /// Publishes all and waits for all. One batch is in flight on the channel at a time, because
    /// only a batch that is complete can be judged: the client library hands a returned message to
    /// whichever confirm completes next, so who was returned is known by its `mark` alone.
    pub(crate) async fn publish_all<'a>(
        &mut self,
        batch: impl ExactSizeIterator<Item = Publication<'a>> + Send,
        mark: impl Fn(&BasicProperties) -> Option<String> + Send + Sync,
    ) -> Vec<Fate> {
        let size = batch.len();
        let mut marks = Vec::with_capacity(size);
        let settled = match self.renew().await {
            Ok(()) => {
                let noted = batch.inspect(|message| marks.push(mark(&message.properties)));
                self.settled(noted).await
            }
            Err(trouble) => Err(trouble),
        };
        match settled {
            #[cfg(feature = "crash-points")]
            Ok(confirmations) if crash::has(crash::Bug::ConfirmByPosition) => confirmations
                .into_iter()
                .map(|one| wire::by_position(!one.is_ack(), one.take_message().is_some()))
                .collect(),
            Ok(confirmations) => {
                let mut returned = Vec::new();
                let mut refused = Vec::with_capacity(size);
                for confirmation in confirmations {
                    refused.push(!confirmation.is_ack());
                    let message = confirmation.take_message();
                    returned.extend(message.map(|message| mark(&message.delivery.properties)));
                }
                self.refused = refused.contains(&true);
                wire::fates(&marks, &refused, &returned)
            }
            // Some answers are missing, so no absence of a return can be trusted either.
            Err(trouble) => {
                self.trouble = trouble;
                close(&self.connection).await;
                vec![Fate::Unknown; size]
            }
        }
    }

    #[expect(clippy::disallowed_methods, reason = "this is the publisher that the ban points to")]
    async fn send(&self, message: Publication<'_>) -> lapin::Result<PublisherConfirm> {
        let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
        let Publication { exchange, routing_key, properties, body } = message;
        self.channel
            .basic_publish(exchange.into(), routing_key.into(), options, body, properties)
            .await
    }

    /// All confirmations, in order; or why one of them is lost or late. Time in which the broker
    /// blocks us does not count: a publish that timed out then would still arrive later.
    async fn settled<'a>(
        &self,
        mut batch: impl ExactSizeIterator<Item = Publication<'a>> + Send,
    ) -> Result<Vec<Confirmation>, String> {
        let all = async {
            let mut confirmations = Vec::with_capacity(batch.len());
            let mut under_way = Vec::new();
            while batch.len() > 0 {
                // One after the other, each would wait until the one before is written to the socket.
                let some = batch.by_ref().take(AT_ONCE).map(|message| self.send(message));
                let sent = try_join_all(some).await?;
                let before = std::mem::replace(&mut under_way, sent);
                confirmations.append(&mut try_join_all(before).await?);
            }
            crash::point(Point::C6);
            confirmations.append(&mut try_join_all(under_way).await?);
            Ok::<_, lapin::Error>(confirmations)
        };
        tokio::pin!(all);
        let mut waited = Duration::ZERO;
        loop {
            let looked = Instant::now();
            match tokio::time::timeout(BLOCKED_CHECK, &mut all).await {
                Ok(confirmations) => return confirmations.map_err(|error| error.to_string()),
                Err(_) if self.connection.status().blocked() => {}
                Err(_) => waited += looked.elapsed().min(COUNTED),
            }
            if waited >= self.confirm_timeout || !self.stands() {
                return Err(format!("confirms did not come within {waited:?}"));
            }
        }
    }
}

async fn confirming(connection: &Owned) -> Result<Channel, TransportError> {
    let channel = answered(connection.create_channel()).await?;
    answered(channel.confirm_select(ConfirmSelectOptions::default())).await?;
    Ok(channel)
}

#[async_trait]
impl Publisher for RabbitPublisher {
    async fn publish(&mut self, batch: &[Outgoing<'_>]) -> Vec<Fate> {
        let publications = batch.iter().map(|message| Publication {
            exchange: exchange::EVENTS,
            routing_key: message.short_type,
            properties: headers::of_event(message),
            body: message.body,
        });
        let id = |event: &BasicProperties| event.message_id().as_ref().map(ToString::to_string);
        self.publish_all(publications, id).await
    }

    /// By the exchange of the retries, keyed by the queue: nobody else hears of it. Their ids are not
    /// proven and may be the same or none, so each carries a mark.
    async fn put_back(&mut self, topology: &Topology, batch: &[Parked<'_>]) -> Vec<Fate> {
        let queue = topology.work_queue();
        let publications = batch.iter().enumerate().map(|(mark, parked)| Publication {
            exchange: exchange::REQUEUE,
            routing_key: &queue,
            properties: headers::of_parked(parked, mark),
            body: parked.body,
        });
        let Some(namespace) = batch.first().map(|parked| parked.namespace) else {
            return Vec::new();
        };
        let mark = |back: &BasicProperties| headers::mark_of(back, namespace);
        self.publish_all(publications, mark).await
    }

    fn trouble(&self) -> String {
        self.why()
    }

    fn connected(&self) -> bool {
        self.stands()
    }

    fn blocked(&self) -> Blocked {
        let status = self.connection.status().clone();
        Arc::new(move || status.connected() && status.blocked())
    }

    async fn close(self: Box<Self>) {
        close(&self.connection).await;
    }
}

impl RabbitPublisher {
    pub(crate) async fn shut(&self) {
        close(&self.connection).await;
    }

    pub(crate) fn stands(&self) -> bool {
        self.connection.status().connected() && self.channel.status().connected()
    }

    pub(crate) fn why(&self) -> String {
        self.trouble.clone()
    }
}
