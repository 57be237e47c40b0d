//! Placing the orders: at a rate, or with so many requests under way.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use envelope::Clock;
use futures_util::stream::{self, BoxStream, StreamExt as _};
use indicatif::ProgressBar;
use tokio::sync::mpsc::UnboundedSender;
use tokio::time::MissedTickBehavior;
use uuid::Uuid;

use super::payment_mix::PaymentMix;
use super::plan::Order;
use crate::commands::client::{CallError, NewOrder, OrderApi, Patience};

/// The most requests under way at a rate; what is due beyond them starts late, and says so by its
/// time.
const MOST_UNDER_WAY: usize = 512;
/// A timer may be that late by itself.
const TIMER_SLACK: Duration = Duration::from_millis(5);

/// How fast.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Pace {
    /// Orders per second, whatever the answers take.
    Rate(f64),
    /// Requests under way; the next is sent when one is answered.
    Concurrency(usize),
}

/// What became of all requests.
#[derive(Debug, Default)]
pub(super) struct Placements {
    /// Orders that were accepted.
    pub(super) accepted: Vec<Uuid>,
    /// From sending an order to its answer, repetitions included, in milliseconds.
    pub(super) answer_ms: Vec<f64>,
    /// Orders that were refused, by code.
    pub(super) refused: BTreeMap<String, u64>,
    /// Orders whose fate is unknown: nobody answered for as long as the patience lasted.
    pub(super) unanswered: u64,
    /// Orders that were not sent any more after that.
    pub(super) not_sent: u64,
    /// Requests that were repeated.
    pub(super) repetitions: u64,
    /// The last thing that went wrong, for people.
    pub(super) last_trouble: Option<String>,
    /// From the first request to the last answer.
    pub(super) took: Duration,
}

/// What a placing works with.
pub(super) struct Placer<'a> {
    /// Who takes the orders.
    pub(super) api: &'a OrderApi,
    /// Keys come from here.
    pub(super) clock: &'a Clock,
    /// How each is paid.
    pub(super) mix: &'a PaymentMix,
    /// How long an order is repeated.
    pub(super) patience: Duration,
    /// Told of every accepted order.
    pub(super) accepted: UnboundedSender<Uuid>,
}

struct Answer {
    outcome: Result<Uuid, CallError>,
    repetitions: u64,
    took: Duration,
}

impl Placer<'_> {
    /// Places all orders and notes in `placements` what became of each.
    pub(super) async fn place_all(
        self,
        orders: &[Order],
        pace: Pace,
        placements: &mut Placements,
        bar: &ProgressBar,
    ) {
        let begun = Instant::now();
        let gave_up = AtomicBool::new(false);
        let mut answers = starts(orders.len(), pace)
            .map(|(n, due)| self.place(n, &orders[n], due, &gave_up))
            .buffer_unordered(match pace {
                Pace::Rate(_) => MOST_UNDER_WAY,
                Pace::Concurrency(most) => most,
            });
        while let Some(answer) = answers.next().await {
            placements.note(answer);
            bar.inc(1);
        }
        placements.took = begun.elapsed();
    }

    /// Places one order; none when an earlier one has shown that nobody is there.
    async fn place(
        &self,
        n: usize,
        order: &Order,
        due: Instant,
        gave_up: &AtomicBool,
    ) -> Option<Answer> {
        if gave_up.load(Ordering::Relaxed) {
            return None;
        }
        let now = Instant::now();
        let begun = if now.duration_since(due) > TIMER_SLACK { due } else { now };
        let body = NewOrder {
            customer_id: order.customer.id,
            customer_email: order.customer.email.clone(),
            lines: order.lines.clone(),
            payment_method: self.mix.token(n).to_owned(),
        };
        // One key for all tries: whichever of them was accepted, it is one order.
        let key = self.clock.new_id().to_string();
        let patience = Patience::of(self.clock, self.patience);
        let (answer, repetitions) = patience.repeat(|| self.api.place(&key, &body)).await;
        let outcome = answer.map(|document| document.order_id);
        match &outcome {
            // The follower may have given up; the answer counts all the same.
            Ok(id) => drop(self.accepted.send(*id)),
            Err(CallError::Refused { .. }) => {}
            Err(_) => gave_up.store(true, Ordering::Relaxed),
        }
        Some(Answer { outcome, repetitions, took: begun.elapsed() })
    }
}

/// The numbers of the orders, each when it is to be sent, with the instant that it was due.
fn starts(count: usize, pace: Pace) -> BoxStream<'static, (usize, Instant)> {
    match pace {
        Pace::Concurrency(_) => stream::iter(0..count).map(|n| (n, Instant::now())).boxed(),
        Pace::Rate(rate) => {
            let mut ticks = tokio::time::interval(Duration::from_secs_f64(1.0 / rate));
            // What a slow moment held up is due at once after it, or the rate would be less.
            ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
            stream::unfold((ticks, 0), move |(mut ticks, n)| async move {
                if n == count {
                    return None;
                }
                let due = ticks.tick().await.into_std();
                Some(((n, due), (ticks, n + 1)))
            })
            .boxed()
        }
    }
}

impl Placements {
    fn note(&mut self, answer: Option<Answer>) {
        let Some(Answer { outcome, repetitions, took }) = answer else {
            self.not_sent += 1;
            return;
        };
        self.repetitions += repetitions;
        match outcome {
            Ok(id) => {
                self.accepted.push(id);
                self.answer_ms.push(took.as_secs_f64() * 1e3);
            }
            Err(error) => {
                match &error {
                    CallError::Refused { problem, .. } => {
                        *self.refused.entry(problem.reason().to_owned()).or_default() += 1;
                    }
                    _ => self.unanswered += 1,
                }
                self.last_trouble = Some(error.to_string());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::commands::client::Problem;

    #[tokio::test]
    async fn a_rate_spreads_the_orders_evenly() {
        let starts: Vec<_> = starts(5, Pace::Rate(200.0)).collect().await;
        // When each was due, not when the timer came round to it.
        let due: Vec<_> = starts
            .iter()
            .map(|(n, due)| (*n, due.duration_since(starts[0].1).as_millis()))
            .collect();
        assert_eq!(due, [(0, 0), (1, 5), (2, 10), (3, 15), (4, 20)]);
    }

    #[test]
    fn an_order_is_accepted_refused_unanswered_or_not_sent() {
        let mut placements = Placements::default();
        let mut note = |outcome, repetitions| {
            let took = Duration::from_millis(7);
            placements.note(Some(Answer { outcome, repetitions, took }));
        };
        let address = || "here".to_owned();
        let problem = Problem { code: "unknown_sku".into(), ..Problem::default() };
        note(Ok(Uuid::nil()), 2);
        note(Err(CallError::Refused { address: address(), problem }), 0);
        note(Err(CallError::Later { address: address(), reason: "gone".into() }), 3);
        placements.note(None);
        assert_eq!(placements.accepted, [Uuid::nil()]);
        assert_eq!(placements.answer_ms, [7.0]);
        assert_eq!(placements.refused["unknown_sku"], 1);
        assert_eq!((placements.unanswered, placements.not_sent), (1, 1));
        assert_eq!(placements.repetitions, 5);
    }
}
