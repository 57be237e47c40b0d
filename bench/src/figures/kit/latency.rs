//! `commit_to_consumed`: from a commit in one service to the handler in another.

use std::time::Duration;

use async_trait::async_trait;
use contracts::order::OrderPlaced;
use envelope::Event as _;

use super::pair::{ORDERS, PREFETCH, Pair};
use crate::cpu::Cpu;
use crate::figure::{Figure, Goal, Run, quantile};
use crate::figures::{Round, Subject, raw_turns};
use crate::raw::Wire;
use crate::raw::hop::{Hop, hops};
use crate::raw::publish::Message;
use crate::stage::Stage;

const P50: &str = "commit_to_consumed_p50";
const P99: &str = "commit_to_consumed_p99";
const WHAT: &str = "commit in one service to the handler in another, 50/s";
const BESIDE: &str = "raw publish to delivery on another connection, with confirm, 50/s";
const FIGURES: [Figure; 2] = [
    Figure {
        id: P50,
        what: WHAT,
        unit: "ms",
        beside: BESIDE,
        goals: &[Goal::TimesRaw(1.5), Goal::AtMost(2.0)],
    },
    Figure { id: P99, what: WHAT, unit: "ms", beside: BESIDE, goals: &[Goal::AtMost(6.0)] },
];
const BEAT: Duration = Duration::from_millis(20);
/// Sent before anything counts.
const WARM_UP: usize = 50;
const RAW: &str = "raw";
const RAW_TYPE: &str = "order.raw.v1";

/// Both services, made by the first round.
#[derive(Default)]
pub(crate) struct Latency(Option<Hall>);

struct Hall {
    pair: Pair,
    /// The other end of a raw hop.
    to: Wire,
    messages: Vec<Message>,
}

#[async_trait(?Send)]
impl Subject for Latency {
    fn figures(&self) -> &'static [Figure] {
        &FIGURES
    }

    async fn round(&mut self, stage: &Stage, number: usize) -> anyhow::Result<Round> {
        let hall = match self.0.take() {
            Some(hall) => hall,
            None => Hall::new(stage).await?,
        };
        let count = if stage.quick { 200 } else { 350 };
        let (mut raw, mut kit) = (Vec::new(), Vec::new());
        let mut round = Round::default();
        for raw_now in raw_turns(number) {
            if raw_now {
                raw = hall.raw(count, &mut round).await?;
            } else {
                kit = hall.kit(stage, count, &mut round).await?;
            }
        }
        for share in [0.5, 0.99] {
            round.runs.push(Run { value: quantile(&kit, share), raw: Some(quantile(&raw, share)) });
        }
        round.times = vec![(P50, "commit to handler", kit), (P50, "raw hop", raw)];
        self.0 = Some(hall);
        Ok(round)
    }
}

impl Hall {
    async fn new(stage: &Stage) -> anyhow::Result<Self> {
        let pair = Pair::new(stage).await?;
        let to = Wire::connect(pair.vhost.amqp_url()).await?;
        to.queue(RAW, &[RAW_TYPE]).await?;
        to.prefetch(PREFETCH).await?;
        pair.place_all(WARM_UP).await?;
        pair.order.drain().await?;
        let mut messages = pair.wire.take_messages(ORDERS, WARM_UP).await?;
        for message in &mut messages {
            debug_assert_eq!(message.routing_key, OrderPlaced::TYPE);
            message.routing_key = RAW_TYPE.to_owned();
        }
        Ok(Self { pair, to, messages })
    }

    /// Sorted times of so many hops, in milliseconds.
    async fn raw(&self, count: usize, round: &mut Round) -> anyhow::Result<Vec<f64>> {
        let load = (WARM_UP + count, BEAT);
        let all = hops(&self.pair.wire, &self.to, RAW, &self.messages, load).await?;
        let counted = || all.iter().skip(WARM_UP);
        let confirm = sorted(counted().map(|hop: &Hop| hop.to_confirm).collect());
        let (p50, p99) = (quantile(&confirm, 0.5), quantile(&confirm, 0.99));
        round.note(P50, format!("raw confirm: p50 {p50:.2} ms, p99 {p99:.2} ms"));
        Ok(sorted(counted().map(|hop| hop.to_delivery).collect()))
    }

    async fn kit(
        &self,
        stage: &Stage,
        count: usize,
        round: &mut Round,
    ) -> anyhow::Result<Vec<f64>> {
        let pair = &self.pair;
        pair.clear().await?;
        let (publishing, consuming) = (pair.order.run(), pair.inventory.run());
        let mut beats = tokio::time::interval(BEAT);
        let (mut committed, mut cpu) = (Vec::new(), Cpu::now(stage)?);
        for n in 0..WARM_UP + count {
            if n == WARM_UP {
                pair.arrivals.wait_for(WARM_UP).await?;
                beats.reset();
                (committed, cpu) = (Vec::new(), Cpu::now(stage)?);
            }
            beats.tick().await;
            committed.push(pair.place().await?);
        }
        pair.arrivals.wait_for(WARM_UP + count).await?;
        round.note(P50, format!("at 50/s, {}", cpu.used(stage)?));
        publishing.stop().await?;
        consuming.stop().await?;
        let handled = pair.arrivals.take();
        let took = committed.iter().filter_map(|(order, at)| {
            // The handler may begin before the commit has said so here.
            Some(handled.get(order)?.saturating_duration_since(*at).as_secs_f64() * 1_000.0)
        });
        Ok(sorted(took.collect()))
    }
}

fn sorted(mut times: Vec<f64>) -> Vec<f64> {
    times.sort_by(f64::total_cmp);
    times
}
