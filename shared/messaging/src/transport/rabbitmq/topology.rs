//! Making exchanges, queues and bindings, and telling what is different.

use lapin::options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::{Channel, Connection, ErrorKind, ExchangeKind};

use super::super::TransportError;
use super::connection::classify;
use super::exchange;
use crate::topology::Topology;

/// A crash backstop, not a retry counter: attempts are counted by our own header.
const DELIVERY_LIMIT: i32 = 20;

/// A queue with all its arguments and where its messages come from.
struct Queue {
    name: String,
    arguments: FieldTable,
    bindings: Vec<(&'static str, String)>,
}

pub(super) async fn provision(
    connection: &Connection,
    topology: &Topology,
) -> Result<Vec<String>, TransportError> {
    let mut made = Vec::new();
    for (name, kind) in [
        (exchange::EVENTS, ExchangeKind::Topic),
        (exchange::RETRY, ExchangeKind::Direct),
        (exchange::REQUEUE, ExchangeKind::Direct),
        (exchange::DEAD_LETTERS, ExchangeKind::Direct),
    ] {
        let new = !exists(connection, |c| exchange_declare(c, name, kind.clone(), true)).await?;
        let channel = channel(connection).await?;
        exchange_declare(channel, name, kind, false).await.map_err(|e| differs(name, &e))?;
        if new {
            made.push(format!("exchange {name}"));
        }
    }
    for queue in queues(topology) {
        made.extend(make(connection, queue).await?);
    }
    Ok(made)
}

async fn make(connection: &Connection, queue: Queue) -> Result<Vec<String>, TransportError> {
    let (name, arguments) = (queue.name.as_str(), queue.arguments);
    let new = !exists(connection, |c| queue_declare(c, name, FieldTable::default(), true)).await?;
    let channel = channel(connection).await?;
    queue_declare(channel.clone(), name, arguments, false)
        .await
        .map_err(|error| differs(name, &error))?;
    let mut made: Vec<String> = new.then(|| format!("queue {name}")).into_iter().collect();
    for (from, key) in queue.bindings {
        channel
            .queue_bind(
                name.into(),
                from.into(),
                key.as_str().into(),
                QueueBindOptions::default(),
                FieldTable::default(),
            )
            .await
            .map_err(|error| classify(&error))?;
        if new {
            made.push(format!("binding {from} -{key}-> {name}"));
        }
    }
    Ok(made)
}

fn queues(topology: &Topology) -> Vec<Queue> {
    if topology.bindings.is_empty() {
        return Vec::new();
    }
    let work = topology.work_queue();
    let dead = topology.dead_letter_queue();
    let mut bindings: Vec<(&'static str, String)> =
        topology.bindings.iter().map(|key| (exchange::EVENTS, key.clone())).collect();
    bindings.push((exchange::REQUEUE, work.clone()));
    let mut all = vec![
        Queue {
            name: dead.clone(),
            arguments: quorum(),
            bindings: vec![(exchange::DEAD_LETTERS, dead.clone())],
        },
        Queue {
            name: work.clone(),
            arguments: limited(dead_lettering(quorum(), exchange::DEAD_LETTERS, &dead)),
            bindings,
        },
    ];
    for rung in topology.rungs() {
        let name = topology.retry_queue(*rung);
        let mut arguments = dead_lettering(quorum(), exchange::REQUEUE, &work);
        let millis = i32::try_from(rung.delay.as_millis()).unwrap_or(i32::MAX);
        arguments.insert("x-message-ttl".into(), AMQPValue::LongInt(millis));
        all.push(Queue { bindings: vec![(exchange::RETRY, name.clone())], name, arguments });
    }
    all
}

fn long(text: &str) -> AMQPValue {
    AMQPValue::LongString(text.into())
}

fn quorum() -> FieldTable {
    let mut arguments = FieldTable::default();
    arguments.insert("x-queue-type".into(), long("quorum"));
    arguments
}

fn limited(mut arguments: FieldTable) -> FieldTable {
    arguments.insert("x-delivery-limit".into(), AMQPValue::LongInt(DELIVERY_LIMIT));
    arguments
}

/// At least once: the queue keeps a message until its next queue has confirmed it. That needs
/// `reject-publish`; with the default overflow the broker falls back to at most once, silently.
fn dead_lettering(mut arguments: FieldTable, to: &str, key: &str) -> FieldTable {
    arguments.insert("x-dead-letter-exchange".into(), long(to));
    arguments.insert("x-dead-letter-routing-key".into(), long(key));
    arguments.insert("x-dead-letter-strategy".into(), long("at-least-once"));
    arguments.insert("x-overflow".into(), long("reject-publish"));
    arguments
}

async fn channel(connection: &Connection) -> Result<Channel, TransportError> {
    connection.create_channel().await.map_err(|error| classify(&error))
}

/// Asks passively, on a channel that a "no" will close.
async fn exists<F, Fut>(connection: &Connection, ask: F) -> Result<bool, TransportError>
where
    F: FnOnce(Channel) -> Fut,
    Fut: Future<Output = lapin::Result<()>>,
{
    match ask(channel(connection).await?).await {
        Ok(()) => Ok(true),
        Err(error) => match error.kind() {
            ErrorKind::ProtocolError(amqp) if amqp.get_id() == 404 => Ok(false),
            _ => Err(classify(&error)),
        },
    }
}

async fn exchange_declare(
    channel: Channel,
    name: &str,
    kind: ExchangeKind,
    passive: bool,
) -> lapin::Result<()> {
    let options = ExchangeDeclareOptions { passive, durable: true, ..Default::default() };
    channel.exchange_declare(name.into(), kind, options, FieldTable::default()).await
}

async fn queue_declare(
    channel: Channel,
    name: &str,
    arguments: FieldTable,
    passive: bool,
) -> lapin::Result<()> {
    let options = QueueDeclareOptions { passive, durable: true, ..Default::default() };
    channel.queue_declare(ShortString::from(name), options, arguments).await.map(|_| ())
}

fn differs(name: &str, error: &lapin::Error) -> TransportError {
    match classify(error) {
        TransportError::Topology(text) => TransportError::Topology(format!(
            "{name} exists with other properties: {text}; nothing was changed. \
             Move its messages away and delete it, then run the migration again"
        )),
        other => other,
    }
}
