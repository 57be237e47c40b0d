//! A process that is stepped by hand.

use std::any::Any;
use std::collections::BTreeMap;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use futures_util::FutureExt;
use tokio_util::sync::CancellationToken;

use crate::crash::{self, Plan, Point};
use crate::messaging::Messaging;
use crate::pool::Pool;
use crate::step::{Progress, Signal, Step};
use crate::transport::memory::Memory;

/// A request, being answered. A request that fails is asked again.
pub type Answering = Pin<Box<dyn Future<Output = anyhow::Result<()>>>>;
/// How likely a step is that has something to do, and one that only has a look.
pub(super) const WORK: usize = 12;
pub(super) const A_LOOK: usize = 1;

type Handle = Rc<dyn Fn(u32) -> Answering>;

/// What one process is made of: the kit, steps of its own, and what it is asked from outside.
pub struct Process {
    pub(super) kit: Messaging,
    pub(super) slots: Vec<Slot>,
    pub(super) requests: BTreeMap<&'static str, Handle>,
}

impl Process {
    /// A process with the kit's relay, consumer, parker and replayer. `kit` is made with the clock and the broker
    /// of its [`Seat`](super::Seat).
    pub fn new(kit: Messaging) -> Self {
        let (stop, topology) = (CancellationToken::new(), kit.topology().clone());
        let written = Some(kit.pool().outbox_written().clone());
        let mut slots = vec![Slot::new("relay", None, written, kit.relay())];
        if !topology.bindings.is_empty() {
            let (work, dead) = (topology.work_queue(), topology.dead_letter_queue());
            slots.push(Slot::new("consumer", Some(work), None, kit.consumer(stop.clone())));
            slots.push(Slot::new("parker", Some(dead), None, kit.parker(stop)));
            let asked = Some(kit.pool().replays().clone());
            slots.push(Slot::new("replayer", None, asked, kit.replayer()));
        }
        slots.iter_mut().for_each(|slot| slot.polls = slot.queue.is_none());
        Self { kit, slots, requests: BTreeMap::new() }
    }

    /// With another background task, woken by `signal`. [`Errands`](crate::errand::Errands) are to be
    /// [in turn](crate::errand::Errands::in_turn).
    #[must_use]
    pub fn step(
        mut self,
        name: &'static str,
        signal: Option<Signal>,
        work: impl Step + 'static,
    ) -> Self {
        self.slots.push(Slot::new(name, None, signal, work));
        self
    }

    /// With an answer to requests called `name`. Each has a number and comes with it again until it was
    /// answered: a process may die after it has done what was asked for.
    #[must_use]
    pub fn request<F>(mut self, name: &'static str, answer: impl Fn(u32) -> F + 'static) -> Self
    where
        F: Future<Output = anyhow::Result<()>> + 'static,
    {
        self.requests.insert(name, Rc::new(move |number| Box::pin(answer(number))));
        self
    }

    pub(super) fn pool(&self) -> &Pool {
        self.kit.pool()
    }
}

/// A background task of a process.
pub(super) struct Slot {
    pub(super) name: &'static str,
    /// What it consumes.
    queue: Option<String>,
    signal: Option<Signal>,
    pub(super) state: State,
    /// When it wants to be stepped without any other reason.
    due: Duration,
    /// Whether it only looks then whether it was not told of something.
    polls: bool,
    /// Whether there is something to do, as far as is known.
    urgent: bool,
}

pub(super) enum State {
    Rests(Box<dyn AnyStep>),
    /// The broker holds a call of it.
    Held(Stepping, Option<u64>),
    /// It is being stepped, or died so.
    Gone,
}

pub(super) type Stepping = Pin<Box<dyn Future<Output = (Box<dyn AnyStep>, Progress)>>>;

/// A [`Step`] that can be kept, and a step of it that owns it.
pub(super) trait AnyStep {
    fn begin(self: Box<Self>) -> Stepping;
    fn close(self: Box<Self>) -> Pin<Box<dyn Future<Output = ()>>>;
}

impl<S: Step + 'static> AnyStep for S {
    fn begin(mut self: Box<Self>) -> Stepping {
        Box::pin(async move {
            let progress = (*self).step().await;
            (self as Box<dyn AnyStep>, progress)
        })
    }

    fn close(mut self: Box<Self>) -> Pin<Box<dyn Future<Output = ()>>> {
        Box::pin(async move { (*self).close().await })
    }
}

impl Slot {
    fn new(
        name: &'static str,
        queue: Option<String>,
        signal: Option<Signal>,
        work: impl Step + 'static,
    ) -> Self {
        let (state, due) = (State::Rests(Box::new(work) as Box<dyn AnyStep>), Duration::ZERO);
        Self { name, queue, signal, state, due, polls: false, urgent: true }
    }

    pub(super) fn is_held(&self) -> bool {
        matches!(self.state, State::Held(..))
    }

    /// How much reason there is to step it: its time has come, or somebody told it so. None for 0.
    pub(super) fn reason(&mut self, now: Duration, broker: &Memory) -> usize {
        if !matches!(self.state, State::Rests(_)) {
            return 0;
        }
        if self.signal.as_ref().is_some_and(|signal| signal.wait().now_or_never().is_some()) {
            (self.due, self.urgent) = (now, true);
        }
        let something = |queue: &String| broker.ready(queue) + broker.unsettled(queue) > 0;
        // A consumer is never idle on its own account: it waits for its queue.
        let waits = self.due == Duration::MAX;
        match self.due <= now || waits && self.queue.as_ref().is_some_and(something) {
            false => 0,
            true if self.polls && !self.urgent => A_LOOK,
            true => WORK,
        }
    }

    /// When it is due next by itself, if ever; without `polls` only where that may be for work.
    pub(super) fn wakes_at(&self, polls: bool) -> Option<Duration> {
        let rests = matches!(self.state, State::Rests(_)) && (polls || !self.polls);
        (rests && self.due < Duration::MAX).then_some(self.due)
    }

    /// What a step of it says of the next.
    pub(super) fn note(&mut self, progress: Progress, now: Duration) {
        (self.due, self.urgent) = match progress {
            Progress::Idle(pause) => (now + pause, false),
            Progress::More if self.queue.is_some() => (Duration::MAX, true),
            Progress::More => (now, true),
        };
    }
}

/// How far a future got.
pub(super) enum Polled<T> {
    Done(T),
    /// The broker holds a call of it, by this number if it is not for an alarm.
    Held(Option<u64>),
    Died(Point),
    Panicked(String),
}

/// Drives a future as a process that `plan` is for, until it can go no further by itself.
pub(super) async fn drive<T>(
    work: &mut Pin<Box<dyn Future<Output = T>>>,
    plan: &mut Plan,
    broker: &Memory,
) -> Polled<T> {
    std::future::poll_fn(|context| {
        broker.forget_waits();
        let polled = AssertUnwindSafe(|| crash::within(plan, || work.as_mut().poll(context)));
        let polled = catch_unwind(polled);
        if let Some(point) = plan.died {
            return Poll::Ready(Polled::Died(point));
        }
        match polled {
            Ok(Poll::Ready(done)) => Poll::Ready(Polled::Done(done)),
            Ok(Poll::Pending) => match broker.waited() {
                Some(held) => Poll::Ready(Polled::Held(held)),
                None => Poll::Pending,
            },
            Err(panic) => Poll::Ready(Polled::Panicked(words(&*panic))),
        }
    })
    .await
}

fn words(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref().cloned()).unwrap_or_else(|| "no message".into())
}
