//! One message from one connection to another, at a pace.

use std::time::Duration;

use anyhow::Context as _;
use futures_util::StreamExt as _;
use lapin::options::{BasicAckOptions, BasicConsumeOptions};
use lapin::types::FieldTable;
use tokio::time::Instant;

use super::Wire;
use super::publish::{Message, confirmed};

/// How long a hop may take.
const LOST_AFTER: Duration = Duration::from_secs(10);

/// When a message left and what it took, in milliseconds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Hop {
    pub(crate) to_delivery: f64,
    pub(crate) to_confirm: f64,
}

/// Sends so many messages, one at every beat, and takes each from the queue: the only one that is bound.
///
/// # Errors
/// When a connection breaks, or a message does not come.
pub(crate) async fn hops(
    from: &Wire,
    to: &Wire,
    queue: &str,
    messages: &[Message],
    (count, beat): (usize, Duration),
) -> anyhow::Result<Vec<Hop>> {
    let (sent, came) =
        tokio::try_join!(send(from, messages, count, beat), receive(to, queue, count))?;
    let milliseconds = |from: Instant, to: Instant| (to - from).as_secs_f64() * 1_000.0;
    let hop = |((sent, confirmed), came): (&(Instant, Instant), &Instant)| Hop {
        to_delivery: milliseconds(*sent, *came),
        to_confirm: milliseconds(*sent, *confirmed),
    };
    Ok(sent.iter().zip(&came).map(hop).collect())
}

async fn send(
    wire: &Wire,
    messages: &[Message],
    count: usize,
    beat: Duration,
) -> anyhow::Result<Vec<(Instant, Instant)>> {
    let mut beats = tokio::time::interval(beat);
    let mut sent = Vec::with_capacity(count);
    for message in messages.iter().cycle().take(count) {
        beats.tick().await;
        let begun = Instant::now();
        confirmed(wire.send(message).await?).await?;
        sent.push((begun, Instant::now()));
    }
    Ok(sent)
}

async fn receive(wire: &Wire, queue: &str, count: usize) -> anyhow::Result<Vec<Instant>> {
    let (options, arguments) = (BasicConsumeOptions::default(), FieldTable::default());
    let tag = format!("hop-{queue}");
    let mut consumer =
        wire.channel.basic_consume(queue.into(), tag.as_str().into(), options, arguments).await?;
    let mut came = Vec::with_capacity(count);
    while came.len() < count {
        let next = tokio::time::timeout(LOST_AFTER, consumer.next()).await;
        let delivery =
            next.context("a raw message did not come")?.context("the queue is gone")??;
        came.push(Instant::now());
        delivery.acker.ack(BasicAckOptions::default()).await?;
    }
    wire.channel.basic_cancel(tag.as_str().into(), Default::default()).await?;
    Ok(came)
}
