//! `relay_drain`: how fast one relay empties an outbox, into an empty table and over old rows.

use std::time::Instant;

use anyhow::{Context as _, ensure};
use async_trait::async_trait;
use testkit::Vhost;

use super::backlog::{Backlog, Fill, TEMPLATES};
use super::drained::Order;
use crate::cpu::Cpu;
use crate::figure::{Figure, Goal, Run};
use crate::figures::{Round, Subject, raw_turns};
use crate::raw::Wire;
use crate::raw::consume::Ack;
use crate::raw::publish::{Message, WINDOWS};
use crate::stage::Stage;

const DRAIN: &str = "relay_drain";
const KEPT: &str = "relay_drain_kept_rows";
const FIGURES: [Figure; 2] = [
    Figure {
        id: DRAIN,
        what: "relay drain of a 200,000-row backlog of 20,000 aggregates, one relay",
        unit: "rows/s",
        beside: "the same messages published raw with confirms, the better of two windows",
        goals: &[Goal::OfRaw(0.90)],
    },
    Figure {
        id: KEPT,
        what: "the same with 1,000,000 published rows kept, after churn",
        unit: "rows/s",
        beside: "the relay's own drain of an otherwise empty table",
        goals: &[Goal::OfRaw(0.90)],
    },
];
/// Where everything goes.
const QUEUE: &str = "drained";
/// Rows per event of an aggregate.
const VERSIONS: usize = 10;
/// Most rows per statement that fills.
const STRETCH: usize = 200_000;
/// To find the better window, one row of so many is published.
const TRIAL: usize = 8;
/// Deliveries under way while what came is checked.
const PREFETCH: u16 = 5_000;

/// Both outboxes, made by the first round.
#[derive(Default)]
pub(crate) struct Relay(Option<Outboxes>);

struct Outboxes {
    wire: Wire,
    messages: Vec<Message>,
    /// The better window of the raw limit, once it is known.
    window: Option<usize>,
    empty: Backlog,
    kept: Backlog,
    _vhost: Vhost,
}

/// How much there is of everything.
struct Load {
    rows: usize,
    kept: usize,
}

impl Load {
    fn of(stage: &Stage) -> Self {
        match stage.quick {
            true => Self { rows: 40_000, kept: 200_000 },
            false => Self { rows: 200_000, kept: 1_000_000 },
        }
    }

    fn fill(&self) -> Fill {
        let rows = self.rows;
        Fill { rows, aggregates: rows / VERSIONS, published: false }
    }
}

#[async_trait(?Send)]
impl Subject for Relay {
    fn figures(&self) -> &'static [Figure] {
        &FIGURES
    }

    async fn round(&mut self, stage: &Stage, number: usize) -> anyhow::Result<Round> {
        let load = Load::of(stage);
        if self.0.is_none() {
            self.0 = Some(Outboxes::new(stage, &load).await?);
        }
        let outboxes = self.0.as_mut().context("made before")?;
        let mut round = Round::default();
        let (mut raw, mut drained) = (0.0, 0.0);
        for raw_now in raw_turns(number) {
            if raw_now {
                raw = outboxes.raw(stage, &load, &mut round).await?;
            } else {
                drained = outboxes.drain_empty(stage, &load, &mut round).await?;
            }
        }
        let kept = outboxes.drain_kept(stage, &load, &mut round).await?;
        round.runs.push(Run { value: drained, raw: Some(raw) });
        round.runs.push(Run { value: kept, raw: Some(drained) });
        Ok(round)
    }
}

impl Outboxes {
    async fn new(stage: &Stage, load: &Load) -> anyhow::Result<Self> {
        let vhost = stage.broker.vhost().await;
        let (empty, mut kept) =
            (Backlog::new(stage, &vhost).await?, Backlog::new(stage, &vhost).await?);
        let wire = Wire::connect(vhost.amqp_url()).await?;
        wire.queue(QUEUE, &["#"]).await?;
        wire.prefetch(PREFETCH).await?;
        let mut messages = Vec::new();
        for backlog in [&empty, &kept] {
            backlog.write_templates().await?;
            backlog.drain().await?;
            backlog.clear().await?;
            messages = wire.take_messages(QUEUE, TEMPLATES).await?;
        }
        for _ in 0..load.kept / STRETCH {
            let aggregates = STRETCH / VERSIONS;
            kept.fill(Fill { rows: STRETCH, aggregates, published: true }).await?;
        }
        let mut this = Self { wire, messages, window: None, empty, kept, _vhost: vhost };
        this.churn(stage, load).await?;
        Ok(this)
    }

    /// Fills, drains and prunes the outbox with old rows, for as long as was asked for.
    async fn churn(&mut self, stage: &Stage, load: &Load) -> anyhow::Result<()> {
        let begun = Instant::now();
        let fill =
            Fill { rows: load.rows / 4, aggregates: load.rows / 4 / VERSIONS, published: false };
        loop {
            self.kept.fill(fill).await?;
            self.kept.drain().await?;
            self.wire.purge(QUEUE).await?;
            self.kept.prune(fill.rows).await?;
            if begun.elapsed() >= stage.churn {
                break;
            }
        }
        Ok(())
    }

    async fn raw(&mut self, stage: &Stage, load: &Load, round: &mut Round) -> anyhow::Result<f64> {
        let window = match self.window {
            Some(window) => window,
            None => self.best_window(stage, load.rows / TRIAL, round).await?,
        };
        self.window = Some(window);
        self.publish_raw(stage, window, load.rows, round).await
    }

    /// A short try of each.
    async fn best_window(
        &self,
        stage: &Stage,
        rows: usize,
        round: &mut Round,
    ) -> anyhow::Result<usize> {
        let mut best = (0.0_f64, WINDOWS[0]);
        for window in WINDOWS {
            let rate = self.publish_raw(stage, window, rows, round).await?;
            if rate > best.0 {
                best = (rate, window);
            }
        }
        Ok(best.1)
    }

    async fn publish_raw(
        &self,
        stage: &Stage,
        window: usize,
        rows: usize,
        round: &mut Round,
    ) -> anyhow::Result<f64> {
        let cpu = Cpu::now(stage)?;
        let took = self.wire.send_all(&self.messages, rows, window).await?;
        let rate = rows as f64 / took.as_secs_f64();
        let used = cpu.used(stage)?;
        round.note(DRAIN, format!("raw, {rows} rows, window {window}: {rate:.0}/s; {used}"));
        let sent = self.wire.purge(QUEUE).await?;
        ensure!(sent as usize == rows, "{sent} raw messages of {rows} came");
        Ok(rate)
    }

    async fn drain_empty(
        &mut self,
        stage: &Stage,
        load: &Load,
        round: &mut Round,
    ) -> anyhow::Result<f64> {
        self.empty.clear().await?;
        measure(stage, &self.wire, &mut self.empty, load.fill(), (DRAIN, round)).await
    }

    async fn drain_kept(
        &mut self,
        stage: &Stage,
        load: &Load,
        round: &mut Round,
    ) -> anyhow::Result<f64> {
        let rate = measure(stage, &self.wire, &mut self.kept, load.fill(), (KEPT, round)).await?;
        self.kept.prune(load.rows).await?;
        let kept = self.kept.count("true").await?;
        round.note(KEPT, format!("{kept} rows kept; churn {:?} before the first", stage.churn));
        Ok(rate)
    }
}

/// One drain, measured, and what came of it checked.
async fn measure(
    stage: &Stage,
    wire: &Wire,
    backlog: &mut Backlog,
    fill: Fill,
    (id, round): (&'static str, &mut Round),
) -> anyhow::Result<f64> {
    let order = backlog.fill(fill).await?;
    backlog.settle().await?;
    let size = backlog.mebibytes().await?;
    let cpu = Cpu::now(stage)?;
    let rate = backlog.drain().await?;
    let used = cpu.used(stage)?;
    round.note(id, format!("relay: {rate:.0}/s; {used}; outbox {size} MiB before"));
    check(wire, order).await?;
    Ok(rate)
}

async fn check(wire: &Wire, mut order: Order) -> anyhow::Result<()> {
    let rows = order.rows();
    wire.take(QUEUE, rows, Ack::Every(1_000), &mut |delivery| order.see(delivery)).await?;
    order.is_whole()?;
    let more = wire.purge(QUEUE).await?;
    ensure!(more == 0, "{more} messages came twice");
    Ok(())
}
