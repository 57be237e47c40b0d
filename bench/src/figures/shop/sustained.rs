//! How many orders a second all five services bring to their end, and what tracing takes of that.

use std::time::{Duration, Instant};

use async_trait::async_trait;
use shop::verify::Service;
use tokio::time::sleep;

use super::limit::{Cost, Work};
use crate::figure::{Figure, Goal, Run};
use crate::figures::{Round, Subject};
use crate::stage::Stage;
use crate::world::customers::list_goods;
use crate::world::load::Load;
use crate::world::usage::{Usage, resident_mib};
use crate::world::watch::Watch;
use crate::world::{EVENTS, World};

/// Orders in flight.
const IN_FLIGHT: usize = 300;
const REST_WITHIN: Duration = Duration::from_secs(60);
/// Between two looks who is behind.
const LOOK: Duration = Duration::from_millis(100);
const MAILED: &str = "select count(*) from emails where status = 'sent'";
const AUDITED: &str = "select seq from chain_head";
/// What is usual in production.
const SAMPLED: f64 = 0.05;

const FIGURES: &[Figure] = &[
    Figure {
        id: "sustained_orders",
        what: "orders through all five services to their end, 300 in flight, 5 % of traces recorded",
        unit: "orders/s",
        beside: "cores by the CPU time of as many rows in as many commits by pgbench, and as many messages",
        goals: &[Goal::OfRaw(0.6), Goal::AtLeast(600.0)],
    },
    Figure {
        id: "tracing_cost",
        what: "what recording all traces, and not none, takes of the orders per second",
        unit: "%",
        beside: "",
        goals: &[Goal::AtMost(15.0)],
    },
];

/// As many orders as there is room for.
pub(super) struct Sustained;

#[async_trait(?Send)]
impl Subject for Sustained {
    fn figures(&self) -> &'static [Figure] {
        FIGURES
    }

    async fn round(&mut self, stage: &Stage, number: usize) -> anyhow::Result<Round> {
        let mut world = World::start(stage, SAMPLED).await?;
        list_goods(&world).await?;
        let during = Duration::from_secs(if stage.quick { 2 } else { 4 });
        let usual = measure(stage, &world, "usual", during).await?;
        let memory = memory(&world)?;
        let event = "select avg(length(body))::bigint from messaging.outbox";
        let event = usize::try_from(world.count(Service::Order, event).await?)?;
        // Neither always finds the larger tables.
        let (all, none) = if number.is_multiple_of(2) {
            let all = sampled(stage, &mut world, 1.0, "all", during).await?;
            (all, sampled(stage, &mut world, 0.0, "none", during).await?)
        } else {
            let none = sampled(stage, &mut world, 0.0, "none", during).await?;
            (sampled(stage, &mut world, 1.0, "all", during).await?, none)
        };
        world.stop(stage).await?;
        let orders = usual.confirmed;
        let work = Work { commits: usual.commits / orders, rows: usual.rows / orders, event };
        let cost = Cost::measure(stage, work, during / 2).await?;
        let runs = vec![
            Run { value: usual.rate(), raw: Some(cost.limit()?) },
            Run { value: (1.0 - all.rate() / none.rate()) * 100.0, raw: None },
        ];
        let notes = notes(&usual, (&all, &none), work, cost, memory);
        Ok(Round { runs, notes, ..Round::default() })
    }
}

/// What happened in a while under full load.
pub(super) struct Window {
    took: Duration,
    confirmed: f64,
    mailed: f64,
    audited: f64,
    commits: f64,
    rows: f64,
    used: Usage,
}

impl Window {
    /// Orders that everybody was done with: who is behind decides.
    fn orders(&self) -> f64 {
        self.confirmed.min(self.mailed).min(self.audited)
    }

    pub(super) fn rate(&self) -> f64 {
        self.orders() / self.took.as_secs_f64()
    }
}

/// Another share of traces, and everything again.
async fn sampled(
    stage: &Stage,
    world: &mut World,
    share: f64,
    load: &'static str,
    during: Duration,
) -> anyhow::Result<Window> {
    world.sample(share).await?;
    measure(stage, world, load, during).await
}

/// Full load: until everything is warm, then for as long as is measured; and waits for its end.
pub(super) async fn measure(
    stage: &Stage,
    world: &World,
    load: &'static str,
    during: Duration,
) -> anyhow::Result<Window> {
    let watch = Watch::on(world).await?;
    let load = Load::new(world, &watch, load);
    let warm = Duration::from_secs(2);
    let look = async {
        sleep(warm).await;
        let (begun, first) = (Instant::now(), Counts::now(world, &load).await?);
        let before = Usage::now(stage, world)?;
        sleep(during).await;
        let (took, last) = (begun.elapsed(), Counts::now(world, &load).await?);
        let used = Usage::now(stage, world)?.since(&before);
        let passed = |of: fn(&Counts) -> i64| (of(&last) - of(&first)) as f64;
        anyhow::Ok(Window {
            took,
            confirmed: passed(|counts| counts.confirmed),
            mailed: passed(|counts| counts.mailed),
            audited: passed(|counts| counts.audited) / EVENTS.len() as f64,
            commits: passed(|counts| counts.commits),
            rows: passed(|counts| counts.rows),
            used,
        })
    };
    let whole = warm + during + Duration::from_millis(200);
    let closed = async {
        tokio::select! {
            ended = load.closed(IN_FLIGHT, whole) => ended,
            error = hold_those_ahead(world, &load) => Err(error),
        }
    };
    let (window, ()) = tokio::try_join!(look, closed)?;
    world.rest(REST_WITHIN).await?;
    Ok(window)
}

/// An order is in flight until everybody is done with it: where some fall behind, customers wait for
/// them. Ends only with an error.
async fn hold_those_ahead(world: &World, load: &Load<'_>) -> anyhow::Error {
    let mut first = None;
    loop {
        let now = match Behind::now(world).await {
            Ok(now) => now,
            Err(error) => return error,
        };
        let done = now.since(first.get_or_insert(now)).min(load.confirmed());
        load.hold(load.placed().saturating_sub(done) >= IN_FLIGHT as u64);
        sleep(LOOK).await;
    }
}

/// How far those have come who are told last.
#[derive(Debug, Clone, Copy)]
struct Behind {
    mailed: i64,
    audited: i64,
}

impl Behind {
    async fn now(world: &World) -> anyhow::Result<Self> {
        Ok(Self {
            mailed: world.count(Service::Email, MAILED).await?,
            audited: world.count(Service::Audit, AUDITED).await?,
        })
    }

    /// Orders that both were done with since then.
    fn since(self, first: &Self) -> u64 {
        let events = EVENTS.len() as i64;
        let done = (self.mailed - first.mailed).min((self.audited - first.audited) / events);
        u64::try_from(done).unwrap_or_default()
    }
}

/// What is counted at both ends.
struct Counts {
    confirmed: i64,
    mailed: i64,
    audited: i64,
    commits: i64,
    rows: i64,
}

impl Counts {
    async fn now(world: &World, load: &Load<'_>) -> anyhow::Result<Self> {
        // Transactions that wrote: only they get a number.
        let commits = "select txid_snapshot_xmax(txid_current_snapshot())";
        let rows = "select sum(tup_inserted + tup_updated)::bigint from pg_stat_database
            where datname like 'test%'";
        Ok(Self {
            confirmed: load.confirmed().cast_signed(),
            mailed: world.count(Service::Email, MAILED).await?,
            audited: world.count(Service::Audit, AUDITED).await?,
            commits: world.count(Service::Order, commits).await?,
            rows: world.count(Service::Order, rows).await?,
        })
    }
}

fn memory(world: &World) -> anyhow::Result<String> {
    let mut each = Vec::new();
    for (service, process) in &world.services {
        if let Some(pid) = process.pid() {
            each.push(format!("{service} {:.1}", resident_mib(pid)?));
        }
    }
    Ok(format!("MiB after the full load: {}", each.join(", ")))
}

fn notes(
    usual: &Window,
    (all, none): (&Window, &Window),
    work: Work,
    cost: Cost,
    memory: String,
) -> Vec<(&'static str, String)> {
    let Window { confirmed, mailed, audited, .. } = usual;
    let raw = format!(
        "raw: {:.1} commits of {:.1} rows in all {:.2} ms CPU, {} messages {:.2} ms",
        work.commits,
        work.rows,
        cost.rows,
        EVENTS.len(),
        cost.messages,
    );
    let ends = format!("{confirmed:.0} confirmed, {mailed:.0} mailed, {audited:.0} in audit's log");
    let rates = format!("{:.0} orders/s all, {:.0} orders/s none", all.rate(), none.rate());
    let (with, without) = (all.used.per(all.orders()), none.used.per(none.orders()));
    vec![
        ("sustained_orders", format!("CPU ms per order: {}", usual.used.per(usual.orders()))),
        ("sustained_orders", raw),
        ("sustained_orders", ends),
        ("idle_rss", memory),
        ("tracing_cost", rates),
        ("tracing_cost", format!("CPU ms per order: all {with}; none {without}")),
    ]
}
