//! The copies of failed messages, on their way to a rung or to the dead letters.
//!
//! They go by a connection of their own, made when the first message fails: an alarm blocks whoever
//! publishes, and acks must go on. For the same reason nobody has to wait for them. What is under way
//! stays so, for as long as the broker holds it back, and is not published twice.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use lapin::BasicProperties;
use tokio_util::task::AbortOnDropHandle;

use super::super::{Fate, TransportError};
use super::connection::connect;
use super::publisher::{Publication, RabbitPublisher};
use super::{RabbitMq, headers};

/// After this time copies that are under way are late.
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

/// A batch that is under way, and since when.
struct Flight {
    task: AbortOnDropHandle<Landed>,
    begun: Instant,
}

pub(super) struct Copies {
    transport: RabbitMq,
    publisher: Option<RabbitPublisher>,
    /// One batch at a time.
    flight: Option<Flight>,
    failed: Option<Instant>,
    trouble: Option<String>,
    marks: u64,
}

impl Copies {
    pub(super) fn new(transport: RabbitMq) -> Self {
        Self { transport, publisher: None, flight: None, failed: None, trouble: None, marks: 0 }
    }

    /// What the next copy is known by.
    pub(super) fn next_mark(&mut self) -> u64 {
        self.marks += 1;
        self.marks
    }

    /// Whether a batch may be sent now.
    pub(super) fn ready(&self) -> bool {
        self.flight.is_none() && self.failed.is_none_or(|at| at.elapsed() >= PAUSE)
    }

    /// Publishes a batch; [`landed`](Self::landed) tells its fates.
    #[expect(
        clippy::disallowed_methods,
        reason = "it goes on while its subscription is busy, and ends with it"
    )]
    pub(super) fn send(&mut self, batch: Vec<Copy>) {
        let flight = fly(self.transport.clone(), self.publisher.take(), batch);
        let task = AbortOnDropHandle::new(tokio::spawn(flight));
        self.flight = Some(Flight { task, begun: Instant::now() });
    }

    /// Waits for what is under way, and gives its fates; for ever when nothing is.
    pub(super) async fn landed(&mut self) -> HashMap<u64, Fate> {
        let Some(flight) = &mut self.flight else { return std::future::pending().await };
        let landed = (&mut flight.task).await.unwrap_or_else(|ended| Landed {
            fates: HashMap::new(),
            publisher: None,
            trouble: Some(ended.to_string()),
        });
        self.flight = None;
        self.publisher = landed.publisher;
        self.failed = landed.trouble.as_ref().map(|_| Instant::now());
        self.trouble = landed.trouble;
        landed.fates
    }

    /// Whether something is under way that is not late yet.
    pub(super) fn under_way(&self) -> bool {
        self.flight.is_some() && !self.late()
    }

    /// The time until what is under way is late.
    pub(super) fn until_late(&self) -> Duration {
        let age = self.flight.as_ref().map(|flight| flight.begun.elapsed());
        WAIT.saturating_sub(age.unwrap_or_default())
    }

    /// Whether the broker does not confirm what is under way.
    pub(super) fn late(&self) -> bool {
        self.flight.as_ref().is_some_and(|flight| flight.begun.elapsed() >= WAIT)
    }

    /// What holds copies up, apart from queues that are missing or full.
    pub(super) fn trouble(&self) -> Option<&str> {
        if self.late() {
            return Some("the broker does not confirm them");
        }
        self.trouble.as_deref()
    }

    /// Hands the connection back; what is under way may arrive all the same.
    pub(super) async fn close(&mut self) {
        self.flight = None;
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
