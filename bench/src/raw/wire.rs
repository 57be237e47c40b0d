//! A bare connection to the broker.

use anyhow::Context as _;
use lapin::options::{
    BasicQosOptions, ConfirmSelectOptions, QueueBindOptions, QueueDeclareOptions, QueuePurgeOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Channel, Connection, ConnectionProperties};
use messaging::topology::EVENTS;

/// A connection with a confirming channel.
pub(crate) struct Wire {
    /// Closed when it is dropped.
    _connection: Connection,
    pub(crate) channel: Channel,
}

impl Wire {
    /// # Errors
    /// When the broker does not answer.
    pub(crate) async fn connect(url: &str) -> anyhow::Result<Self> {
        let connection = Connection::connect(url, ConnectionProperties::default()).await?;
        let channel = connection.create_channel().await.context("open a channel")?;
        channel.confirm_select(ConfirmSelectOptions::default()).await?;
        Ok(Self { _connection: connection, channel })
    }

    /// A durable quorum queue that gets all events of these types.
    ///
    /// # Errors
    /// When the broker refuses.
    pub(crate) async fn queue(&self, name: &str, bindings: &[&str]) -> anyhow::Result<()> {
        let mut arguments = FieldTable::default();
        arguments.insert("x-queue-type".into(), AMQPValue::LongString("quorum".into()));
        let options = QueueDeclareOptions { durable: true, ..Default::default() };
        self.channel.queue_declare(name.into(), options, arguments).await?;
        for key in bindings {
            let (options, arguments) = (QueueBindOptions::default(), FieldTable::default());
            let bound = self.channel.queue_bind(
                name.into(),
                EVENTS.into(),
                (*key).into(),
                options,
                arguments,
            );
            bound.await?;
        }
        Ok(())
    }

    /// Deliveries under way at most, of every consumer that this connection gets.
    ///
    /// # Errors
    /// When the broker refuses.
    pub(crate) async fn prefetch(&self, most: u16) -> anyhow::Result<()> {
        Ok(self.channel.basic_qos(most, BasicQosOptions::default()).await?)
    }

    /// Empties a queue and says how many messages waited in it.
    ///
    /// # Errors
    /// When the broker refuses.
    pub(crate) async fn purge(&self, queue: &str) -> anyhow::Result<u32> {
        Ok(self.channel.queue_purge(queue.into(), QueuePurgeOptions::default()).await?)
    }
}
