//! Whether an order costs more where a million were placed before.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use shop::verify::Service;
use testkit::Database;

use super::sorted;
use crate::figure::{Figure, Goal, Run, quantile};
use crate::figures::{Round, Subject};
use crate::stage::Stage;
use crate::world::customers::list_goods;
use crate::world::load::Load;
use crate::world::usage::Usage;
use crate::world::watch::Watch;
use crate::world::{ALL_TRACED, World, databases, past};

const FEW: u32 = 1_000;
const MANY: u32 = 1_000_000;
/// A million would take longer than all other figures together.
const MANY_QUICK: u32 = 100_000;
/// Orders per second: the same on both, so that batches are of one size, and far from full load, where
/// a little more work means a much longer wait.
const RATE: u32 = 50;
const REST_WITHIN: Duration = Duration::from_secs(60);

const FIGURES: &[Figure] = &[
    Figure {
        id: "growth",
        what: "CPU time of an order in Postgres and services with 1,000,000 orders, beside 1,000",
        unit: "% more",
        beside: "",
        goals: &[Goal::AtMost(15.0)],
    },
    Figure {
        id: "growth_p50",
        what: "from POST until confirmed, half of all, with 1,000,000 orders, beside 1,000",
        unit: "% more",
        beside: "",
        goals: &[Goal::AtMost(15.0)],
    },
];

type Databases = BTreeMap<Service, Database>;

/// Databases with a past; filled in the first round.
#[derive(Default)]
pub(super) struct Growth {
    filled: Option<(Databases, Databases)>,
}

/// What an order costs.
#[derive(Debug, Clone, Copy)]
struct Cost {
    /// Milliseconds of processor time in Postgres and the services.
    processor: f64,
    /// Half took no longer, in milliseconds.
    p50: f64,
}

#[async_trait(?Send)]
impl Subject for Growth {
    fn figures(&self) -> &'static [Figure] {
        FIGURES
    }

    async fn round(&mut self, stage: &Stage, number: usize) -> anyhow::Result<Round> {
        let many = if stage.quick { MANY_QUICK } else { MANY };
        let mut notes = Vec::new();
        let (small, large) = match self.filled.take() {
            Some(filled) => filled,
            None => {
                let filled = (databases(stage).await, databases(stage).await);
                past::fill(&filled.0, FEW).await?;
                let took = past::fill(&filled.1, many).await?;
                let text = format!("{many} orders were filled in in {:.0} s", took.as_secs_f64());
                notes.push(("growth", text));
                filled
            }
        };
        let during = Duration::from_secs(if stage.quick { 3 } else { 4 });
        let (few, many, filled) = if number.is_multiple_of(2) {
            let (few, small) = cost(stage, small, during).await?;
            let (many, large) = cost(stage, large, during).await?;
            (few, many, (small, large))
        } else {
            let (many, large) = cost(stage, large, during).await?;
            let (few, small) = cost(stage, small, during).await?;
            (few, many, (small, large))
        };
        self.filled = Some(filled);
        let more = |few: f64, many: f64| Run { value: (many / few - 1.0) * 100.0, raw: None };
        let runs = vec![more(few.processor, many.processor), more(few.p50, many.p50)];
        notes.push(("growth", format!("{:.2} ms, {:.2} ms", few.processor, many.processor)));
        notes.push(("growth_p50", format!("{:.1} ms, {:.1} ms", few.p50, many.p50)));
        Ok(Round { runs, notes, ..Round::default() })
    }
}

async fn cost(
    stage: &Stage,
    databases: Databases,
    during: Duration,
) -> anyhow::Result<(Cost, Databases)> {
    let world = World::on(stage, databases, ALL_TRACED).await?;
    list_goods(&world).await?;
    let watch = Watch::on(&world).await?;
    // In the keys of requests: these databases remember those of earlier rounds.
    let orders = world.count(Service::Order, "select count(*) from orders").await?;
    let warm_up = format!("warm-up-{orders}");
    Load::new(&world, &watch, &warm_up).closed(16, Duration::from_secs(2)).await?;
    world.rest(REST_WITHIN).await?;
    let name = format!("growth-{orders}");
    let load = Load::new(&world, &watch, &name);
    let before = Usage::now(stage, &world)?;
    let times = load.paced(RATE, during).await?;
    let used = Usage::now(stage, &world)?.since(&before);
    let names = Service::ALL.iter().map(|service| service.name()).chain(["postgres"]);
    let spent: f64 = names.map(|name| used.of(name)).sum();
    let processor = spent / times.confirmed.len() as f64;
    let p50 = quantile(&sorted(times.confirmed), 0.5);
    drop(watch);
    // What is under way goes with the queues, and these databases would wait for it in the next round.
    world.rest(REST_WITHIN).await?;
    Ok((Cost { processor, p50 }, world.leave().await?))
}
