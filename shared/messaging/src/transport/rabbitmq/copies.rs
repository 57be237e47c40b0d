//! The copies of failed messages, on their way to a rung or to the dead letters.
//!
//! They go by a connection of their own, made when the first message fails: an alarm blocks whoever
//! publishes, and acks must go on. For the same reason nobody waits for them without end. What is
//! under way stays so, for as long as the broker holds it back, and is not published twice.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use lapin::BasicProperties;
use tokio::sync::Mutex;

use super::super::{Fate, TransportError};
use super::connection::connect;
use super::publisher::{Publication, RabbitPublisher};
use super::{RabbitMq, headers};

/// How long a settlement waits for its copies.
const WAIT: Duration = Duration::from_secs(3);
/// Between two tries to have a connection for them.
const PAUSE: Duration = Duration::from_secs(1);

/// A copy to publish.
pub(super) struct Copy {
    /// Of the original.
    pub(super) tag: u64,
    pub(super) exchange: &'static str,
    pub(super) routing_key: String,
    pub(super) properties: BasicProperties,
    pub(super) body: Vec<u8>,
}

/// What became of a batch: the fate of each original's copy, and a publisher that may go on.
struct Landed {
    fates: HashMap<u64, Fate>,
    publisher: Option<RabbitPublisher>,
    trouble: Option<String>,
}

type Flight = Pin<Box<dyn Future<Output = Landed> + Send>>;

pub(super) struct Copies {
    transport: RabbitMq,
    publisher: Option<RabbitPublisher>,
    /// One batch at a time. In a lock, as a future cannot be shared between threads.
    flight: Mutex<Option<Flight>>,
    failed: Option<Instant>,
    trouble: Option<String>,
    marks: u64,
}

impl Copies {
    pub(super) fn new(transport: RabbitMq) -> Self {
        let flight = Mutex::new(None);
        Self { transport, publisher: None, flight, failed: None, trouble: None, marks: 0 }
    }

    /// What the next copy is known by.
    pub(super) fn next_mark(&mut self) -> u64 {
        self.marks += 1;
        self.marks
    }

    /// Whether a batch may be sent now.
    pub(super) fn ready(&mut self) -> bool {
        self.flight.get_mut().is_none() && self.failed.is_none_or(|at| at.elapsed() >= PAUSE)
    }

    /// Publishes a batch and waits a few seconds for its fates; none when they take longer. The
    /// batch is under way then, and [`landed`](Self::landed) tells.
    pub(super) async fn send(&mut self, batch: Vec<Copy>) -> HashMap<u64, Fate> {
        let flight = fly(self.transport.clone(), self.publisher.take(), batch);
        let flight = self.flight.get_mut().insert(Box::pin(flight));
        match tokio::time::timeout(WAIT, flight).await {
            Ok(landed) => self.take(landed),
            Err(_) => {
                self.trouble = Some("the broker does not confirm them".into());
                HashMap::new()
            }
        }
    }

    /// The fates of a batch that took longer, if they are known now.
    pub(super) fn landed(&mut self) -> HashMap<u64, Fate> {
        let landed = self.flight.get_mut().as_mut().and_then(FutureExt::now_or_never);
        landed.map(|landed| self.take(landed)).unwrap_or_default()
    }

    fn take(&mut self, landed: Landed) -> HashMap<u64, Fate> {
        *self.flight.get_mut() = None;
        self.publisher = landed.publisher;
        self.failed = landed.trouble.as_ref().map(|_| Instant::now());
        self.trouble = landed.trouble;
        landed.fates
    }

    /// What holds copies up, apart from queues that are missing or full.
    pub(super) fn trouble(&self) -> Option<&str> {
        self.trouble.as_deref()
    }

    /// Hands the connection back; what is under way may arrive all the same.
    pub(super) async fn close(&mut self) {
        *self.flight.get_mut() = None;
        if let Some(publisher) = self.publisher.take() {
            publisher.shut().await;
        }
    }
}

async fn fly(transport: RabbitMq, publisher: Option<RabbitPublisher>, batch: Vec<Copy>) -> Landed {
    let tags = batch.iter().map(|copy| copy.tag);
    let mut publisher = match connected(&transport, publisher).await {
        Ok(publisher) => publisher,
        Err(error) => {
            let fates = tags.map(|tag| (tag, Fate::Unknown)).collect();
            return Landed { fates, publisher: None, trouble: Some(error.to_string()) };
        }
    };
    let publications = batch.iter().map(|copy| Publication {
        exchange: copy.exchange,
        routing_key: &copy.routing_key,
        properties: copy.properties.clone(),
        body: &copy.body,
    });
    let mark = |copy: &BasicProperties| headers::mark_of(copy, &transport.namespace);
    let all = publisher.publish_all(publications, mark).await;
    let spent = all.contains(&Fate::Unknown);
    let trouble = spent.then(|| publisher.why());
    Landed { fates: tags.zip(all).collect(), publisher: (!spent).then_some(publisher), trouble }
}

async fn connected(
    transport: &RabbitMq,
    publisher: Option<RabbitPublisher>,
) -> Result<RabbitPublisher, TransportError> {
    match publisher.filter(RabbitPublisher::stands) {
        Some(publisher) => Ok(publisher),
        None => {
            let name = format!("{} copies", transport.name);
            let connection = connect(&transport.url, &name).await?;
            RabbitPublisher::open(connection, transport.confirm_timeout).await
        }
    }
}
