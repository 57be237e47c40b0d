//! Listens to all that is published, with a queue of its own, and can say it again.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use envelope::Envelope;
use futures_util::StreamExt as _;
use lapin::message::Delivery;
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicGetOptions, BasicPublishOptions, BasicQosOptions,
    BasicRejectOptions, ConfirmSelectOptions, QueueBindOptions, QueueDeclareOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Connection, ConnectionProperties};
use tokio::task::JoinHandle;
use uuid::Uuid;

use crate::draw::Draw;
use crate::task;

/// Where all events are published.
pub(crate) const EVENTS: &str = "events";
/// The tap's own queue.
pub(crate) const QUEUE: &str = "chaos.tap";
/// In the headers of a dead letter that came back.
const REPLAYED: &str = "x-shop-replay";
/// So many of the last messages can be said again.
const KEPT: usize = 512;
const PREFETCH: u16 = 256;
const PAUSE: Duration = Duration::from_millis(200);
/// A broker that goes away without a word is found out so late.
const QUIET: Duration = Duration::from_secs(5);

/// A message, to say again.
#[derive(Debug, Clone)]
struct Said {
    routing_key: String,
    properties: BasicProperties,
    body: Vec<u8>,
}

#[derive(Debug, Default)]
struct Heard {
    /// The versions of each aggregate in the order in which they were first heard.
    versions: HashMap<(String, String), Vec<u32>>,
    /// Each event's number of times.
    events: HashMap<Uuid, u32>,
    last: VecDeque<Said>,
    /// Bodies that we have spoilt: nobody signed them.
    spoilt: HashSet<Vec<u8>>,
    /// Those of them that the broker has for sure.
    delivered: Vec<Vec<u8>>,
}

/// Listens until it is dropped.
#[derive(Debug)]
pub(crate) struct Tap {
    url: String,
    heard: Arc<Mutex<Heard>>,
    listening: JoinHandle<()>,
}

impl Tap {
    /// Listens to the broker at `url`.
    ///
    /// # Errors
    /// When its queue cannot be made.
    pub(crate) async fn on(url: &str) -> anyhow::Result<Self> {
        let heard = Arc::<Mutex<Heard>>::default();
        declare(url).await.context("the tap's queue")?;
        let (url, into) = (url.to_owned(), heard.clone());
        let address = url.clone();
        let listening = task::spawn(async move {
            loop {
                // It ends with its connection; what was not acknowledged comes again.
                let _ = listen(&address, &into).await;
                tokio::time::sleep(PAUSE).await;
            }
        });
        Ok(Self { url, heard, listening })
    }

    fn heard(&self) -> MutexGuard<'_, Heard> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Aggregates whose versions were first heard in another order than 1, 2, 3, ...
    pub(crate) fn out_of_order(&self) -> Vec<String> {
        let heard = self.heard();
        let wrong = |versions: &[u32]| versions.iter().zip(1..).any(|(one, n)| *one != n);
        let told = heard.versions.iter().filter(|(_, versions)| wrong(versions));
        let told = told.map(|((source, subject), all)| format!("{subject} of {source}: {all:?}"));
        told.collect()
    }

    /// Events that were heard.
    pub(crate) fn events(&self) -> usize {
        self.heard().events.len()
    }

    /// Says some of the last messages again, each up to five times, in another order. Gives how many
    /// it published.
    ///
    /// # Errors
    /// When the broker does not take them.
    pub(crate) async fn repeat(&self, draw: &mut Draw, most: usize) -> anyhow::Result<usize> {
        let mut again: Vec<Said> = Vec::new();
        {
            let heard = self.heard();
            for _ in 0..most.min(heard.last.len()) {
                let one = &heard.last[draw.below(heard.last.len())];
                again.extend(vec![one.clone(); 1 + draw.below(5)]);
            }
        }
        for n in (1..again.len()).rev() {
            again.swap(n, draw.below(n + 1));
        }
        Ok(say_all(&self.url, again).await?.len())
    }

    /// Says some of the last messages again, each spoilt in its own way, and the bodies of all for the
    /// first time. Gives how many.
    ///
    /// # Errors
    /// When the broker does not take them.
    pub(crate) async fn spoil(&self, draw: &mut Draw, most: usize) -> anyhow::Result<usize> {
        let mut bad: Vec<Said> = Vec::new();
        {
            let mut heard = self.heard();
            for _ in 0..most.min(heard.last.len()) {
                let one = spoilt(heard.last[draw.below(heard.last.len())].clone(), draw);
                if heard.spoilt.insert(one.body.clone()) {
                    bad.push(one);
                }
            }
        }
        let taken = say_all(&self.url, bad).await?;
        let many = taken.len();
        self.heard().delivered.extend(taken.into_iter().map(|one| one.body));
        Ok(many)
    }

    /// All spoilt bodies that the broker has taken.
    pub(crate) fn spoilt(&self) -> Vec<Vec<u8>> {
        self.heard().delivered.clone()
    }
}

/// A message that nobody has signed like this.
fn spoilt(mut one: Said, draw: &mut Draw) -> Said {
    let at = draw.below(one.body.len());
    match draw.below(5) {
        0 => one.body.truncate(at),
        1 => one.body.push(b' '),
        2 => one.body = vec![b'['; 1 + at],
        3 => {
            one.body[at] ^= 1;
            one.properties = one.properties.with_headers(FieldTable::default());
        }
        _ => one.body[at] ^= 1 << draw.below(8),
    }
    one
}

impl Drop for Tap {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

/// Makes the broker give up on messages that wait in a queue, as it does when they were delivered too
/// often. Gives how many.
///
/// # Errors
/// When the broker does not answer.
pub(crate) async fn give_up(url: &str, queue: &str, most: usize) -> anyhow::Result<usize> {
    let connection = connect(url).await?;
    let channel = connection.create_channel().await?;
    let mut given_up = 0;
    while given_up < most
        && let Some(message) = channel.basic_get(queue.into(), BasicGetOptions::default()).await?
    {
        // Twice is for good: one that has had its second chance goes on.
        let headers = message.delivery.properties.headers().clone().unwrap_or_default();
        let requeue = headers.inner().contains_key(REPLAYED);
        message.delivery.acker.reject(BasicRejectOptions { requeue }).await?;
        if requeue {
            break;
        }
        given_up += 1;
    }
    connection.close(200, "given up".into()).await?;
    Ok(given_up)
}

/// Publishes all, and gives those that every queue has taken.
async fn say_all(url: &str, all: Vec<Said>) -> anyhow::Result<Vec<Said>> {
    let connection = connect(url).await?;
    let channel = connection.create_channel().await?;
    channel.confirm_select(ConfirmSelectOptions::default()).await?;
    let mut taken = Vec::new();
    for one in all {
        // A queue may be full.
        if say(&channel, &one).await?.await?.is_ack() {
            taken.push(one);
        }
    }
    connection.close(200, "said".into()).await?;
    Ok(taken)
}

#[expect(clippy::disallowed_methods, reason = "the harness repeats what others have published")]
async fn say(channel: &lapin::Channel, one: &Said) -> lapin::Result<lapin::PublisherConfirm> {
    let options = BasicPublishOptions::default();
    let (key, properties) = (one.routing_key.as_str().into(), one.properties.clone());
    channel.basic_publish(EVENTS.into(), key, options, &one.body, properties).await
}

async fn connect(url: &str) -> lapin::Result<Connection> {
    Connection::connect(url, ConnectionProperties::default()).await
}

async fn declare(url: &str) -> anyhow::Result<()> {
    let connection = connect(url).await?;
    let channel = connection.create_channel().await?;
    let mut arguments = FieldTable::default();
    arguments.insert("x-queue-type".into(), AMQPValue::LongString("quorum".into()));
    let options = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    channel.queue_declare(QUEUE.into(), options, arguments).await?;
    let bind = QueueBindOptions::default();
    channel
        .queue_bind(QUEUE.into(), EVENTS.into(), "#".into(), bind, FieldTable::default())
        .await?;
    connection.close(200, "declared".into()).await?;
    Ok(())
}

async fn listen(url: &str, into: &Mutex<Heard>) -> anyhow::Result<()> {
    let connection = connect(url).await?;
    let channel = connection.create_channel().await?;
    channel.basic_qos(PREFETCH, BasicQosOptions::default()).await?;
    let options = BasicConsumeOptions::default();
    let mut messages =
        channel.basic_consume(QUEUE.into(), "".into(), options, FieldTable::default()).await?;
    loop {
        match tokio::time::timeout(QUIET, messages.next()).await {
            Ok(message) => {
                let message = message.context("the stream ended")??;
                into.lock().unwrap_or_else(PoisonError::into_inner).take(&message)?;
                message.acker.ack(BasicAckOptions::default()).await?;
            }
            Err(_) if connection.status().connected() => {}
            Err(_) => return Ok(()),
        }
    }
}

impl Heard {
    fn take(&mut self, message: &Delivery) -> anyhow::Result<()> {
        if self.spoilt.contains(&message.data) {
            return Ok(());
        }
        let envelope = Envelope::decode(&message.data).context("no envelope")?;
        let times = self.events.entry(envelope.id).or_default();
        *times += 1;
        if *times > 1 {
            return Ok(());
        }
        let aggregate = (envelope.source.clone(), envelope.subject.to_string());
        self.versions.entry(aggregate).or_default().push(envelope.aggversion);
        if self.last.len() == KEPT {
            self.last.pop_front();
        }
        self.last.push_back(Said {
            routing_key: message.routing_key.to_string(),
            properties: message.properties.clone(),
            body: message.data.clone(),
        });
        Ok(())
    }
}
