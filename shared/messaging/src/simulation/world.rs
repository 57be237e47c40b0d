//! All that one seed makes: processes, requests, a broker and a time.

use std::collections::BTreeMap;
use std::fmt;
use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;

use envelope::Clock;

use super::process::{Process, Slot};
use super::time::{Draws, VirtualTime};
use crate::crash::{Bug, Plan};
use crate::transport::memory::Memory;

/// Where a process is put together: its time and its way to the broker.
#[derive(Debug, Clone)]
pub struct Seat {
    /// Time, ids and draws of the simulation.
    pub clock: Clock,
    /// The broker, under the name of the process.
    pub broker: Memory,
}

pub(super) type Rests = Box<dyn Fn() -> Pin<Box<dyn Future<Output = anyhow::Result<bool>>>>>;
type Build = Rc<dyn Fn(&Seat) -> Process>;

/// A process by its name, whether it lives or not.
pub(super) struct Member {
    pub(super) name: &'static str,
    build: Build,
    pub(super) alive: Option<Alive>,
    /// It is not stepped before: somebody has stopped it.
    pub(super) stopped_until: Duration,
}

/// A process that lives.
pub(super) struct Alive {
    pub(super) process: Process,
    pub(super) plan: Plan,
}

impl Alive {
    pub(super) fn slots(&mut self) -> &mut Vec<Slot> {
        &mut self.process.slots
    }
}

/// A request that waits for its answer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked {
    pub(super) of: usize,
    pub(super) name: &'static str,
    pub(super) number: u32,
}

/// What happened at a moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Since the beginning.
    pub at: Duration,
    /// Who did what.
    pub what: String,
    /// What it came to.
    pub outcome: String,
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:>10.3}s  {}: {}", self.at.as_secs_f64(), self.what, self.outcome)
    }
}

/// One seed's processes with all that is around them.
pub struct World {
    pub(super) seed: u64,
    pub(super) time: VirtualTime,
    pub(super) broker: Memory,
    pub(super) draws: Draws,
    pub(super) members: Vec<Member>,
    pub(super) asked: Vec<Asked>,
    pub(super) history: Vec<Entry>,
    pub(super) bug: Option<Bug>,
    pub(super) rests_when: Option<Rests>,
    /// How often each thing happened that not every seed has.
    pub(super) happened: BTreeMap<String, u64>,
}

impl World {
    pub(super) fn new(seed: u64, namespace: &str, bug: Option<Bug>) -> Self {
        let time = VirtualTime::new(seed);
        Self {
            seed,
            broker: Memory::new(time.clock(), namespace).stepping(),
            time,
            draws: Draws::new(seed),
            members: Vec::new(),
            asked: Vec::new(),
            history: Vec::new(),
            bug,
            rests_when: None,
            happened: BTreeMap::new(),
        }
    }

    /// The seed that all of this follows from.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// The time of all processes.
    pub fn time(&self) -> &VirtualTime {
        &self.time
    }

    /// The broker, for a look at what it has taken.
    pub fn broker(&self) -> &Memory {
        &self.broker
    }

    /// Draws of the seed, for what differs between one world and another.
    pub fn draws(&mut self) -> &mut Draws {
        &mut self.draws
    }

    /// What has happened so far.
    pub fn history(&self) -> &[Entry] {
        &self.history
    }

    /// Adds a process. `build` makes it at the beginning, and anew each time that it has died. Processes
    /// of one service share its database.
    pub fn process(&mut self, name: &'static str, build: impl Fn(&Seat) -> Process + 'static) {
        let (build, stopped_until) = (Rc::new(build), Duration::ZERO);
        self.members.push(Member { name, build, alive: None, stopped_until });
    }

    /// Asks a process `times` for what it calls `name`, at any time, each until it is answered. The
    /// requests are numbered from 0.
    ///
    /// # Errors
    /// When there is no such process.
    pub fn requests(
        &mut self,
        process: &str,
        name: &'static str,
        times: u32,
    ) -> anyhow::Result<()> {
        let of = self.members.iter().position(|member| member.name == process);
        let of = of.ok_or_else(|| anyhow::anyhow!("there is no process {process}"))?;
        self.asked.extend((0..times).map(|number| Asked { of, name, number }));
        Ok(())
    }

    /// Goes on after the last fault until `done` says so, too: for work that lies neither in an outbox nor
    /// in a queue, such as errands that are due later.
    pub fn rests_when<F>(&mut self, done: impl Fn() -> F + 'static)
    where
        F: Future<Output = anyhow::Result<bool>> + 'static,
    {
        self.rests_when = Some(Box::new(move || Box::pin(done())));
    }

    pub(super) fn now(&self) -> Duration {
        self.time.passed()
    }

    pub(super) fn build(&self, member: usize) -> Alive {
        let Member { name, build, .. } = &self.members[member];
        let broker = self.broker.named(*name);
        let process = build(&Seat { clock: self.time.clock(), broker });
        Alive { process, plan: Plan { bug: self.bug, ..Plan::default() } }
    }

    /// Notes what happened, together with what the broker saw of it.
    pub(super) fn note(&mut self, what: impl Into<String>, outcome: impl Into<String>) {
        let mut outcome = outcome.into();
        for seen in self.broker.take_notes() {
            outcome = format!("{outcome}; {seen}");
        }
        self.history.push(Entry { at: self.now(), what: what.into(), outcome });
    }

    pub(super) fn count(&mut self, what: impl Into<String>) {
        *self.happened.entry(what.into()).or_default() += 1;
    }
}
