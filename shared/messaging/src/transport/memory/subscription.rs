//! Consuming a queue, and settling what came from it.

use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use async_trait::async_trait;

use super::faults::Moment;
use super::{Content, Memory, gone};
use crate::crash::{self, Point};
use crate::topology::Topology;
use crate::transport::wire::{self, Names};
use crate::transport::{Delivery, Failure, Properties, Settlement, Subscription, TransportError};

/// The longest wait before a look at the clock, which may be another one than the machine's.
const LOOK: Duration = Duration::from_secs(1);

pub(super) struct MemorySubscription {
    memory: Memory,
    line: u64,
    topology: Topology,
    queue: String,
    /// Settlements that have found no place yet; tried again with every further one.
    owed: Vec<(Delivery, Settlement)>,
}

impl MemorySubscription {
    pub(super) fn new(memory: Memory, line: u64, topology: Topology, queue: String) -> Self {
        Self { memory, line, topology, queue, owed: Vec::new() }
    }

    /// What is there, as soon as something is.
    async fn ready(&self, max: usize) -> Result<Vec<Delivery>, TransportError> {
        let Self { memory, line, queue, .. } = self;
        memory
            .when(|state| match state.deliver(*line, max, &memory.broker.namespace) {
                Ok(chunk) if chunk.is_empty() && !state.stepping => Poll::Pending,
                Ok(chunk) => {
                    let ids: Vec<String> = chunk.iter().map(short_id).collect();
                    if !ids.is_empty() {
                        state.note(format!("{queue} gave {}", ids.join(" ")));
                    }
                    Poll::Ready(Ok(chunk))
                }
                Err(away) => Poll::Ready(Err(away)),
            })
            .await
    }

    /// How long nothing can become due by the machine's own clock.
    fn until_due(&self) -> Duration {
        let due = self.memory.next_due();
        let left = due.map(|due| (due - self.memory.broker.clock.now()).to_std());
        left.map_or(LOOK, Result::unwrap_or_default).clamp(Duration::from_millis(1), LOOK)
    }

    /// Puts copies of what is owed where they belong, and returns the tags of those that got there.
    fn place_copies(&mut self) -> Result<Vec<u64>, TransportError> {
        let mut state = self.memory.present();
        let line = state.lines.get(&self.line).ok_or_else(gone)?;
        self.owed.retain(|(delivery, _)| line.unsettled.contains_key(&delivery.tag));
        let mut placed = Vec::new();
        for (delivery, to) in &self.owed {
            let Some((place, failure)) = self.place(to) else { continue };
            let free = state.queues.get(&place).is_some_and(|queue| !queue.is_full());
            if state.blocked || !free {
                continue;
            }
            let copy = self.copy(delivery, failure);
            state.enqueue(&place, &Arc::new(copy));
            state.note(format!("{} to {place}", short_id(delivery)));
            if state.lost_copies > 0 {
                state.lost_copies -= 1;
            } else {
                placed.push(delivery.tag);
            }
        }
        state.wake();
        Ok(placed)
    }

    fn place<'a>(&self, to: &'a Settlement) -> Option<(String, &'a Failure)> {
        let topology = &self.topology;
        match to {
            Settlement::Done => None,
            Settlement::Later(rung, failure) => Some((topology.retry_queue(*rung), failure)),
            Settlement::Park(failure) => Some((topology.dead_letter_queue(), failure)),
        }
    }

    /// A failed message as it travels on: what it came with that still holds, and why it failed.
    fn copy(&self, of: &Delivery, failure: &Failure) -> Content {
        let names = Names(&self.memory.broker.namespace);
        let mut headers = of.headers.clone();
        headers.retain(|name, _| !wire::is_of_the_journey(name));
        headers.extend(wire::of_failure(&names, &self.queue, failure));
        headers.insert(names.header("attempt"), failure.attempts.to_string());
        let properties = Properties {
            content_type: of.content_type.clone(),
            message_id: of.message_id.clone(),
            type_name: of.type_name.clone(),
            correlation_id: of.correlation_id.clone(),
            app_id: of.app_id.clone(),
            timestamp: of.timestamp,
        };
        Content { properties, headers, body: of.body.clone() }
    }

    fn ack(&self, tags: &[u64]) -> Result<(), TransportError> {
        let mut state = self.memory.state();
        for tag in tags {
            state.ack(self.line, *tag)?;
        }
        if !tags.is_empty() {
            state.note(format!("{} settled {}", self.queue, tags.len()));
        }
        // There may be room for more.
        state.wake();
        Ok(())
    }

    fn debt(&self) -> TransportError {
        let queue = &self.queue;
        TransportError::Topology(if self.memory.state().blocked {
            format!("copies of failed messages of {queue} wait: the broker holds them back")
        } else {
            format!("a retry or dead-letter queue of {queue} is missing or full")
        })
    }
}

/// Enough of an id to tell it from the others of a history.
fn short_id(delivery: &Delivery) -> String {
    let id = delivery.message_id.as_deref().unwrap_or("?");
    id[id.floor_char_boundary(id.len().saturating_sub(6))..].to_owned()
}

#[async_trait]
impl Subscription for MemorySubscription {
    async fn next(&mut self, max: usize) -> Result<Vec<Delivery>, TransportError> {
        loop {
            tokio::select! {
                biased;
                chunk = self.ready(max) => return chunk,
                () = tokio::time::sleep(self.until_due()) => {}
            }
        }
    }

    async fn settle(&mut self, all: Vec<(Delivery, Settlement)>) -> Result<(), TransportError> {
        let passed = self.memory.pass(self.line, Moment::BeforeSettle, false).await;
        passed.map_err(|_| gone())?;
        let (done, owed): (Vec<_>, Vec<_>) =
            all.into_iter().partition(|(_, to)| matches!(to, Settlement::Done));
        let done: Vec<u64> = done.iter().map(|(delivery, _)| delivery.tag).collect();
        self.ack(&done)?;
        self.owed.extend(owed);
        let placed = self.place_copies()?;
        if !placed.is_empty() {
            crash::point(Point::C15);
        }
        self.owed.retain(|(delivery, _)| !placed.contains(&delivery.tag));
        self.ack(&placed)?;
        if self.owed.is_empty() { Ok(()) } else { Err(self.debt()) }
    }

    async fn pause(&mut self, kept: &Delivery) -> Result<(), TransportError> {
        let owed = self.owed.iter().map(|(delivery, _)| delivery.tag);
        let kept: Vec<u64> = owed.chain([kept.tag]).collect();
        self.memory.state().pause(self.line, &kept)
    }

    async fn resume(&mut self) -> Result<(), TransportError> {
        self.memory.state().resume(self.line)
    }

    async fn close(self: Box<Self>) {
        self.memory.state().cut(self.line, false);
    }
}

impl Drop for MemorySubscription {
    fn drop(&mut self) {
        // Nobody said goodbye: to the broker it is a connection that broke.
        self.memory.state().cut(self.line, true);
    }
}
