//! Consuming with nothing behind it.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use futures_util::future::try_join_all;
use futures_util::{FutureExt as _, StreamExt as _};
use lapin::options::{BasicAckOptions, BasicCancelOptions, BasicConsumeOptions};
use lapin::types::FieldTable;
use messaging::topology::EVENTS;

pub(crate) use lapin::message::Delivery;

use super::Wire;
use super::publish::Message;

/// How long a message may let itself be waited for before it counts as lost.
const LOST_AFTER: Duration = Duration::from_secs(10);

/// Deliveries that are acknowledged one by one are so at most this many at a time, as the kit's are.
const AT_ONCE: usize = 64;

/// How deliveries are acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ack {
    /// Each by itself, as the kit does.
    Each,
    /// Every so many at once: where only what lies in the queue is asked for.
    Every(usize),
}

/// Acknowledges these, each by itself.
async fn acked(unacked: &mut Vec<Delivery>) -> anyhow::Result<()> {
    let acks = unacked.iter().map(|one| one.acker.ack(BasicAckOptions::default()));
    try_join_all(acks).await?;
    unacked.clear();
    Ok(())
}

impl Wire {
    /// Takes so many messages of a queue, shows each to `see`, and says how long it took from the first
    /// to the last. [`prefetch`](Self::prefetch) comes first.
    ///
    /// # Errors
    /// When the connection breaks, a message does not come, or `see` does not like it.
    pub(crate) async fn take(
        &self,
        queue: &str,
        count: usize,
        ack: Ack,
        see: &mut (dyn FnMut(&Delivery) -> anyhow::Result<()> + Send),
    ) -> anyhow::Result<Duration> {
        let (options, arguments) = (BasicConsumeOptions::default(), FieldTable::default());
        let mut consumer =
            self.channel.basic_consume(queue.into(), "".into(), options, arguments).await?;
        let (mut begun, mut unacked) = (None, Vec::new());
        for n in 1..=count {
            let ready = consumer.next().now_or_never();
            let next = match ready {
                Some(next) => next,
                None => {
                    acked(&mut unacked).await?;
                    let next = tokio::time::timeout(LOST_AFTER, consumer.next()).await;
                    next.with_context(|| format!("{queue} has {} messages, not {count}", n - 1))?
                }
            };
            let delivery = next.context("the queue was taken away")??;
            begun.get_or_insert_with(Instant::now);
            see(&delivery)?;
            match ack {
                Ack::Each => unacked.push(delivery),
                Ack::Every(some) if n % some == 0 || n == count => {
                    delivery.acker.ack(BasicAckOptions { multiple: true }).await?;
                }
                Ack::Every(_) => {}
            }
            if unacked.len() == AT_ONCE {
                acked(&mut unacked).await?;
            }
        }
        acked(&mut unacked).await?;
        let took = begun.map(|begun| begun.elapsed()).unwrap_or_default();
        self.channel.basic_cancel(consumer.tag(), BasicCancelOptions::default()).await?;
        Ok(took)
    }

    /// Takes so many messages of a queue, to be sent again.
    ///
    /// # Errors
    /// As [`take`](Self::take).
    pub(crate) async fn take_messages(
        &self,
        queue: &str,
        count: usize,
    ) -> anyhow::Result<Vec<Message>> {
        let mut messages = Vec::with_capacity(count);
        let mut keep = |delivery: &Delivery| {
            messages.push(Message {
                exchange: EVENTS,
                routing_key: delivery.routing_key.to_string(),
                properties: delivery.properties.clone(),
                body: delivery.data.clone(),
            });
            Ok(())
        };
        self.take(queue, count, Ack::Every(50), &mut keep).await?;
        Ok(messages)
    }
}
