//! Queues: what waits, what rests, and where it goes.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use super::Content;
use crate::topology::Topology;

/// Failed deliveries after which the broker gives a message up: a crash backstop, as on other brokers.
const DELIVERY_LIMIT: u32 = 20;

/// A message in a queue.
#[derive(Debug, Clone)]
pub(super) struct Stored {
    /// Its place among all others; lower comes first.
    pub(super) place: u64,
    pub(super) content: Arc<Content>,
    pub(super) redelivered: bool,
    /// How often a connection broke off that had it.
    pub(super) failed: u32,
}

/// What becomes of the messages of a queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    /// They wait for a subscriber; after the delivery limit they go to this queue.
    Work { dead_letters: String },
    /// They wait for a subscriber, as long as it takes.
    Dead,
    /// They rest for so long and go on to this queue.
    Rung { delay: Duration, to: String },
    /// Nothing that we would make.
    Foreign,
}

#[derive(Debug, Clone)]
pub(super) struct Queue {
    pub(super) kind: Kind,
    /// Short types, or `#`.
    pub(super) bindings: BTreeSet<String>,
    /// Most that may wait.
    pub(super) limit: Option<usize>,
    pub(super) ready: VecDeque<Stored>,
    /// By when they are due, and their place.
    pub(super) resting: BTreeMap<(DateTime<Utc>, u64), Stored>,
}

impl Queue {
    pub(super) fn new(kind: Kind, bindings: impl IntoIterator<Item = String>) -> Self {
        let bindings = bindings.into_iter().collect();
        Self { kind, bindings, limit: None, ready: VecDeque::new(), resting: BTreeMap::new() }
    }

    pub(super) fn without_bindings(&self) -> Self {
        Self::new(self.kind.clone(), [])
    }

    pub(super) fn is_like(&self, other: &Self) -> bool {
        self.kind == other.kind
    }

    pub(super) fn depth(&self) -> usize {
        self.ready.len() + self.resting.len()
    }

    pub(super) fn is_full(&self) -> bool {
        self.limit.is_some_and(|limit| self.depth() >= limit)
    }

    pub(super) fn wants(&self, short_type: &str) -> bool {
        self.bindings.contains(short_type) || self.bindings.contains("#")
    }

    /// Takes a new message; `now` is when its rest begins, where it rests.
    pub(super) fn take(&mut self, stored: Stored, now: DateTime<Utc>) {
        match self.kind {
            Kind::Rung { delay, .. } => {
                let due = now + TimeDelta::from_std(delay).unwrap_or(TimeDelta::MAX);
                self.resting.insert((due, stored.place), stored);
            }
            _ => self.ready.push_back(stored),
        }
    }

    /// Takes one back that was delivered: in front of all that came after it.
    pub(super) fn take_back(&mut self, stored: Stored) {
        let at = self.ready.partition_point(|other| other.place < stored.place);
        self.ready.insert(at, stored);
    }

    /// Where one goes that was delivered and comes back, if not to its old place.
    pub(super) fn gives_up(&self, stored: &Stored) -> Option<&str> {
        match &self.kind {
            Kind::Work { dead_letters } if stored.failed > DELIVERY_LIMIT => Some(dead_letters),
            _ => None,
        }
    }

    /// Those whose rest is over, in the order in which it ended, and the queue that they go on to; none
    /// for this one.
    pub(super) fn rested(&mut self, now: DateTime<Utc>) -> (Vec<Stored>, Option<String>) {
        let still = self.resting.split_off(&(now + TimeDelta::microseconds(1), 0));
        let over = std::mem::replace(&mut self.resting, still);
        let to = match &self.kind {
            Kind::Rung { to, .. } => Some(to.clone()),
            _ => None,
        };
        (over.into_values().collect(), to)
    }
}

/// The queues that a service needs, dead letters first: nothing may go where there is nothing yet.
pub(super) fn needed(topology: &Topology) -> Vec<(String, Queue)> {
    if topology.bindings.is_empty() {
        return Vec::new();
    }
    let (work, dead_letters) = (topology.work_queue(), topology.dead_letter_queue());
    let bindings = topology.bindings.iter().cloned();
    let mut all = vec![
        (dead_letters.clone(), Queue::new(Kind::Dead, [])),
        (work.clone(), Queue::new(Kind::Work { dead_letters }, bindings)),
    ];
    for rung in topology.rungs() {
        let kind = Kind::Rung { delay: rung.delay, to: work.clone() };
        all.push((topology.retry_queue(*rung), Queue::new(kind, [])));
    }
    all
}
