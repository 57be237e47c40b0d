//! How many orders a second are accepted, beside the same statements without a service.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use futures_util::future::try_join_all;
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use shop::verify::Service;
use tokio::time::interval;

use super::pgbench::{Pgbench, bytes};
use super::{raw_first, sorted};
use crate::figure::{Figure, Goal, Run, quantile};
use crate::figures::{Round, Subject};
use crate::stage::Stage;
use crate::world::customers::{list_goods, place};
use crate::world::load::millis;
use crate::world::usage::Usage;
use crate::world::{ALL_TRACED, World, drop_database};

/// Connections of the customers, and clients of `pgbench`.
const CLIENTS: usize = 32;
const SCRIPT: &str = include_str!("placing.sql");

const FIGURES: &[Figure] = &[Figure {
    id: "intake_rate",
    what: "orders accepted by POST /orders over 32 connections, the other four services stopped",
    unit: "orders/s",
    beside: "pgbench with the same statements, 32 clients",
    goals: &[Goal::OfRaw(0.7)],
}];

/// The first step of an order.
pub(super) struct Intake;

#[async_trait(?Send)]
impl Subject for Intake {
    fn figures(&self) -> &'static [Figure] {
        FIGURES
    }

    async fn round(&mut self, stage: &Stage, number: usize) -> anyhow::Result<Round> {
        let mut world = World::start(stage, ALL_TRACED).await?;
        list_goods(&world).await?;
        // What follows an order would take the processors from what is measured.
        for (_, process) in world.services.iter_mut().filter(|(one, _)| *one != Service::Order) {
            process.stop().await?;
        }
        accepted(&world, "warm-up-intake", Duration::from_secs(1)).await?;
        let during = Duration::from_secs(if stage.quick { 2 } else { 3 });
        let early = if raw_first(number) { Some(raw(stage, &world, during).await?) } else { None };
        let before = Usage::of_process(&world, Service::Order)?;
        let rate = accepted(&world, "full-load", during).await?;
        let used = Usage::of_process(&world, Service::Order)? - before;
        let answered = at_half(&world, rate, during).await?;
        let raw = match early {
            Some(raw) => raw,
            None => raw(stage, &world, during).await?,
        };
        world.stop(stage).await?;
        let note = format!(
            "answered after {:.1} ms at half of that (p99 {:.1}); order's CPU {:.2} ms each",
            quantile(&answered, 0.5),
            quantile(&answered, 0.99),
            used / (rate * during.as_secs_f64()),
        );
        let run = Run { value: rate, raw: Some(raw) };
        let notes = vec![("intake_rate", note)];
        Ok(Round { runs: vec![run], notes, ..Round::default() })
    }
}

/// Orders accepted per second when every customer places the next as soon as one is answered.
async fn accepted(world: &World, load: &str, during: Duration) -> anyhow::Result<f64> {
    let (begun, next) = (Instant::now(), AtomicU64::new(0));
    let customer = || async {
        while begun.elapsed() < during {
            place(world, load, next.fetch_add(1, Ordering::Relaxed)).await?;
        }
        anyhow::Ok(())
    };
    try_join_all((0..CLIENTS).map(|_| customer())).await?;
    Ok(next.into_inner() as f64 / begun.elapsed().as_secs_f64())
}

/// How long answers take at half the rate, sorted, in milliseconds.
async fn at_half(world: &World, rate: f64, during: Duration) -> anyhow::Result<Vec<f64>> {
    let mut ticks = interval(Duration::from_secs_f64(2.0 / rate));
    let (begun, mut n) = (Instant::now(), 0);
    let (mut times, mut open) = (Vec::new(), FuturesUnordered::new());
    while begun.elapsed() < during {
        tokio::select! {
            _ = ticks.tick() => {
                open.push(place(world, "half-load", n));
                n += 1;
            }
            Some(placed) = open.next(), if !open.is_empty() => times.push(millis(placed?.answered)),
        }
    }
    while let Some(placed) = open.next().await {
        times.push(millis(placed?.answered));
    }
    Ok(sorted(times))
}

/// The same statements, with rows of the same sizes, by `pgbench`.
async fn raw(stage: &Stage, world: &World, during: Duration) -> anyhow::Result<f64> {
    let size = "select coalesce(avg(length(body)), 0)::bigint from messaging.outbox";
    let event = world.count(Service::Order, size).await?;
    let size = "select coalesce(avg(length(body)), 0)::bigint from messaging.answer";
    let answer = world.count(Service::Order, size).await?;
    let database = stage.postgres.database(Service::Order.name()).await;
    sqlx::query(
        "insert into catalogue (sku, name, currency, unit_price_minor, updated_at)
        select 'BENCH-' || lpad(n::text, 3, '0'), 'Product ' || n, 'GBP', 100, now()
        from generate_series(0, 199) n",
    )
    .execute(&database.pool())
    .await?;
    let values =
        vec![("body", bytes(usize::try_from(event)?)), ("answer", bytes(usize::try_from(answer)?))];
    let pgbench = Pgbench { script: SCRIPT, clients: CLIENTS, values };
    let rate = pgbench.run(database.local_url(), during).await?;
    drop_database(stage, database.name()).await?;
    Ok(rate)
}
