//! The end of a world: everything is well again, and comes to rest.

use std::collections::BTreeSet;
use std::time::Duration;

use super::database::pending;
use super::driver::{Driver, LONGEST};
use super::process::{A_LOOK, WORK};

/// With everything well, it takes no longer than this until nothing is left to do.
const DRAINED_WITHIN: Duration = Duration::from_secs(1_800);
const ROUNDS: u32 = 2_000;

impl Driver<'_> {
    /// Ends all faults and steps everything until nothing is left to do.
    pub(super) async fn drain(&mut self) -> anyhow::Result<()> {
        self.heal();
        self.faults.weight = 0;
        let begun = self.world.now();
        for _ in 0..ROUNDS {
            if self.round(false).await? {
                continue;
            }
            if self.is_idle().await? {
                return Ok(());
            }
            if !self.round(true).await? {
                let by = self.next_due(false).unwrap_or(LONGEST);
                self.let_pass(by);
            }
            if self.world.now() - begun > DRAINED_WITHIN {
                break;
            }
        }
        anyhow::bail!("{} {:?} after the last fault", self.left(), self.world.now() - begun)
    }

    /// What is not done, in words.
    fn left(&self) -> String {
        let broker = &self.world.broker;
        let full = broker.queues().into_iter().filter_map(|queue| {
            let (waiting, unsettled) = (broker.depth(&queue)?, broker.unsettled(&queue));
            (waiting + unsettled > 0).then(|| format!("{waiting} + {unsettled} in {queue}"))
        });
        let full: Vec<String> = full.collect();
        match (full.is_empty(), self.world.asked.is_empty()) {
            (false, _) => format!("messages are left: {}", full.join(", ")),
            (true, false) => format!("requests are left: {:?}", self.world.asked),
            (true, true) => "events are left in an outbox, or other work".to_owned(),
        }
    }

    /// One step of everything that is due, `looks` for what may have happened without a word included.
    /// False when nothing came of it.
    async fn round(&mut self, looks: bool) -> anyhow::Result<bool> {
        let mut moved = false;
        for member in 0..self.world.members.len() {
            if self.world.members[member].alive.is_none() {
                self.start(member).await?;
            }
            let slots =
                self.world.members[member].alive.as_ref().map_or(0, |a| a.process.slots.len());
            for slot in 0..slots {
                let (now, broker) = (self.world.now(), self.world.broker.clone());
                let Some(alive) = self.world.members[member].alive.as_mut() else { break };
                let taken = &mut alive.process.slots[slot];
                let reason = if taken.is_held() { WORK } else { taken.reason(now, &broker) };
                if reason < if looks { A_LOOK } else { WORK } {
                    continue;
                }
                let lines = self.world.history.len();
                self.step(member, slot).await?;
                let told = self.world.history[lines..].last();
                moved |= told.is_some_and(|entry| entry.outcome.contains(';'));
            }
        }
        if !self.world.asked.is_empty() {
            moved |= self.request(false).await?;
        }
        Ok(moved)
    }

    /// Whether nothing is left: no message, no event, no request.
    pub(super) async fn is_idle(&self) -> anyhow::Result<bool> {
        if !self.world.asked.is_empty() {
            return Ok(false);
        }
        let broker = &self.world.broker;
        let empty = |queue: &String| broker.depth(queue) == Some(0) && broker.unsettled(queue) == 0;
        if !broker.queues().iter().all(empty) {
            return Ok(false);
        }
        let mut asked = BTreeSet::new();
        for alive in self.world.members.iter().filter_map(|member| member.alive.as_ref()) {
            let pool = alive.process.pool();
            let first = asked.insert(pool.identity().service());
            if first && pending(pool.pg()).await? > 0 {
                return Ok(false);
            }
        }
        match &self.world.rests_when {
            Some(done) => done().await,
            None => Ok(true),
        }
    }
}
