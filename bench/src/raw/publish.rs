//! Publishing with nothing behind it.

use std::time::{Duration, Instant};

use anyhow::ensure;
use futures_util::future::try_join_all;
use lapin::options::BasicPublishOptions;
use lapin::{BasicProperties, PublisherConfirm};

use super::Wire;

/// Publishes under way at most, tried one after the other; the better one is the limit.
pub(crate) const WINDOWS: [usize; 3] = [128, 256, 1_000];

/// A message as the kit has sent it before.
#[derive(Debug, Clone)]
pub(crate) struct Message {
    pub(crate) exchange: &'static str,
    pub(crate) routing_key: String,
    pub(crate) properties: BasicProperties,
    pub(crate) body: Vec<u8>,
}

impl Wire {
    /// Publishes as the kit does: to the same exchange, mandatory, persistent, with confirms.
    ///
    /// # Errors
    /// When the connection breaks.
    #[expect(clippy::disallowed_methods, reason = "the raw limit goes past the kit")]
    pub(crate) async fn send(&self, message: &Message) -> anyhow::Result<PublisherConfirm> {
        let options = BasicPublishOptions { mandatory: true, ..Default::default() };
        let (key, properties) = (message.routing_key.as_str().into(), message.properties.clone());
        let exchange = message.exchange.into();
        let sent = self.channel.basic_publish(exchange, key, options, &message.body, properties);
        Ok(sent.await?)
    }

    /// Publishes `count` messages, these over and over, and waits for all confirms; says how long it
    /// took.
    ///
    /// # Errors
    /// When the connection breaks, or a message is refused or returned.
    pub(crate) async fn send_all(
        &self,
        messages: &[Message],
        count: usize,
        window: usize,
    ) -> anyhow::Result<Duration> {
        let begun = Instant::now();
        // Half of the window is written while the other half waits for its confirms.
        let mut under_way: Option<Vec<PublisherConfirm>> = None;
        let mut left = count;
        let mut next = messages.iter().cycle();
        while left > 0 {
            let some: Vec<&Message> = next.by_ref().take(left.min(window / 2)).collect();
            left -= some.len();
            let sent = try_join_all(some.into_iter().map(|message| self.send(message))).await?;
            for confirm in under_way.replace(sent).into_iter().flatten() {
                confirmed(confirm).await?;
            }
        }
        for confirm in under_way.into_iter().flatten() {
            confirmed(confirm).await?;
        }
        Ok(begun.elapsed())
    }
}

/// Waits for the broker's word.
///
/// # Errors
/// When it is no.
pub(crate) async fn confirmed(confirm: PublisherConfirm) -> anyhow::Result<()> {
    let confirmation = confirm.await?;
    ensure!(confirmation.is_ack(), "a raw message was refused");
    ensure!(confirmation.take_message().is_none(), "a raw message was returned");
    Ok(())
}
