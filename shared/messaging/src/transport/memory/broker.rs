//! What the broker knows, and what happens to it in one go.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::task::Waker;

use chrono::{DateTime, Utc};

use super::faults::{Lost, Moment};
use super::queue::{Queue, Stored};
use super::{Accepted, Content};
use crate::transport::{Delivery, Properties, TransportError, wire};

/// A connection.
pub(super) struct Line {
    pub(super) owner: Arc<str>,
    /// What it consumes.
    pub(super) queue: Option<String>,
    prefetch: usize,
    /// Nothing is pushed to it.
    paused: bool,
    /// What was pushed to it, by tag.
    pub(super) unsettled: BTreeMap<u64, Stored>,
    /// The last tag that its owner has seen.
    seen: u64,
}

#[derive(Default)]
pub(super) struct State {
    pub(super) queues: BTreeMap<String, Queue>,
    pub(super) lines: BTreeMap<u64, Line>,
    pub(super) accepted: Vec<Accepted>,
    pub(super) away: bool,
    pub(super) blocked: bool,
    pub(super) stepping: bool,
    pub(super) lost: VecDeque<Lost>,
    pub(super) lost_copies: u32,
    /// The next call that comes to this moment is held.
    pub(super) hold_next: Option<Moment>,
    pub(super) held: BTreeSet<u64>,
    /// The last one that was held.
    pub(super) last_held: Option<u64>,
    /// Whether somebody had to wait since it was last asked, and by which number if he is held.
    pub(super) waited: Option<Option<u64>>,
    /// What happened since it was last asked, where somebody makes all steps himself.
    pub(super) notes: Vec<String>,
    /// The time of the last look.
    now: DateTime<Utc>,
    numbers: u64,
    wakers: Vec<Waker>,
}

impl State {
    /// A number that nothing else has: connections, places, tags.
    pub(super) fn number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }

    pub(super) fn note(&mut self, what: String) {
        if self.stepping {
            self.notes.push(what);
        }
    }

    pub(super) fn wait(&mut self, waker: &Waker) {
        self.waited.get_or_insert(None);
        self.wakers.push(waker.clone());
    }

    pub(super) fn wake(&mut self) {
        self.wakers.drain(..).for_each(Waker::wake);
    }

    pub(super) fn connect(&mut self, owner: Arc<str>, queue: Option<&str>, prefetch: usize) -> u64 {
        let (queue, unsettled) = (queue.map(str::to_owned), BTreeMap::new());
        let line = self.number();
        self.lines.insert(line, Line { owner, queue, prefetch, paused: false, unsettled, seen: 0 });
        line
    }

    pub(super) fn of_queue(&self, queue: &str) -> impl Iterator<Item = &Line> {
        self.lines.values().filter(move |line| line.queue.as_deref() == Some(queue))
    }

    pub(super) fn next_due(&self) -> Option<DateTime<Utc>> {
        let first = |queue: &Queue| queue.resting.keys().next().map(|(due, _)| *due);
        self.queues.values().filter_map(first).min()
    }

    /// Moves on what has rested for long enough. What has nowhere to go rests on.
    pub(super) fn promote(&mut self, now: DateTime<Utc>) {
        self.now = now;
        let due = |(name, queue): (&String, &Queue)| {
            let (due, _) = queue.resting.keys().next()?;
            (*due <= now).then(|| name.clone())
        };
        let names: Vec<String> = self.queues.iter().filter_map(due).collect();
        for name in names {
            let Some((rested, to)) = self.queues.get_mut(&name).map(|one| one.rested(now)) else {
                continue;
            };
            let to = to.filter(|to| self.queues.contains_key(to)).unwrap_or(name);
            for mut stored in rested {
                stored.place = self.number();
                if let Some(queue) = self.queues.get_mut(&to) {
                    queue.take(stored, now);
                }
            }
        }
    }

    /// Puts a new message into a queue; false when there is none.
    pub(super) fn enqueue(&mut self, queue: &str, content: &Arc<Content>) -> bool {
        let (place, now) = (self.number(), self.now);
        let Some(queue) = self.queues.get_mut(queue) else { return false };
        let content = content.clone();
        queue.take(Stored { place, content, redelivered: false, failed: 0 }, now);
        true
    }

    /// Takes an event over: whether nobody wants it, and whether somebody who does has no room.
    pub(super) fn take(&mut self, short_type: &str, content: Content) -> (bool, bool) {
        let wants = |(_, queue): &(&String, &Queue)| queue.wants(short_type);
        let to: Vec<(String, bool)> = self
            .queues
            .iter()
            .filter(wants)
            .map(|(name, queue)| (name.clone(), queue.is_full()))
            .collect();
        let content = Arc::new(content);
        for (queue, _) in to.iter().filter(|(_, full)| !full) {
            self.enqueue(queue, &content);
        }
        let refused = to.iter().any(|(_, full)| *full);
        if !to.is_empty() && !refused {
            self.accepted.push(Accepted { short_type: short_type.to_owned(), content });
        }
        (to.is_empty(), refused)
    }

    /// Takes a message into one queue: whether that is missing, and whether it is full.
    pub(super) fn take_into(&mut self, queue: &str, content: Content) -> (bool, bool) {
        match self.queues.get(queue).map(Queue::is_full) {
            None => (true, false),
            Some(true) => (false, true),
            Some(false) => (!self.enqueue(queue, &Arc::new(content)), false),
        }
    }

    /// Pushes to a connection what it may have, and shows its owner up to `max` of it. Nothing where
    /// there is nothing.
    pub(super) fn deliver(
        &mut self,
        line: u64,
        max: usize,
        namespace: &str,
    ) -> Result<Vec<Delivery>, TransportError> {
        let Some(one) = self.lines.get_mut(&line) else { return Err(super::gone()) };
        let Some(queue) = one.queue.as_ref().and_then(|name| self.queues.get_mut(name)) else {
            let why = format!("consumer of {} was cancelled", one.queue.as_deref().unwrap_or(""));
            return Err(TransportError::Away(why));
        };
        while !one.paused
            && one.unsettled.len() < one.prefetch
            && let Some(stored) = queue.ready.pop_front()
        {
            self.numbers += 1;
            one.unsettled.insert(self.numbers, stored);
        }
        let chunk: Vec<Delivery> = one
            .unsettled
            .range(one.seen + 1..)
            .take(max)
            .map(|(tag, stored)| delivery(*tag, stored, namespace))
            .collect();
        one.seen = chunk.last().map_or(one.seen, |last| last.tag);
        Ok(chunk)
    }

    /// Forgets a delivery. One that is settled already is let pass.
    pub(super) fn ack(&mut self, line: u64, tag: u64) -> Result<(), TransportError> {
        let one = self.lines.get_mut(&line).ok_or_else(super::gone)?;
        one.unsettled.remove(&tag);
        Ok(())
    }

    /// Ends a connection; what it had goes back to where it was. `broken` says that it was not closed
    /// in order, and counts as a failed delivery.
    pub(super) fn cut(&mut self, line: u64, broken: bool) -> bool {
        let Some(ended) = self.lines.remove(&line) else { return false };
        if let Some(name) = ended.queue {
            for stored in ended.unsettled.into_values() {
                self.give_back(&name, stored, broken);
            }
        }
        self.wake();
        true
    }

    /// Pushes nothing more to a connection, and takes back what it has but for `kept`.
    pub(super) fn pause(&mut self, line: u64, kept: &[u64]) -> Result<(), TransportError> {
        let one = self.lines.get_mut(&line).ok_or_else(super::gone)?;
        one.paused = true;
        let (kept, back): (BTreeMap<u64, Stored>, BTreeMap<u64, Stored>) =
            std::mem::take(&mut one.unsettled).into_iter().partition(|(tag, _)| kept.contains(tag));
        one.unsettled = kept;
        if let Some(queue) = one.queue.clone() {
            back.into_values().for_each(|stored| self.give_back(&queue, stored, false));
        }
        self.wake();
        Ok(())
    }

    pub(super) fn resume(&mut self, line: u64) -> Result<(), TransportError> {
        let one = self.lines.get_mut(&line).ok_or_else(super::gone)?;
        one.paused = false;
        self.wake();
        Ok(())
    }

    fn give_back(&mut self, name: &str, mut stored: Stored, broken: bool) {
        stored.redelivered = true;
        stored.failed += u32::from(broken);
        let Some(queue) = self.queues.get_mut(name) else { return };
        match queue.gives_up(&stored).map(str::to_owned) {
            None => queue.take_back(stored),
            Some(dead_letters) => {
                let mut content = Content::clone(&stored.content);
                let told = [("reason", "delivery_limit"), ("queue", name)];
                for (what, text) in told {
                    content.headers.insert(format!("x-first-death-{what}"), text.to_owned());
                }
                self.enqueue(&dead_letters, &Arc::new(content));
            }
        }
    }
}

/// A message as its consumer sees it.
fn delivery(tag: u64, stored: &Stored, namespace: &str) -> Delivery {
    let Content { properties, headers, body } = &*stored.content;
    let (attempts, first_failed_at) = wire::failed_before(headers, namespace);
    let Properties { content_type, message_id, type_name, correlation_id, app_id, timestamp } =
        properties.clone();
    Delivery {
        tag,
        body: body.clone(),
        content_type,
        message_id,
        type_name,
        correlation_id,
        app_id,
        timestamp,
        // Nobody logs in here.
        user_id: None,
        headers: headers.clone(),
        attempts,
        first_failed_at,
        redelivered: stored.redelivered,
    }
}
