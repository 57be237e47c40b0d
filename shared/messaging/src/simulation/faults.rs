//! What the seed lets go wrong outside of the processes' own steps.

use std::time::Duration;

use chrono::TimeDelta;

use super::driver::Driver;

/// The kinds of faults, and which of them go on now.
pub(super) struct Faults {
    /// How likely one is, against 12 for a step; 0 for none.
    pub(super) weight: usize,
    ongoing: Vec<Ongoing>,
}

/// A fault that goes on until it is undone.
#[derive(Debug, Clone)]
enum Ongoing {
    Away,
    Blocked,
    /// Queues and keys.
    Unbound(Vec<(String, String)>),
    Full(String),
}

#[derive(Debug, Clone, Copy)]
enum Fault {
    Duplicate,
    Reorder,
    Delay,
    LoseConfirms,
    LoseCopyConfirm,
    Cut,
    Kill,
    Restart,
    Stop,
    Away,
    Block,
    Unbind,
    Fill,
}

/// A route that is missing is twice as likely: it takes several events at once to show what it can do.
const ALL: [Fault; 14] = [
    Fault::Duplicate,
    Fault::Reorder,
    Fault::Delay,
    Fault::LoseConfirms,
    Fault::LoseCopyConfirm,
    Fault::Cut,
    Fault::Kill,
    Fault::Restart,
    Fault::Stop,
    Fault::Away,
    Fault::Block,
    Fault::Unbind,
    Fault::Unbind,
    Fault::Fill,
];

impl Faults {
    pub(super) fn new(weight: usize) -> Self {
        Self { weight, ongoing: Vec::new() }
    }
}

impl Driver<'_> {
    /// Something goes wrong, or something that went wrong is put right.
    pub(super) async fn fault(&mut self) -> anyhow::Result<()> {
        let ongoing = self.faults.ongoing.len();
        if ongoing > 0 && self.world.draws.one_in(2) {
            let undone = self.world.draws.below(ongoing);
            let undone = self.faults.ongoing.swap_remove(undone);
            self.world.note("fault", format!("no more {undone:?}"));
            self.undo(&undone);
            return Ok(());
        }
        let fault = ALL[self.world.draws.below(ALL.len())];
        let outcome = match fault {
            Fault::Kill | Fault::Restart | Fault::Stop | Fault::Cut => {
                self.at_process(fault).await?
            }
            Fault::Duplicate | Fault::Reorder | Fault::Delay => self.at_queue(fault),
            _ => self.at_broker(fault),
        };
        if let Some(outcome) = outcome {
            self.world.count(format!("{fault:?}").to_lowercase());
            self.world.note("fault", format!("{fault:?} {outcome}"));
        }
        Ok(())
    }

    async fn at_process(&mut self, fault: Fault) -> anyhow::Result<Option<String>> {
        let member = self.world.draws.below(self.world.members.len());
        let name = self.world.members[member].name;
        if self.world.members[member].alive.is_none() {
            return Ok(None);
        }
        match fault {
            Fault::Kill => self.kill(member).await?,
            Fault::Restart => self.stop(member).await?,
            Fault::Stop => {
                let until = Duration::from_secs(self.world.draws.below(40) as u64);
                self.world.members[member].stopped_until = self.world.now() + until;
                return Ok(Some(format!("{name} for {until:?}")));
            }
            _ => {
                let cut = self.world.broker.cut(Some(name));
                return Ok((cut > 0).then(|| format!("{cut} connections of {name}")));
            }
        }
        Ok(Some(name.to_owned()))
    }

    /// Something happens to a message that waits.
    fn at_queue(&mut self, fault: Fault) -> Option<String> {
        let broker = self.world.broker.clone();
        let draws = &mut self.world.draws;
        // Dead letters and rungs are as much the broker's as work is.
        let queues: Vec<String> =
            broker.queues().into_iter().filter(|queue| broker.ready(queue) > 0).collect();
        let queue = queues.get(draws.below(queues.len()))?;
        let waiting = broker.ready(queue);
        let (n, m) = (draws.below(waiting), draws.below(waiting));
        let done = match fault {
            Fault::Duplicate => broker.duplicate(queue, n),
            Fault::Reorder => n != m && broker.swap(queue, n, m),
            _ => broker.delay(queue, n, TimeDelta::milliseconds(draws.below(20_000) as i64)),
        };
        done.then(|| format!("{n} of {queue}"))
    }

    fn at_broker(&mut self, fault: Fault) -> Option<String> {
        let broker = self.world.broker.clone();
        let draws = &mut self.world.draws;
        let ongoing = match fault {
            Fault::LoseConfirms => {
                let stored = draws.below(4);
                broker.lose_confirms(stored);
                return Some(format!("after {stored}"));
            }
            Fault::LoseCopyConfirm => {
                broker.lose_copy_confirms(1);
                return Some(String::new());
            }
            Fault::Away => {
                broker.set_away(true);
                Ongoing::Away
            }
            Fault::Block => {
                broker.block(true);
                Ongoing::Blocked
            }
            Fault::Unbind => {
                let routes = broker.routes();
                let (_, key) = routes.get(draws.below(routes.len()))?.clone();
                let taken = overlapping(routes, &key);
                for (queue, key) in &taken {
                    broker.unbind(queue, key);
                }
                Ongoing::Unbound(taken)
            }
            _ => {
                let queues = broker.queues();
                let queue = queues.get(draws.below(queues.len()))?.clone();
                broker.limit(&queue, Some(draws.below(3)));
                Ongoing::Full(queue)
            }
        };
        let told = format!("{ongoing:?}");
        self.faults.ongoing.push(ongoing);
        Some(told)
    }

    fn undo(&self, ongoing: &Ongoing) {
        let broker = &self.world.broker;
        match ongoing {
            Ongoing::Away => broker.set_away(false),
            Ongoing::Blocked => broker.block(false),
            Ongoing::Unbound(taken) => {
                for (queue, key) in taken {
                    broker.bind(queue, key);
                }
            }
            Ongoing::Full(queue) => {
                broker.limit(queue, None);
            }
        }
    }

    /// A process has made what it needs: with a part of the routes back, what gets there is lost to the
    /// rest, so all of them are.
    pub(super) fn restore_routes(&mut self) {
        let unbound = |one: &mut Ongoing| matches!(one, Ongoing::Unbound(_));
        for ongoing in self.faults.ongoing.extract_if(.., unbound).collect::<Vec<_>>() {
            self.undo(&ongoing);
        }
    }

    /// Ends all of it.
    pub(super) fn heal(&mut self) {
        for ongoing in std::mem::take(&mut self.faults.ongoing) {
            self.undo(&ongoing);
        }
        self.world.broker.heal();
        for member in &mut self.world.members {
            member.stopped_until = Duration::ZERO;
        }
        self.world.note("faults", "are over");
    }
}

/// The routes that a message may take which takes one by `key`, and so on. An event that some of its
/// queues get is published, and what the others missed is lost to them, whoever publishes: only when it
/// gets nowhere can its publisher know.
fn overlapping(routes: Vec<(String, String)>, key: &str) -> Vec<(String, String)> {
    let is_pattern = |key: &str| key.contains(['#', '*']);
    let all = routes.iter().any(|(_, key)| is_pattern(key));
    routes.into_iter().filter(|(_, other)| all || other == key).collect()
}
