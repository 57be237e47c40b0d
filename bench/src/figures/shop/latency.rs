//! How long an order takes, and whether it takes longer while nobody collects its trace.

use std::time::Duration;

use anyhow::ensure;
use async_trait::async_trait;
use serde_json::Value;

use super::chain::Chain;
use super::{raw_first, sorted};
use crate::figure::{Figure, Goal, Run, quantile};
use crate::figures::{Round, Subject};
use crate::stage::Stage;
use crate::world::customers::list_goods;
use crate::world::load::{Load, Times};
use crate::world::usage::Usage;
use crate::world::watch::Watch;
use crate::world::{ALL_TRACED, World};

/// Orders per second: far from busy.
const RATE: u32 = 20;
const BESIDE: &str = "seven commits, three hops and a call of the gateway, one after the other";
const DOWN: &str = "the trace collector does not answer";
const REST_WITHIN: Duration = Duration::from_secs(30);

const FIGURES: &[Figure] = &[
    Figure {
        id: "placed_to_confirmed_p50",
        what: "from POST /orders until the stream says confirmed, at 20/s, all traced and signed",
        unit: "ms",
        beside: BESIDE,
        goals: &[Goal::TimesRaw(2.0), Goal::AtMost(12.0)],
    },
    Figure {
        id: "placed_to_confirmed_p99",
        what: "the same, of the slowest in a hundred",
        unit: "ms",
        beside: BESIDE,
        goals: &[Goal::TimesRaw(2.0), Goal::AtMost(30.0)],
    },
    Figure {
        id: "collector_down",
        what: "how much longer half of all orders take while the trace collector is away",
        unit: "%",
        beside: "",
        // What two halves of one load differ by, without any reason: see the notes.
        goals: &[Goal::AtMost(5.0)],
    },
];

/// An order's way.
pub(super) struct Latency;

#[async_trait(?Send)]
impl Subject for Latency {
    fn figures(&self) -> &'static [Figure] {
        FIGURES
    }

    async fn round(&mut self, stage: &Stage, number: usize) -> anyhow::Result<Round> {
        let mut world = World::start(stage, ALL_TRACED).await?;
        list_goods(&world).await?;
        let watch = Watch::on(&world).await?;
        warm_up(&world, &watch).await?;
        let during = Duration::from_secs(if stage.quick { 5 } else { 8 });
        let early = if raw_first(number) { Some(raw(stage, &world, during).await?) } else { None };
        let before = Usage::now(stage, &world)?;
        let load = Load::new(&world, &watch, "collected");
        let times = load.paced(RATE, during).await?;
        let used = Usage::now(stage, &world)?.since(&before);
        all_are_traced(&world).await?;
        let raw = match early {
            Some(raw) => raw,
            None => raw(stage, &world, during).await?,
        };
        let away = without_collector(&mut world, &watch, during).await?;
        drop(watch);
        world.stop(stage).await?;
        Ok(round(times, &raw, away, &used))
    }
}

/// So that every pool has its connections, every plan is made and every page is there.
async fn warm_up(world: &World, watch: &Watch) -> anyhow::Result<()> {
    let load = Load::new(world, watch, "warm-up");
    load.closed(16, Duration::from_secs(2)).await?;
    world.rest(REST_WITHIN).await?;
    load.paced(RATE, Duration::from_secs(1)).await?;
    Ok(())
}

async fn raw(stage: &Stage, world: &World, during: Duration) -> anyhow::Result<Vec<f64>> {
    let mut chain = Chain::connect(stage, world).await?;
    let times = chain.times(RATE, during).await?;
    chain.close(stage).await?;
    Ok(sorted(times))
}

/// Stops the collector, waits until everybody has noticed, and gives the times of orders then.
async fn without_collector(
    world: &mut World,
    watch: &Watch,
    during: Duration,
) -> anyhow::Result<Times> {
    world.collector.stop().await?;
    let load = Load::new(world, watch, "unnoticed");
    while !world.services.iter().all(|(_, process)| process.has_logged(DOWN)) {
        load.paced(RATE, Duration::from_millis(250)).await?;
    }
    Load::new(world, watch, "not-collected").paced(RATE, during).await
}

/// The collector has heard of every service.
async fn all_are_traced(world: &World) -> anyhow::Result<()> {
    let url = format!("{}/api/services", world.collector.program.url);
    let answer: Value = world.http.get(url).send().await?.json().await?;
    let known = answer["data"].as_array().map(Vec::len).unwrap_or_default();
    ensure!(known == world.services.len(), "the collector knows {answer}");
    Ok(())
}

fn round(times: Times, raw: &[f64], away: Times, used: &Usage) -> Round {
    let orders = times.confirmed.len();
    let halves = (times.confirmed[..orders / 2].to_vec(), times.confirmed[orders / 2..].to_vec());
    let noise = longer(&sorted(halves.0), &sorted(halves.1));
    let (confirmed, answered) = (sorted(times.confirmed), sorted(times.answered));
    let run = |share| Run { value: quantile(&confirmed, share), raw: Some(quantile(raw, share)) };
    let away = longer(&confirmed, &sorted(away.confirmed));
    let (p50, p99) = (quantile(&answered, 0.5), quantile(&answered, 0.99));
    let notes = vec![
        (
            "placed_to_confirmed_p50",
            format!("{orders} orders; answered after {p50:.1} ms (p99 {p99:.1})"),
        ),
        ("placed_to_confirmed_p50", format!("CPU ms per order: {}", used.per(orders as f64))),
        ("collector_down", format!("with a collector the second half took {noise:.1} % longer")),
    ];
    let runs = vec![run(0.5), run(0.99), Run { value: away, raw: None }];
    Round { runs, notes, ..Round::default() }
}

/// By how many per cent the median of the second is larger.
fn longer(first: &[f64], second: &[f64]) -> f64 {
    (quantile(second, 0.5) / quantile(first, 0.5) - 1.0) * 100.0
}
