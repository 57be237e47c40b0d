//! Publishing.

use std::sync::Arc;
use std::task::Poll;

use async_trait::async_trait;
use envelope::CONTENT_TYPE;

use super::faults::Moment;
use super::{Content, Memory};
use crate::crash::{self, Point};
use crate::topology::Topology;
use crate::transport::{Blocked, Fate, Outgoing, Parked, Properties, Publisher, wire};

pub(super) struct MemoryPublisher {
    memory: Memory,
    line: u64,
}

/// What the broker says to a message: whether it refused it, and which one came back with that.
struct Confirm {
    refused: bool,
    returned: Option<String>,
}

/// A connection that is gone.
pub(super) struct Gone;

/// A message to publish: to all who want its type, or into one queue.
struct Publication {
    to: To,
    content: Content,
}

enum To {
    All(String),
    Queue(String),
}

impl MemoryPublisher {
    pub(super) fn new(memory: Memory, line: u64) -> Self {
        Self { memory, line }
    }

    async fn publish_all(&self, batch: Vec<Publication>) -> Vec<Fate> {
        let messages = batch.len();
        self.confirmed(batch).await.unwrap_or_else(|| vec![Fate::Unknown; messages])
    }

    /// None when the connection broke before all confirms were there.
    async fn confirmed(&self, batch: Vec<Publication>) -> Option<Vec<Fate>> {
        self.memory.pass(self.line, Moment::BeforePublish, true).await.ok()?;
        let (confirms, lost) = self.take(batch);
        crash::point(Point::C6);
        if lost {
            self.memory.state().cut(self.line, true);
            return None;
        }
        self.memory.pass(self.line, Moment::BeforeConfirm, false).await.ok()?;
        Some(self.judge(confirms))
    }

    /// What the broker says to each, and whether that is lost on its way back.
    fn take(&self, batch: Vec<Publication>) -> (Vec<Confirm>, bool) {
        let mut state = self.memory.present();
        let lost = state.lost.pop_front();
        let (messages, taken) = (batch.len(), lost.map_or(batch.len(), |lost| lost.stored));
        let confirms = batch.into_iter().take(taken).enumerate().map(|(mark, one)| {
            let (returned, refused) = match one.to {
                To::All(short_type) => state.take(&short_type, one.content),
                To::Queue(queue) => state.take_into(&queue, one.content),
            };
            Confirm { refused, returned: returned.then(|| mark.to_string()) }
        });
        let confirms: Vec<_> = confirms.collect();
        state.note(format!("took {} of {messages}", confirms.len()));
        state.wake();
        (confirms, lost.is_some())
    }

    fn judge(&self, mut confirms: Vec<Confirm>) -> Vec<Fate> {
        self.mix_up(&mut confirms);
        #[cfg(feature = "crash-points")]
        if crash::has(crash::Bug::ConfirmByPosition) {
            let by_position =
                |one: &Confirm| wire::by_position(one.refused, one.returned.is_some());
            return confirms.iter().map(by_position).collect();
        }
        let marks: Vec<_> = (0..confirms.len()).map(|mark| Some(mark.to_string())).collect();
        let refused: Vec<bool> = confirms.iter().map(|one| one.refused).collect();
        let returned: Vec<_> =
            confirms.into_iter().filter_map(|one| one.returned).map(Some).collect();
        wire::fates(&marks, &refused, &returned)
    }

    /// A return comes along with whichever confirm is next, as with a real client library.
    fn mix_up(&self, confirms: &mut [Confirm]) {
        let mut returned: Vec<_> = confirms.iter_mut().map(|one| one.returned.take()).collect();
        for n in 0..returned.len() {
            if returned[n].is_some() {
                let draw = self.memory.broker.clock.unit() * returned.len() as f64;
                returned.swap(n, draw as usize);
            }
        }
        confirms.iter_mut().zip(returned).for_each(|(one, with)| one.returned = with);
    }
}

impl Memory {
    /// Waits for as long as the broker holds this connection at this moment, or `publishing` under an
    /// alarm.
    pub(super) async fn pass(&self, line: u64, at: Moment, publishing: bool) -> Result<(), Gone> {
        let mut held = None;
        self.when(|state| {
            if !state.lines.contains_key(&line) {
                return Poll::Ready(Err(Gone));
            }
            if held.is_none() && state.hold_next == Some(at) {
                let number = state.number();
                state.hold_next = None;
                state.held.insert(number);
                (held, state.last_held) = (Some(number), Some(number));
            }
            if held.is_some_and(|number| state.held.contains(&number)) {
                state.waited = Some(held);
                return Poll::Pending;
            }
            if publishing && state.blocked { Poll::Pending } else { Poll::Ready(Ok(())) }
        })
        .await
    }
}

fn content(message: &Outgoing<'_>) -> Content {
    let properties = Properties {
        content_type: Some(CONTENT_TYPE.to_owned()),
        message_id: Some(message.id.to_string()),
        type_name: Some(message.full_type.to_owned()),
        correlation_id: Some(message.correlation_id.to_string()),
        app_id: Some(message.service.to_owned()),
        timestamp: u64::try_from(message.created_at.timestamp()).ok(),
    };
    let headers = wire::of_event(message).into_iter().collect();
    Content { properties, headers, body: message.body.to_vec() }
}

#[async_trait]
impl Publisher for MemoryPublisher {
    async fn publish(&mut self, batch: &[Outgoing<'_>]) -> Vec<Fate> {
        let publications = batch.iter().map(|message| Publication {
            to: To::All(message.short_type.to_owned()),
            content: content(message),
        });
        self.publish_all(publications.collect()).await
    }

    async fn put_back(&mut self, topology: &Topology, batch: &[Parked<'_>]) -> Vec<Fate> {
        let publications = batch.iter().map(|parked| {
            let headers = wire::of_parked(parked).into_iter().collect();
            let (properties, body) = (parked.properties.clone(), parked.body.to_vec());
            let content = Content { properties, headers, body };
            Publication { to: To::Queue(topology.work_queue()), content }
        });
        self.publish_all(publications.collect()).await
    }

    fn trouble(&self) -> String {
        "connection is gone".into()
    }

    fn connected(&self) -> bool {
        self.memory.state().lines.contains_key(&self.line)
    }

    fn blocked(&self) -> Blocked {
        let (memory, line) = (self.memory.clone(), self.line);
        Arc::new(move || {
            let state = memory.state();
            state.blocked && state.lines.contains_key(&line)
        })
    }

    async fn close(self: Box<Self>) {}
}

impl Drop for MemoryPublisher {
    fn drop(&mut self) {
        self.memory.state().cut(self.line, false);
    }
}
