//! What goes wrong, at the moment that a test or a simulation wants.
//!
//! All of it is undone by its opposite; [`Memory::heal`] undoes everything.

use chrono::TimeDelta;

use super::Memory;
use super::queue::{Kind, Queue, Stored};

/// The confirms of a batch that do not come.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lost {
    /// So many messages of the batch are taken over before the connection breaks.
    pub(super) stored: usize,
}

/// A moment within a call at which it can be held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// Before a batch is taken over.
    BeforePublish,
    /// After a batch was taken over, before its confirms.
    BeforeConfirm,
    /// Before a settlement.
    BeforeSettle,
}

impl Memory {
    /// The next batch that is published ends in a connection that breaks before any confirm. The first
    /// `stored` messages of it are taken over all the same.
    pub fn lose_confirms(&self, stored: usize) {
        self.state().lost.push_back(Lost { stored });
    }

    /// The confirms of the next so many copies of failed messages are lost; the copies are taken over.
    pub fn lose_copy_confirms(&self, copies: u32) {
        self.state().lost_copies = copies;
    }

    /// Breaks all connections of `owner`, or of everybody. What was not settled goes back. Returns how
    /// many there were.
    pub fn cut(&self, owner: Option<&str>) -> usize {
        let mut state = self.state();
        let whose = |of: &str| owner.is_none_or(|owner| owner == of);
        let ours = state.lines.iter().filter(|(_, line)| whose(&line.owner));
        let lines: Vec<u64> = ours.map(|(line, _)| *line).collect();
        lines.iter().filter(|line| state.cut(**line, true)).count()
    }

    /// Whether the broker holds publishers back, as under an alarm.
    pub fn block(&self, yes: bool) {
        let mut state = self.state();
        state.blocked = yes;
        state.wake();
    }

    /// Whether the broker is away: nobody connects, and all connections are broken.
    pub fn set_away(&self, yes: bool) {
        self.state().away = yes;
        if yes {
            self.cut(None);
        }
    }

    /// Deletes a queue under its consumers, with all that is in it.
    pub fn delete_queue(&self, queue: &str) -> bool {
        let mut state = self.state();
        let deleted = state.queues.remove(queue).is_some();
        state.wake();
        deleted
    }

    /// Makes a queue of this name with properties that no service asks for.
    pub fn make_foreign_queue(&self, queue: &str) {
        self.state().queues.insert(queue.to_owned(), Queue::new(Kind::Foreign, []));
    }

    /// The most that may wait in a queue; none takes the limit away. False without such a queue.
    pub fn limit(&self, queue: &str, most: Option<usize>) -> bool {
        self.with(queue, |queue| queue.limit = most)
    }

    /// Takes a binding of a queue away. False where there was none.
    pub fn unbind(&self, queue: &str, short_type: &str) -> bool {
        let mut gone = false;
        self.with(queue, |queue| gone = queue.bindings.remove(short_type));
        gone
    }

    /// Binds a queue to a short type, or to all by `#`.
    pub fn bind(&self, queue: &str, short_type: &str) -> bool {
        self.with(queue, |queue| {
            queue.bindings.insert(short_type.to_owned());
        })
    }

    /// The `n`th waiting message will come once more, last of all. False when there is none.
    pub fn duplicate(&self, queue: &str, n: usize) -> bool {
        let content = self.peek(queue, n).map(|stored| stored.content);
        content.is_some_and(|content| self.state().enqueue(queue, &content))
    }

    /// The `n`th waiting message changes places with the `m`th.
    pub fn swap(&self, queue: &str, n: usize, m: usize) -> bool {
        self.change(queue, n.max(m), |queue| {
            let places = (queue.ready[n].place, queue.ready[m].place);
            queue.ready.swap(n, m);
            (queue.ready[n].place, queue.ready[m].place) = places;
        })
    }

    /// The `n`th waiting message comes later by so much, behind all that is there then.
    pub fn delay(&self, queue: &str, n: usize, by: TimeDelta) -> bool {
        let due = self.broker.clock.now() + by;
        self.change(queue, n, |queue| {
            if let Some(stored) = queue.ready.remove(n) {
                queue.resting.insert((due, stored.place), stored);
            }
        })
    }

    /// Ends all faults that go on.
    pub fn heal(&self) {
        let mut state = self.state();
        (state.away, state.blocked, state.hold_next) = (false, false, None);
        (state.lost_copies, state.lost) = (0, Default::default());
        state.held.clear();
        state.queues.values_mut().for_each(|queue| queue.limit = None);
        state.wake();
    }

    /// The next call that comes to this moment waits there until it is [released](Self::release), or its
    /// connection is broken.
    pub fn hold_next(&self, at: Moment) {
        self.state().hold_next = Some(at);
    }

    /// Lets the call go on that was held last, and says whether there was one.
    pub fn release(&self) -> bool {
        let last = self.state().last_held;
        last.is_some_and(|held| self.release_held(held))
    }

    /// Forgets who waited so far.
    #[cfg(feature = "simulation")]
    pub(crate) fn forget_waits(&self) {
        self.state().waited = None;
    }

    /// Whether somebody had to wait since, and by which number if he is held.
    #[cfg(feature = "simulation")]
    pub(crate) fn waited(&self) -> Option<Option<u64>> {
        self.state().waited
    }

    /// Nobody is to be held any more.
    #[cfg(feature = "simulation")]
    pub(crate) fn hold_nobody(&self) {
        self.state().hold_next = None;
    }

    /// What happened since this was last asked.
    #[cfg(feature = "simulation")]
    pub(crate) fn take_notes(&self) -> Vec<String> {
        std::mem::take(&mut self.state().notes)
    }

    /// Of each queue that has some, its bindings.
    #[cfg(feature = "simulation")]
    pub(crate) fn routes(&self) -> Vec<(String, String)> {
        let state = self.state();
        let of = |(name, queue): (&String, &Queue)| {
            queue.bindings.iter().map(|key| (name.clone(), key.clone())).collect::<Vec<_>>()
        };
        state.queues.iter().flat_map(of).collect()
    }

    pub(crate) fn release_held(&self, held: u64) -> bool {
        let mut state = self.state();
        let released = state.held.remove(&held);
        state.wake();
        released
    }

    /// Nobody waits for a delivery any more: [`next`](crate::transport::Subscription::next) gives
    /// nothing where there is nothing. For whoever makes all steps himself.
    #[must_use]
    pub fn stepping(self) -> Self {
        self.state().stepping = true;
        self
    }

    fn with(&self, queue: &str, change: impl FnOnce(&mut Queue)) -> bool {
        let mut state = self.present();
        let found = state.queues.get_mut(queue).map(change).is_some();
        state.wake();
        found
    }

    /// Changes a queue in which more than `n` messages wait.
    fn change(&self, queue: &str, n: usize, change: impl FnOnce(&mut Queue)) -> bool {
        let mut changed = false;
        self.with(queue, |queue| {
            if n < queue.ready.len() {
                change(queue);
                changed = true;
            }
        });
        changed
    }

    fn peek(&self, queue: &str, n: usize) -> Option<Stored> {
        self.present().queues.get(queue)?.ready.get(n).cloned()
    }
}
