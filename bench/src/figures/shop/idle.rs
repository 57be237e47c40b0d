//! What a service costs that has nothing to do, and how soon one is there.

use std::time::Duration;

use anyhow::Context as _;
use async_trait::async_trait;
use tokio::time::{Instant, sleep_until};

use crate::figure::{Figure, Goal, Run};
use crate::figures::{Round, Subject};
use crate::stage::Stage;
use crate::world::load::millis;
use crate::world::usage::{exact, resident_mib};
use crate::world::{ALL_TRACED, World};

const FIGURES: &[Figure] = &[
    Figure {
        id: "idle_rss",
        what: "resident memory of the largest idle service",
        unit: "MiB",
        beside: "",
        goals: &[Goal::AtMost(15.0)],
    },
    Figure {
        id: "idle_cpu",
        what: "processor time of the busiest idle service, of one core",
        unit: "%",
        beside: "",
        goals: &[Goal::AtMost(0.2)],
    },
    Figure {
        id: "ready_time",
        what: "from exec until /health/ready says 200, the slowest service, everything else up",
        unit: "ms",
        beside: "",
        goals: &[Goal::AtMost(150.0)],
    },
];

/// Idle services.
pub(super) struct Idle;

#[async_trait(?Send)]
impl Subject for Idle {
    fn figures(&self) -> &'static [Figure] {
        FIGURES
    }

    async fn round(&mut self, stage: &Stage, _: usize) -> anyhow::Result<Round> {
        let mut world = World::start(stage, ALL_TRACED).await?;
        let mut ready = Vec::new();
        // One after the other, so that each finds all the others there.
        for (service, process) in &mut world.services {
            process.restart(&[]).await?;
            ready.push((service.name(), millis(process.ready(&world.http).await?)));
        }
        world.rest(Duration::from_secs(30)).await?;
        let pids = world.services.iter().map(|(service, process)| {
            let pid = process.pid().with_context(|| format!("{service} has ended"))?;
            Ok((service.name(), pid))
        });
        let pids = pids.collect::<anyhow::Result<Vec<_>>>()?;
        let during = Duration::from_secs(if stage.quick { 3 } else { 4 });
        let begun = Instant::now();
        let before = pids.iter().map(|(_, pid)| exact(*pid)).collect::<anyhow::Result<Vec<_>>>()?;
        sleep_until(begun + during).await;
        let (mut memory, mut busy) = (Vec::new(), Vec::new());
        for ((name, pid), before) in pids.iter().zip(before) {
            let share = (exact(*pid)? - before).as_secs_f64() / begun.elapsed().as_secs_f64();
            busy.push((*name, share * 100.0));
            memory.push((*name, resident_mib(*pid)?));
        }
        world.stop(stage).await?;
        let (figures, measured) = (["idle_rss", "idle_cpu", "ready_time"], [memory, busy, ready]);
        let notes = figures.into_iter().zip(measured.iter().map(|all| each(all)));
        Ok(Round {
            runs: measured.iter().map(|all| Run { value: largest(all), raw: None }).collect(),
            notes: notes.collect(),
            ..Round::default()
        })
    }
}

fn largest(all: &[(&str, f64)]) -> f64 {
    all.iter().map(|(_, value)| *value).fold(0.0, f64::max)
}

fn each(all: &[(&str, f64)]) -> String {
    let each: Vec<_> = all.iter().map(|(name, value)| format!("{name} {value:.2}")).collect();
    each.join(", ")
}
