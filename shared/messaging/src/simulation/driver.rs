//! Takes one step at a time, as the seed says.

use std::time::Duration;

use super::database::{Registry, rolled_back};
use super::faults::Faults;
use super::process::{Polled, State, drive};
use super::world::World;
use crate::step::Progress;
use crate::transport::memory::faults::Moment;

/// What can be done next.
#[derive(Debug, Clone, Copy)]
enum Move {
    Step(usize, usize),
    /// A held call goes on.
    Resume(usize, usize),
    Request,
    Start(usize),
    Fault,
    Pass,
}

/// A process dies in so many of its steps.
const DIES: usize = 7;
/// A call to the broker is held in so many steps.
const IS_HELD: usize = 12;
/// After so many moves it is looked whether there is anything left to do.
const LOOK_EVERY: usize = 16;
/// The longest time that passes at once.
pub(super) const LONGEST: Duration = Duration::from_secs(20);

/// Drives one world.
pub(super) struct Driver<'a> {
    pub(super) world: World,
    pub(super) registry: &'a mut Registry,
    pub(super) faults: Faults,
    pub(super) moves: usize,
}

impl Driver<'_> {
    /// Makes the moves of the seed, with faults.
    pub(super) async fn run(&mut self) -> anyhow::Result<()> {
        for member in 0..self.world.members.len() {
            self.start(member).await?;
        }
        for n in 0..self.moves {
            // What is at rest stays so, and what goes wrong then goes wrong with nothing.
            if n % LOOK_EVERY == 0 && self.is_idle().await? {
                break;
            }
            let Some(chosen) = self.choose() else { break };
            match chosen {
                Move::Step(member, slot) => {
                    let alive = self.world.members[member].alive.is_some();
                    self.trap(member, alive);
                    self.step(member, slot).await?;
                    self.world.broker.hold_nobody();
                }
                Move::Resume(member, slot) => self.step(member, slot).await?,
                Move::Request => drop(self.request(true).await?),
                Move::Start(member) => self.start(member).await?,
                Move::Fault => self.fault().await?,
                Move::Pass => self.pass(),
            }
        }
        Ok(())
    }

    fn choose(&mut self) -> Option<Move> {
        let mut moves: Vec<(Move, usize)> = Vec::new();
        let (now, broker) = (self.world.now(), self.world.broker.clone());
        for (at, member) in self.world.members.iter_mut().enumerate() {
            let Some(alive) = member.alive.as_mut() else {
                moves.push((Move::Start(at), 6));
                continue;
            };
            if member.stopped_until > now {
                continue;
            }
            for (n, slot) in alive.slots().iter_mut().enumerate() {
                if slot.is_held() {
                    moves.push((Move::Resume(at, n), 3));
                } else {
                    moves.push((Move::Step(at, n), slot.reason(now, &broker)));
                }
            }
        }
        if !self.world.asked.is_empty() {
            moves.push((Move::Request, 8));
        }
        moves.push((Move::Fault, self.faults.weight));
        moves.push((Move::Pass, 4));
        let mut drawn = self.world.draws.below(moves.iter().map(|(_, weight)| weight).sum());
        moves.into_iter().find_map(|(one, weight)| {
            let hit = drawn < weight;
            drawn = drawn.wrapping_sub(weight);
            hit.then_some(one)
        })
    }

    /// Sees to it that some steps do not end well.
    fn trap(&mut self, member: usize, alive: bool) {
        let draws = &mut self.world.draws;
        if self.faults.weight == 0 || !alive {
            return;
        }
        let far = if draws.one_in(2) { 8 } else { 30 };
        let dies_after = draws.one_in(DIES).then(|| draws.below(far) as u32);
        if draws.one_in(IS_HELD) {
            let moments = [Moment::BeforePublish, Moment::BeforeConfirm, Moment::BeforeSettle];
            self.world.broker.hold_next(moments[draws.below(moments.len())]);
        }
        if let Some(alive) = self.world.members[member].alive.as_mut() {
            alive.plan.dies_after = dies_after;
        }
    }

    /// Steps a background task, or lets it go on that was held.
    pub(super) async fn step(&mut self, member: usize, slot: usize) -> anyhow::Result<()> {
        let (now, broker) = (self.world.now(), self.world.broker.clone());
        let one = &mut self.world.members[member];
        let Some(alive) = one.alive.as_mut() else { return Ok(()) };
        self.registry.tell_time(alive.process.pool()).await?;
        let taken = &mut alive.process.slots[slot];
        let what = format!("{} {}", one.name, taken.name);
        let mut work = match std::mem::replace(&mut taken.state, State::Gone) {
            State::Rests(step) => step.begin(),
            State::Held(work, held) => {
                held.map(|held| broker.release_held(held));
                work
            }
            State::Gone => anyhow::bail!("{what} is gone"),
        };
        let polled = drive(&mut work, &mut alive.plan, &broker).await;
        alive.plan.dies_after = None;
        let taken = &mut alive.process.slots[slot];
        let outcome = match polled {
            Polled::Done((step, progress)) => {
                taken.state = State::Rests(step);
                taken.note(progress, now);
                self.world.note(what, outcome_of(progress));
                return self.wake_replicas(member);
            }
            Polled::Held(held) => {
                taken.state = State::Held(work, held);
                if held.is_some() {
                    self.world.count("call held");
                }
                "held"
            }
            Polled::Died(point) => {
                // First the step itself, with the transaction that it was in.
                drop(work);
                return self.died(member, what, point.name()).await;
            }
            Polled::Panicked(why) => anyhow::bail!("{what} panicked: {why}"),
        };
        self.world.note(what, outcome);
        Ok(())
    }

    /// Answers a request that waits, if its process lives. False when it waits on.
    pub(super) async fn request(&mut self, with_faults: bool) -> anyhow::Result<bool> {
        let chosen = self.world.draws.below(self.world.asked.len());
        let asked = self.world.asked[chosen];
        if with_faults {
            let alive = self.world.members[asked.of].alive.is_some();
            self.trap(asked.of, alive);
            self.world.broker.hold_nobody();
        }
        let broker = self.world.broker.clone();
        let member = &mut self.world.members[asked.of];
        let what = format!("{} asked to {} {}", member.name, asked.name, asked.number);
        let Some(alive) = member.alive.as_mut() else {
            self.world.note(what, "nobody is there");
            return Ok(false);
        };
        self.registry.tell_time(alive.process.pool()).await?;
        let Some(answer) = alive.process.requests.get(asked.name) else {
            anyhow::bail!("{what}: nobody knows how");
        };
        let mut answering = answer(asked.number);
        let polled = drive(&mut answering, &mut alive.plan, &broker).await;
        alive.plan.dies_after = None;
        match polled {
            Polled::Done(Ok(())) => {
                self.world.asked.remove(chosen);
                self.world.note(what, "answered");
                self.wake_replicas(asked.of)?;
                Ok(true)
            }
            Polled::Done(Err(error)) => {
                self.world.note(what, format!("failed: {error:#}"));
                Ok(false)
            }
            Polled::Held(_) => anyhow::bail!("{what} waits for the broker"),
            Polled::Died(point) => {
                drop(answering);
                self.died(asked.of, what, point.name()).await?;
                Ok(false)
            }
            Polled::Panicked(why) => anyhow::bail!("{what} panicked: {why}"),
        }
    }

    async fn died(&mut self, member: usize, what: String, at: String) -> anyhow::Result<()> {
        self.world.count(format!("died at {at}"));
        self.kill(member).await?;
        self.world.note(what, format!("died at {at}"));
        Ok(())
    }

    /// Ends a process where it stands: nothing is handed back.
    pub(super) async fn kill(&mut self, member: usize) -> anyhow::Result<()> {
        let Some(alive) = self.world.members[member].alive.take() else { return Ok(()) };
        let pool = alive.process.pool().clone();
        drop(alive);
        self.world.broker.cut(Some(self.world.members[member].name));
        rolled_back(pool.pg()).await?;
        self.registry.hide(&pool).await?;
        Ok(())
    }

    /// Ends a process in order, as for a new release.
    pub(super) async fn stop(&mut self, member: usize) -> anyhow::Result<()> {
        let Some(mut alive) = self.world.members[member].alive.take() else { return Ok(()) };
        let (pool, broker) = (alive.process.pool().clone(), self.world.broker.clone());
        for slot in alive.process.slots.drain(..).rev() {
            // One that is held has waited for long enough.
            if let State::Rests(step) = slot.state
                && let Polled::Panicked(why) =
                    drive(&mut step.close(), &mut alive.plan, &broker).await
            {
                anyhow::bail!("{} panicked: {why}", slot.name);
            }
        }
        drop(alive);
        self.world.broker.cut(Some(self.world.members[member].name));
        rolled_back(pool.pg()).await?;
        self.registry.hide(&pool).await?;
        for alive in self.world.members.iter().filter_map(|other| other.alive.as_ref()) {
            if alive.process.pool().identity() == pool.identity() {
                alive.process.pool().leases_changed();
            }
        }
        Ok(())
    }

    pub(super) async fn start(&mut self, member: usize) -> anyhow::Result<()> {
        let name = self.world.members[member].name;
        let alive = self.world.build(member);
        self.registry.show(alive.process.pool()).await?;
        if let Err(away) = alive.process.kit.provision().await {
            // It is tried again, as a supervisor would.
            self.registry.hide(alive.process.pool()).await?;
            self.world.note(format!("{name} starts"), away.to_string());
            return Ok(());
        }
        self.restore_routes();
        self.world.members[member].alive = Some(alive);
        self.world.note(name, "started");
        Ok(())
    }

    /// What one process tells the other relays of its service.
    fn wake_replicas(&mut self, member: usize) -> anyhow::Result<()> {
        use futures_util::FutureExt as _;
        let pool_of = |at: usize| {
            self.world.members[at].alive.as_ref().map(|alive| alive.process.pool().clone())
        };
        let Some(pool) = pool_of(member) else { return Ok(()) };
        if pool.wake_others().wait().now_or_never().is_none() {
            return Ok(());
        }
        for other in (0..self.world.members.len()).filter(|other| *other != member) {
            if let Some(replica) = pool_of(other).filter(|one| one.identity() == pool.identity()) {
                replica.set_some_wait(true);
                replica.outbox_written().notify();
            }
        }
        Ok(())
    }

    /// Lets time pass: up to the next thing that is due, or any time.
    fn pass(&mut self) {
        let drawn = LONGEST.mul_f64(self.world.draws.unit());
        let by = match self.next_due(true) {
            Some(due) if self.world.draws.one_in(2) => due.min(LONGEST),
            _ => drawn,
        };
        self.let_pass(by);
    }

    pub(super) fn let_pass(&mut self, by: Duration) {
        // What a database cannot store, nothing may be decided by.
        let by = Duration::from_micros(by.as_micros() as u64).max(Duration::from_millis(1));
        self.world.time.pass(by);
        self.world.broker.tick();
        self.world.note("time", format!("{by:?} later"));
    }

    /// How long until something is due that is not due now; `polls` as of [`Slot::wakes_at`].
    ///
    /// [`Slot::wakes_at`]: super::process::Slot::wakes_at
    pub(super) fn next_due(&self, polls: bool) -> Option<Duration> {
        let now = self.world.now();
        let clock = self.world.time.clock();
        let alive = self.world.members.iter().filter_map(|member| member.alive.as_ref());
        let slots = alive.flat_map(|alive| alive.process.slots.iter());
        let steps = slots.filter_map(|slot| slot.wakes_at(polls)).filter(|due| *due > now);
        let steps = steps.map(|due| due - now).min();
        let rests = self.world.broker.next_due().map(|due| due - clock.now());
        let rests = rests.map(|left| left.to_std().unwrap_or_default());
        steps.into_iter().chain(rests).min()
    }
}

fn outcome_of(progress: Progress) -> String {
    match progress {
        Progress::More => "more".to_owned(),
        Progress::Idle(pause) => format!("idle for {pause:?}"),
    }
}
