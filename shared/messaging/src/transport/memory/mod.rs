//! A broker in memory: for tests of what is built on the kit, and for its simulation.
//!
//! It keeps every promise of [`transport`](super) and has [faults] that a real broker shows at its own
//! time only. Its time is that of the [`Clock`] it is given: a message that rests on the ladder is due
//! when that clock says so. It starts no task and keeps nothing but what lies in its queues and a note
//! of what it has taken.
//!
//! ```
//! use std::time::Duration;
//!
//! use envelope::Clock;
//! use messaging::topology::Topology;
//! use messaging::transport::Transport;
//! use messaging::transport::memory::{Content, Memory};
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() {
//! let broker = Memory::new(Clock::system(), "demo");
//! let greeter = Topology { service: "greeter".into(), bindings: vec!["guest.came.v1".into()] };
//! broker.provision(&greeter).await.unwrap();
//! broker.put("greeter.in", Content { body: b"hello".to_vec(), ..Content::default() });
//! let mut deliveries = broker.subscribe(&greeter, 10).await.unwrap();
//! assert_eq!(deliveries.next(10).await.unwrap()[0].body, b"hello");
//! # }
//! ```

mod broker;
pub mod faults;
mod publisher;
mod queue;
mod subscription;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use envelope::Clock;

use super::{Properties, Publisher, Subscription, Transport, TransportError};
use crate::topology::Topology;
use broker::State;
use publisher::MemoryPublisher;
use queue::needed;
use subscription::MemorySubscription;

/// How many dead letters a parker may have at a time.
const PARKED_PREFETCH: usize = 16;

/// A broker in memory, or a handle on one: clones share it.
#[derive(Clone)]
pub struct Memory {
    broker: Arc<Broker>,
    /// Whose connections these are.
    name: Arc<str>,
}

struct Broker {
    clock: Clock,
    namespace: String,
    state: Mutex<State>,
}

/// A message as it lies in a queue, but for its address.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Content {
    /// What stands beside its headers.
    pub properties: Properties,
    /// Ours and those of others.
    pub headers: BTreeMap<String, String>,
    /// The exact bytes.
    pub body: Vec<u8>,
}

/// A message that was published and taken over, with or without its publisher's knowing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accepted {
    /// Routing key.
    pub short_type: String,
    /// What was published.
    pub content: Arc<Content>,
}

impl Memory {
    /// An empty broker. `clock` says when a delay is over, `namespace` stands in header names.
    pub fn new(clock: Clock, namespace: impl Into<String>) -> Self {
        let broker = Broker { clock, namespace: namespace.into(), state: Mutex::default() };
        Self { broker: Arc::new(broker), name: "".into() }
    }

    /// The same broker for another process: its connections are told apart by `name`.
    #[must_use]
    pub fn named(&self, name: impl Into<Arc<str>>) -> Self {
        Self { broker: self.broker.clone(), name: name.into() }
    }

    /// Whose connections are made with this.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Has everybody who waits look again: the clock was moved.
    pub fn tick(&self) {
        self.state().wake();
    }

    /// When the next resting message is due, if any rests.
    pub fn next_due(&self) -> Option<DateTime<Utc>> {
        self.state().next_due()
    }

    /// Messages that wait or rest in a queue; those that somebody has are not counted. None when there
    /// is no such queue.
    pub fn depth(&self, queue: &str) -> Option<usize> {
        self.present().queues.get(queue).map(queue::Queue::depth)
    }

    /// Messages that could be delivered now.
    pub fn ready(&self, queue: &str) -> usize {
        self.present().queues.get(queue).map_or(0, |queue| queue.ready.len())
    }

    /// Messages of a queue that were delivered and are not settled.
    pub fn unsettled(&self, queue: &str) -> usize {
        self.state().of_queue(queue).map(|line| line.unsettled.len()).sum()
    }

    /// Subscriptions of a queue.
    pub fn subscribers(&self, queue: &str) -> usize {
        self.state().of_queue(queue).count()
    }

    /// The names of all queues.
    pub fn queues(&self) -> Vec<String> {
        self.state().queues.keys().cloned().collect()
    }

    /// All events that were ever taken over, in that order.
    pub fn accepted(&self) -> Vec<Accepted> {
        self.state().accepted.clone()
    }

    /// Puts a message at the end of a queue, whoever it is from. False when there is no such queue.
    pub fn put(&self, queue: &str, content: Content) -> bool {
        let mut state = self.present();
        let put = state.enqueue(queue, &Arc::new(content));
        state.wake();
        put
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.broker.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The state as it is now: what is due is where it belongs.
    fn present(&self) -> MutexGuard<'_, State> {
        let now = self.broker.clock.now();
        let mut state = self.state();
        state.promote(now);
        state
    }

    fn reachable(&self) -> Result<MutexGuard<'_, State>, TransportError> {
        let state = self.present();
        if state.away { Err(gone()) } else { Ok(state) }
    }

    /// Waits until `look` has an answer, however often the state changes before.
    async fn when<T>(&self, mut look: impl FnMut(&mut State) -> Poll<T>) -> T {
        std::future::poll_fn(|context| {
            let mut state = self.present();
            let answer = look(&mut state);
            if answer.is_pending() {
                state.wait(context.waker());
            }
            answer
        })
        .await
    }

    fn open(
        &self,
        topology: &Topology,
        queue: String,
        prefetch: usize,
    ) -> Result<Box<dyn Subscription>, TransportError> {
        let mut state = self.reachable()?;
        if !state.queues.contains_key(&queue) {
            return Err(TransportError::Topology(format!("there is no queue {queue}")));
        }
        let line = state.connect(self.name.clone(), Some(&queue), prefetch);
        drop(state);
        Ok(Box::new(MemorySubscription::new(self.clone(), line, topology.clone(), queue)))
    }
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Memory").field("name", &self.name).finish_non_exhaustive()
    }
}

fn gone() -> TransportError {
    TransportError::Away("connection is gone".into())
}

#[async_trait]
impl Transport for Memory {
    async fn publisher(&self) -> Result<Box<dyn Publisher>, TransportError> {
        let line = self.reachable()?.connect(self.name.clone(), None, 0);
        Ok(Box::new(MemoryPublisher::new(self.clone(), line)))
    }

    async fn subscribe(
        &self,
        topology: &Topology,
        prefetch: u16,
    ) -> Result<Box<dyn Subscription>, TransportError> {
        // As on other brokers, 0 is no bound.
        let prefetch = if prefetch == 0 { usize::MAX } else { prefetch.into() };
        self.open(topology, topology.work_queue(), prefetch)
    }

    async fn parked(&self, topology: &Topology) -> Result<Box<dyn Subscription>, TransportError> {
        self.open(topology, topology.dead_letter_queue(), PARKED_PREFETCH)
    }

    async fn provision(&self, topology: &Topology) -> Result<Vec<String>, TransportError> {
        let mut state = self.reachable()?;
        let needed = needed(topology);
        let differences: Vec<String> = needed
            .iter()
            .filter(|(name, new)| state.queues.get(name).is_some_and(|old| !old.is_like(new)))
            .map(|(name, _)| format!("queue {name} exists with other properties"))
            .collect();
        if !differences.is_empty() {
            let all = differences.join("; ");
            return Err(TransportError::Topology(format!("{all}; nothing was changed")));
        }
        let mut made = Vec::new();
        for (name, new) in needed {
            let old = state.queues.entry(name.clone()).or_insert_with(|| {
                made.push(format!("queue {name}"));
                new.without_bindings()
            });
            for key in new.bindings {
                if old.bindings.insert(key.clone()) {
                    made.push(format!("binding {} -{key}-> {name}", crate::topology::EVENTS));
                }
            }
        }
        state.wake();
        Ok(made)
    }
}
