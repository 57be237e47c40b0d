//! `poison_p99`: what bad messages cost the good ones among them.

use std::time::Duration;

use anyhow::ensure;
use async_trait::async_trait;
use envelope::Envelope;
use tokio::time::Instant;

use super::events::placed;
use super::pair::{NEVER, NOT_YET, ORDERS, Pair};
use super::service::{identity, signer};
use crate::figure::{Figure, Goal, Run, quantile};
use crate::figures::{Round, Subject, raw_turns};
use crate::raw::bad::{Signers, one_of_each, signed};
use crate::raw::publish::{Message, confirmed};
use crate::stage::Stage;

const P99: &str = "poison_p99";
const FIGURES: [Figure; 1] = [Figure {
    id: P99,
    what: "commit to handler of good messages, 100/s, p99, with 20/s poison among them",
    unit: "ms",
    beside: "the same without the poison",
    goals: &[Goal::TimesRaw(1.1)],
}];
const BEAT: Duration = Duration::from_millis(10);
/// Good messages for one that is not.
const GOOD: usize = 5;
/// Good messages in a row with poison or without: short, so that both meet the same weather.
const SLICE: usize = 200;
const PARKED_WITHIN: Duration = Duration::from_secs(30);

/// Both services, made by the first round.
#[derive(Default)]
pub(crate) struct Poison(Option<Pair>);

#[async_trait(?Send)]
impl Subject for Poison {
    fn figures(&self) -> &'static [Figure] {
        &FIGURES
    }

    async fn round(&mut self, stage: &Stage, number: usize) -> anyhow::Result<Round> {
        let pair = match self.0.take() {
            Some(pair) => pair,
            None => Pair::new(stage).await?,
        };
        pair.clear().await?;
        let (publishing, consuming) = (pair.order.run(), pair.inventory.run());
        let mut round = Round::default();
        slice(&pair, false).await?;
        let (mut without, mut with, mut bad) = (Vec::new(), Vec::new(), 0);
        for n in 0..if stage.quick { 2 } else { 3 } {
            for clean in raw_turns(number + n) {
                let (times, sent) = slice(&pair, !clean).await?;
                if clean { &mut without } else { &mut with }.extend(times);
                bad += sent;
            }
        }
        publishing.stop().await?;
        consuming.stop().await?;
        for times in [&mut without, &mut with] {
            times.sort_by(f64::total_cmp);
        }
        let (p50, raw_p50) = (quantile(&with, 0.5), quantile(&without, 0.5));
        round.note(P99, format!("{bad} parked; p50 {p50:.2} ms with, {raw_p50:.2} ms without"));
        let p99 = |times: &[f64]| quantile(times, 0.99);
        round.runs.push(Run { value: p99(&with), raw: Some(p99(&without)) });
        round.times = vec![(P99, "with poison", with), (P99, "without", without)];
        self.0 = Some(pair);
        Ok(round)
    }
}

/// The times of good messages, in milliseconds, and how many bad ones were parked.
async fn slice(pair: &Pair, poisoned: bool) -> anyhow::Result<(Vec<f64>, usize)> {
    let mut bad = if poisoned { poison(pair, SLICE / GOOD)? } else { Vec::new() }.into_iter();
    let parked_before = parked(pair).await?;
    let mut beats = tokio::time::interval(BEAT);
    let (mut committed, mut sent) = (Vec::with_capacity(SLICE), 0);
    for n in 0..SLICE {
        beats.tick().await;
        if n % GOOD == 0
            && let Some((message, is_parked)) = bad.next()
        {
            confirmed(pair.wire.send(&message).await?).await?;
            sent += usize::from(is_parked);
        }
        committed.push(pair.place().await?);
    }
    pair.arrivals.wait_for(SLICE).await?;
    let handled = pair.arrivals.take();
    let began = Instant::now();
    while parked(pair).await? - parked_before < i64::try_from(sent)? {
        ensure!(began.elapsed() < PARKED_WITHIN, "not all of {sent} bad messages were parked");
        tokio::time::sleep(BEAT).await;
    }
    let took = committed.iter().filter_map(|(order, at)| {
        Some(handled.get(order)?.saturating_duration_since(*at).as_secs_f64() * 1_000.0)
    });
    Ok((took.collect(), sent))
}

async fn parked(pair: &Pair) -> anyhow::Result<i64> {
    let letters = "select count(*) from messaging.dead_letter";
    Ok(sqlx::query_scalar(letters).fetch_one(&pair.inventory.pg).await?)
}

/// Bad messages of all kinds in turn, no two alike, and whether each is parked.
fn poison(pair: &Pair, count: usize) -> anyhow::Result<Vec<(Message, bool)>> {
    let (order, pool) = (identity("order"), &pair.order.pool);
    let signers =
        Signers { good: signer("order"), revoked: signer("old"), unknown: signer("nobody") };
    let wrapped = |payment: &str| -> anyhow::Result<Envelope> {
        let now = pool.clock().now();
        let mut event = placed(pool.new_id(), now)?;
        event.payment_method = payment.to_owned();
        Ok(Envelope::wrap(&order, &event, 1, pool.new_id(), now)?)
    };
    let mut all = Vec::with_capacity(count);
    while all.len() < count {
        let mut kinds = Vec::new();
        for message in one_of_each(ORDERS, &wrapped("tok_visa")?, &signers)? {
            kinds.push((message, true));
        }
        for (payment, is_parked) in [(NEVER, true), (NOT_YET, false)] {
            let envelope = wrapped(payment)?;
            let body = envelope.to_bytes()?;
            kinds.push((signed(ORDERS, &envelope, &signers.good, body), is_parked));
        }
        let turn = all.len() % kinds.len();
        all.push(kinds.swap_remove(turn));
    }
    Ok(all)
}
