//! More replicas of one service: nothing is lost, and no event overtakes another of its aggregate.

use std::time::Duration;

use anyhow::{bail, ensure};
use async_trait::async_trait;
use shop::verify::{self, Service};

use super::sustained::measure;
use crate::figure::{Figure, Run};
use crate::figures::{Round, Subject};
use crate::stage::Stage;
use crate::world::customers::list_goods;
use crate::world::{World, databases};

/// It has the most to do for each message.
const MANY: Service = Service::Inventory;

const FIGURES: &[Figure] = &[Figure {
    id: "replicas",
    what: "orders per second with two replicas of inventory, by those with one; nothing is lost",
    unit: "x",
    beside: "",
    goals: &[],
}];

/// 1, 2 and 4 replicas.
pub(super) struct Replicas;

#[async_trait(?Send)]
impl Subject for Replicas {
    fn figures(&self) -> &'static [Figure] {
        FIGURES
    }

    async fn round(&mut self, stage: &Stage, _: usize) -> anyhow::Result<Round> {
        // Without a past: what is checked at the end goes back to the first event of everything.
        let mut world = World::on(stage, databases(stage).await, 0.0).await?;
        list_goods(&world).await?;
        let during = Duration::from_secs(if stage.quick { 2 } else { 3 });
        let mut rates = Vec::new();
        for (many, load) in [(1, "one-replica"), (2, "two-replicas"), (4, "four-replicas")] {
            world.replicate(MANY, many).await?;
            rates.push(measure(stage, &world, load, during).await?.rate());
        }
        all_is_there(&world).await?;
        world.stop(stage).await?;
        let [one, two, four] = rates[..] else { bail!("{rates:?}") };
        let note = format!("{one:.0} orders/s with one, {two:.0} with two, {four:.0} with four");
        let runs = vec![Run { value: two / one, raw: None }];
        Ok(Round { runs, notes: vec![("replicas", note)], ..Round::default() })
    }
}

async fn all_is_there(world: &World) -> anyhow::Result<()> {
    for verdict in verify::check(&world.verify()?).await? {
        let (id, findings) = (verdict.id, &verdict.findings);
        let examples = &findings.examples;
        ensure!(findings.violations == 0, "{id} is violated: {examples:?}");
    }
    // One process writes the log in the order of arrival.
    let overtaken = "select count(*) from (
            select aggversion, row_number() over (partition by source, subject order by seq) as n
            from entries) e
        where aggversion <> n";
    let overtaken = world.count(Service::Audit, overtaken).await?;
    ensure!(overtaken == 0, "{overtaken} events were overtaken");
    Ok(())
}
