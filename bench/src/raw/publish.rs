//! Publishing with nothing behind it.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use anyhow::ensure;
use lapin::options::BasicPublishOptions;
use lapin::{BasicProperties, PublisherConfirm};

use super::Wire;

/// Publishes under way at most, tried one after the other; the better one is the limit.
pub(crate) const WINDOWS: [usize; 2] = [500, 1_000];

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
        let mut under_way = VecDeque::with_capacity(window);
        for message in messages.iter().cycle().take(count) {
            if under_way.len() == window
                && let Some(oldest) = under_way.pop_front()
            {
                confirmed(oldest).await?;
            }
            under_way.push_back(self.send(message).await?);
        }
        for confirm in under_way {
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
