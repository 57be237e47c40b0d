//! Exchanges, queues and bindings: what there has to be, what is missing or different, and making it.

use std::collections::BTreeSet;
use std::fmt;

use lapin::options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::{Channel, Connection, ErrorKind, ExchangeKind};

use super::super::TransportError;
use super::connection::answered;
use super::exchange;
use crate::topology::Topology;

/// A crash backstop, not a retry counter: attempts are counted by our own header.
const DELIVERY_LIMIT: i32 = 20;
/// Nothing but the parker may take a dead letter. Without a limit of its own, RabbitMQ 4 would drop
/// it after 20 deliveries that failed.
const DEAD_LETTER_LIMIT: i32 = i32::MAX;

const EXCHANGES: [(&str, ExchangeKind); 4] = [
    (exchange::EVENTS, ExchangeKind::Topic),
    (exchange::RETRY, ExchangeKind::Direct),
    (exchange::REQUEUE, ExchangeKind::Direct),
    (exchange::DEAD_LETTERS, ExchangeKind::Direct),
];

/// A way from an exchange to a queue.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Binding {
    /// Where messages come from.
    pub exchange: String,
    /// The routing key that they come by.
    pub key: String,
    /// The queue that they go to.
    pub queue: String,
}

impl fmt::Display for Binding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "binding {} -{}-> {}", self.exchange, self.key, self.queue)
    }
}

/// A queue with all its arguments and where its messages come from.
struct Queue {
    name: String,
    arguments: FieldTable,
    bindings: Vec<Binding>,
}

/// What was found of the topologies of services on a broker where nothing differs.
pub struct Survey {
    /// Exchanges that are missing.
    exchanges: Vec<(&'static str, ExchangeKind)>,
    /// Queues that are needed, and whether each is missing.
    queues: Vec<(Queue, bool)>,
    /// Bindings, where they could be asked for: AMQP itself has no question for them.
    bound: Option<BTreeSet<Binding>>,
}

impl Survey {
    /// With the bindings that there are on the broker, learned elsewhere. Returns those that bring
    /// events to the services and that none of their handlers wants: they are left alone.
    pub fn with_bindings(&mut self, bound: BTreeSet<Binding>) -> Vec<Binding> {
        let wanted: BTreeSet<&Binding> =
            self.queues.iter().flat_map(|(q, _)| &q.bindings).collect();
        let ours = |name: &str| self.queues.iter().any(|(queue, _)| queue.name == name);
        let unwanted = bound
            .iter()
            .filter(|one| one.exchange == exchange::EVENTS && ours(&one.queue))
            .filter(|one| !wanted.contains(one))
            .cloned()
            .collect();
        self.bound = Some(bound);
        unwanted
    }

    fn is_new(&self, binding: &Binding, queue_is_new: bool) -> bool {
        queue_is_new || self.bound.as_ref().is_some_and(|bound| !bound.contains(binding))
    }
}

/// Looks at all that the topologies need. Changes nothing.
pub(super) async fn survey(
    connection: &Connection,
    topologies: &[Topology],
) -> Result<Survey, TransportError> {
    let mut survey = Survey { exchanges: Vec::new(), queues: Vec::new(), bound: None };
    let mut differences = Vec::new();
    for (name, kind) in EXCHANGES {
        let declare = |passive| {
            let kind = kind.clone();
            move |channel| exchange_declare(channel, name, kind, passive)
        };
        match look(connection, declare(true), declare(false)).await? {
            Found::Missing => survey.exchanges.push((name, kind)),
            Found::Same => {}
            Found::Different(how) => differences.push(format!("{name} exists {how}")),
        }
    }
    for queue in topologies.iter().flat_map(queues) {
        let name = queue.name.as_str();
        let declare = |arguments: FieldTable, passive| {
            move |channel| queue_declare(channel, name, arguments, passive)
        };
        let (ask, again) = (FieldTable::default(), queue.arguments.clone());
        let missing = match look(connection, declare(ask, true), declare(again, false)).await? {
            Found::Missing => true,
            Found::Same => false,
            Found::Different(how) => {
                differences.push(format!("{name} exists {how}"));
                continue;
            }
        };
        survey.queues.push((queue, missing));
    }
    if differences.is_empty() {
        return Ok(survey);
    }
    Err(TransportError::Topology(format!(
        "{}; nothing was changed. Move the messages of such a queue away and delete it, then run \
         the migration again",
        differences.join("; ")
    )))
}

/// Makes what a survey found missing, and says each thing once it is made.
pub(super) async fn make(
    connection: &Connection,
    survey: &Survey,
    made: &mut (dyn FnMut(String) + Send),
) -> Result<(), TransportError> {
    for (name, kind) in &survey.exchanges {
        let channel = answered(connection.create_channel()).await?;
        answered(exchange_declare(channel, name, kind.clone(), false)).await?;
        made(format!("exchange {name}"));
    }
    for (queue, missing) in &survey.queues {
        let channel = answered(connection.create_channel()).await?;
        if *missing {
            let arguments = queue.arguments.clone();
            answered(queue_declare(channel.clone(), &queue.name, arguments, false)).await?;
            made(format!("queue {}", queue.name));
        }
        for binding in &queue.bindings {
            answered(bind(&channel, binding)).await?;
            if survey.is_new(binding, *missing) {
                made(binding.to_string());
            }
        }
        // One per queue would come to the broker's limit for a connection.
        let _ = answered(channel.close(200, "done".into())).await;
    }
    Ok(())
}

async fn bind(channel: &Channel, binding: &Binding) -> lapin::Result<()> {
    let Binding { exchange, key, queue } = binding;
    let (options, arguments) = (QueueBindOptions::default(), FieldTable::default());
    channel
        .queue_bind(
            queue.as_str().into(),
            exchange.as_str().into(),
            key.as_str().into(),
            options,
            arguments,
        )
        .await
}

fn queues(topology: &Topology) -> Vec<Queue> {
    if topology.bindings.is_empty() {
        return Vec::new();
    }
    let work = topology.work_queue();
    let dead = topology.dead_letter_queue();
    let bindings = topology.bindings.iter().map(|key| (exchange::EVENTS, key.as_str()));
    let mut all = vec![
        queue(&dead, limited(quorum(), DEAD_LETTER_LIMIT), [(exchange::DEAD_LETTERS, &*dead)]),
        queue(
            &work,
            limited(dead_lettering(quorum(), exchange::DEAD_LETTERS, &dead), DELIVERY_LIMIT),
            bindings.chain([(exchange::REQUEUE, &*work)]),
        ),
    ];
    for rung in topology.rungs() {
        let name = topology.retry_queue(*rung);
        let mut arguments = dead_lettering(quorum(), exchange::REQUEUE, &work);
        let millis = i32::try_from(rung.delay.as_millis()).unwrap_or(i32::MAX);
        arguments.insert("x-message-ttl".into(), AMQPValue::LongInt(millis));
        all.push(queue(&name, arguments, [(exchange::RETRY, &*name)]));
    }
    all
}

fn queue<'a>(
    name: &str,
    arguments: FieldTable,
    bindings: impl IntoIterator<Item = (&'a str, &'a str)>,
) -> Queue {
    let bindings = bindings.into_iter().map(|(exchange, key)| Binding {
        exchange: exchange.to_owned(),
        key: key.to_owned(),
        queue: name.to_owned(),
    });
    Queue { name: name.to_owned(), arguments, bindings: bindings.collect() }
}

fn long(text: &str) -> AMQPValue {
    AMQPValue::LongString(text.into())
}

fn quorum() -> FieldTable {
    let mut arguments = FieldTable::default();
    arguments.insert("x-queue-type".into(), long("quorum"));
    arguments
}

fn limited(mut arguments: FieldTable, deliveries: i32) -> FieldTable {
    arguments.insert("x-delivery-limit".into(), AMQPValue::LongInt(deliveries));
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

enum Found {
    Missing,
    Same,
    Different(String),
}

/// Asks whether something is there, and only if it is, declares it once more with all its
/// properties, which has no effect but a "no" where they differ. A "no" closes its channel.
async fn look<A, B>(
    connection: &Connection,
    ask: impl FnOnce(Channel) -> A,
    declare_again: impl FnOnce(Channel) -> B,
) -> Result<Found, TransportError>
where
    A: Future<Output = lapin::Result<()>>,
    B: Future<Output = lapin::Result<()>>,
{
    let channel = answered(connection.create_channel()).await?;
    answered(async {
        let answer = match ask(channel.clone()).await {
            Ok(()) => declare_again(channel.clone()).await,
            Err(error) if said(&error, 404).is_some() => return Ok(Found::Missing),
            refusal => refusal,
        };
        match answer {
            Ok(()) => {
                let _ = channel.close(200, "done".into()).await;
                Ok(Found::Same)
            }
            // Precondition failed, or exclusive to somebody else's connection.
            Err(error) => match said(&error, 406).or_else(|| said(&error, 405)) {
                Some(how) => Ok(Found::Different(format!("with other properties: {how}"))),
                None => Err(error),
            },
        }
    })
    .await
}

/// What the broker said, if it said no with this code.
fn said(error: &lapin::Error, code: u16) -> Option<String> {
    match error.kind() {
        ErrorKind::ProtocolError(amqp) if amqp.get_id() == code => {
            Some(amqp.get_message().to_string())
        }
        _ => None,
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
