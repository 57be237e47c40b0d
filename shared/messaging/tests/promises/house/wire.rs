//! AMQP by hand: messages that no service would send, and a look at what lies in a queue.

use envelope::signature::{SUITE, Signer, signature_to_text};
use envelope::{CONTENT_TYPE, Clock, Envelope, Event};
use lapin::message::BasicGetMessage;
use lapin::options::{
    BasicAckOptions, BasicGetOptions, BasicPublishOptions, ConfirmSelectOptions, QueueBindOptions,
    QueueDeclareOptions,
};
use lapin::types::{AMQPValue, FieldTable, LongString};
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties};
use testkit::eventually;

use super::{SOON, identity, signer};

/// A connection with a confirming channel.
pub struct Wire {
    pub connection: Connection,
    pub channel: Channel,
}

/// A message as it lies in a queue.
#[derive(Debug, Clone)]
pub struct Raw {
    pub properties: BasicProperties,
    pub body: Vec<u8>,
}

impl Wire {
    pub async fn connect(url: &str) -> Self {
        let connection = Connection::connect(url, ConnectionProperties::default()).await.unwrap();
        let channel = connection.create_channel().await.unwrap();
        channel.confirm_select(ConfirmSelectOptions::default()).await.unwrap();
        Self { connection, channel }
    }

    /// A quorum queue bound to the events exchange.
    pub async fn queue(&self, name: &str, bindings: &[&str]) {
        let mut arguments = FieldTable::default();
        arguments.insert("x-queue-type".into(), AMQPValue::LongString("quorum".into()));
        let options = QueueDeclareOptions { durable: true, ..Default::default() };
        self.channel.queue_declare(name.into(), options, arguments).await.unwrap();
        for key in bindings {
            self.bind(name, key).await;
        }
    }

    pub async fn bind(&self, queue: &str, key: &str) {
        self.bind_to("events", queue, key).await;
    }

    pub async fn bind_to(&self, exchange: &str, queue: &str, key: &str) {
        let (options, arguments) = (QueueBindOptions::default(), FieldTable::default());
        let bound =
            self.channel.queue_bind(queue.into(), exchange.into(), key.into(), options, arguments);
        bound.await.unwrap();
    }

    /// From now on `to` gets what would rest in a rung's queue, and keeps it.
    pub async fn divert(&self, rung: &str, to: &str) {
        self.queue(to, &[]).await;
        self.bind_to("retry", to, rung).await;
        let (queue, arguments) = (rung.into(), FieldTable::default());
        self.channel.queue_unbind(queue, "retry".into(), rung.into(), arguments).await.unwrap();
    }

    /// Publishes and waits until the broker has it in a queue.
    pub async fn publish(&self, exchange: &str, key: &str, raw: &Raw) {
        let options = BasicPublishOptions { mandatory: true, ..Default::default() };
        let properties = raw.properties.clone();
        let sent =
            self.channel.basic_publish(exchange.into(), key.into(), options, &raw.body, properties);
        let confirm = sent.await.unwrap().await.unwrap();
        assert!(confirm.is_ack() && confirm.take_message().is_none(), "{key} was not taken");
    }

    /// Takes the first message of a queue, if there is one.
    pub async fn get(&self, queue: &str) -> Option<Raw> {
        let got = self.channel.basic_get(queue.into(), BasicGetOptions::default()).await.unwrap();
        let BasicGetMessage { delivery, .. } = got?;
        delivery.acker.ack(BasicAckOptions::default()).await.unwrap();
        Some(Raw { properties: delivery.properties, body: delivery.data })
    }

    /// Takes the first `n` messages of a queue, as soon as they are there.
    pub async fn take(&self, queue: &str, n: usize) -> Vec<Raw> {
        let mut all = Vec::new();
        while all.len() < n {
            let what = format!("message {} of {n} in {queue}", all.len() + 1);
            let next = eventually(SOON, || async { self.get(queue).await.ok_or(&what) });
            all.push(next.await);
        }
        all
    }

    /// Takes what is in a queue now.
    pub async fn drain(&self, queue: &str) -> Vec<Raw> {
        let mut all = Vec::new();
        while let Some(raw) = self.get(queue).await {
            all.push(raw);
        }
        all
    }
}

impl Raw {
    /// What the lamp would send: version `n` of an event, signed, with all its headers.
    pub fn of<E: Event>(event: &E, n: u32) -> Self {
        let clock = Clock::system();
        let (id, now) = (clock.new_id(), clock.now());
        let envelope = Envelope::wrap(&identity("lamp"), event, n, id, now).unwrap();
        Self::enveloped(&envelope)
    }

    /// As [`of`](Self::of), of an envelope.
    pub fn enveloped(envelope: &Envelope) -> Self {
        let properties = BasicProperties::default()
            .with_content_type(CONTENT_TYPE.into())
            .with_delivery_mode(2)
            .with_message_id(envelope.id.to_string().into())
            .with_type(envelope.event_type.as_str().into())
            .with_app_id("lamp".into());
        let mut raw = Self { properties, body: Vec::new() };
        raw.sign(&signer("lamp"), envelope.to_bytes().unwrap());
        raw
    }

    /// With another body, and the headers that a signer would give it.
    pub fn sign(&mut self, signer: &Signer, body: Vec<u8>) {
        let signature = signature_to_text(&signer.sign(&body));
        self.set_header(&header("sig"), Some(&signature));
        self.set_header(&header("kid"), Some(signer.kid()));
        self.set_header(&header("sigver"), Some(SUITE));
        self.body = body;
    }

    /// The header's text.
    pub fn header(&self, name: &str) -> Option<String> {
        let headers = self.properties.headers().as_ref()?;
        match headers.inner().get(name)? {
            AMQPValue::LongString(text) => Some(String::from_utf8_lossy(text.as_bytes()).into()),
            AMQPValue::LongUInt(number) => Some(number.to_string()),
            other => Some(format!("{other:?}")),
        }
    }

    /// With another header, or without it.
    pub fn set_header(&mut self, name: &str, value: Option<&str>) {
        let mut headers = FieldTable::default();
        for (key, value) in self.properties.headers().iter().flat_map(|table| table.inner()) {
            if key.as_str() != name {
                headers.insert(key.clone(), value.clone());
            }
        }
        if let Some(value) = value {
            headers.insert(name.into(), AMQPValue::LongString(LongString::from(value)));
        }
        self.properties = self.properties.clone().with_headers(headers);
    }

    /// Subject and version, for a look at order.
    pub fn version(&self) -> (String, u32) {
        let envelope = Envelope::decode(&self.body).unwrap();
        (envelope.subject.to_string(), envelope.aggversion)
    }

    pub fn id(&self) -> String {
        self.properties.message_id().as_ref().map(ToString::to_string).unwrap_or_default()
    }
}

/// The name of one of the kit's headers.
pub fn header(what: &str) -> String {
    format!("x-{}-{what}", super::NAMESPACE)
}
