//! From a batch of deliveries to what becomes of each: handled together, and taken apart where that
//! fails, so that only the guilty one is retried or parked.

use std::sync::Arc;
use std::time::Duration;

use metrics::counter;
use opentelemetry::Context;

use crate::chunk::{Desk, Outcome, about};
use crate::failure::Trouble;
use crate::intake::{Accepted, Intake};
use crate::pool::Pool;
use crate::reason::Code;
use crate::retry::{LADDER, rung_after};
use crate::topology::Topology;
use crate::trace;
use crate::transport::{Delivery, Failure, Settlement};

/// Tries in place for what a race lost, each in a fresh transaction.
const QUICK_TRIES: u32 = 3;

pub(crate) type Settled = Vec<(Delivery, Settlement)>;
pub(crate) type Batch = Vec<(Delivery, Accepted)>;

/// Handles what may be handled.
pub(crate) struct Clerk {
    pub(crate) pool: Pool,
    pub(crate) topology: Topology,
    pub(crate) intake: Arc<Intake>,
    /// The longest that one handler may take.
    pub(crate) deadline: Duration,
}

/// What came of a batch.
#[derive(Default)]
pub(crate) struct Worked {
    pub(crate) settled: Settled,
    /// Those that could not be handled, for no fault of theirs; the first one has shown it.
    pub(crate) waiting: Vec<Delivery>,
    /// Why they could not.
    pub(crate) away: Option<Away>,
    /// The spans of the copies that the settlements need; they end when these have left.
    pub(crate) copies: Vec<Context>,
}

/// What handlers need and do not have: the database, or what one of them has said.
#[derive(Debug, thiserror::Error)]
#[error("{what}: {why}")]
pub(crate) struct Away {
    what: &'static str,
    why: String,
}

impl Clerk {
    /// Those that may be handled, and those that are parked for what they are.
    pub(crate) fn judge(&self, chunk: Vec<Delivery>) -> (Batch, Settled) {
        let verdicts = self.intake.judge(&chunk, self.pool.clock().now());
        let (mut accepted, mut refused) = (Batch::new(), Settled::new());
        for (delivery, verdict) in chunk.into_iter().zip(verdicts) {
            match verdict {
                Ok(one) => accepted.push((delivery, one)),
                Err(fault) => {
                    let settlement = self.park(&delivery, fault.code, fault.why);
                    refused.push((delivery, settlement));
                }
            }
        }
        (accepted, refused)
    }

    /// Handles a batch, together if that goes.
    pub(crate) async fn handle(&self, batch: Batch) -> Worked {
        if batch.len() > 1 {
            match self.handle_together(&batch).await {
                Ok(Some(outcomes)) => return self.all_settled(batch, outcomes),
                Ok(None) => {}
                Err(away) => {
                    let waiting = batch.into_iter().map(|(delivery, _)| delivery).collect();
                    return Worked { waiting, away: Some(away), ..Worked::default() };
                }
            }
        }
        let mut worked = Worked::default();
        let mut batch = batch.into_iter();
        for (delivery, one) in batch.by_ref() {
            match self.handle_alone(&delivery, &one).await {
                Ok((settlement, process)) => {
                    let copy = process.and_then(|process| self.copy(&process, &one, &settlement));
                    worked.copies.extend(copy);
                    worked.settled.push((delivery, settlement));
                }
                Err(away) => {
                    worked.waiting.push(delivery);
                    worked.away = Some(away);
                    break;
                }
            }
        }
        worked.waiting.extend(batch.map(|(delivery, _)| delivery));
        worked
    }

    fn all_settled(&self, batch: Batch, outcomes: Vec<Outcome>) -> Worked {
        let all = batch.into_iter().zip(outcomes).map(|((delivery, _), outcome)| {
            let settlement = self.conclude(&delivery, outcome);
            (delivery, settlement)
        });
        Worked { settled: all.collect(), ..Worked::default() }
    }

    /// None when the chunk has to be taken apart.
    async fn handle_together(&self, batch: &Batch) -> Result<Option<Vec<Outcome>>, Away> {
        let together: Vec<&Accepted> = batch.iter().map(|(_, one)| one).collect();
        let mut tries = 1;
        loop {
            let trouble = match self.desk_handles(&together).await {
                (Ok(outcomes), _) => return Ok(Some(outcomes)),
                (Err(trouble), _) => trouble,
            };
            match self.look_for_what_is_away(trouble).await? {
                // A lost race is nobody's fault: the other one is done now.
                Trouble::Blip(_) if tries < 2 => tries += 1,
                trouble => {
                    tracing::debug!(why = trouble.why(), "chunk failed; taking it apart");
                    counter!("chunks_taken_apart_total").increment(1);
                    return Ok(None);
                }
            }
        }
    }

    /// What becomes of it, and the span of its last try.
    async fn handle_alone(
        &self,
        delivery: &Delivery,
        accepted: &Accepted,
    ) -> Result<(Settlement, Option<Context>), Away> {
        let mut tries = 1;
        loop {
            let (done, mut spans) = self.desk_handles(&[accepted]).await;
            let process = spans.pop();
            let trouble = match done {
                Ok(outcomes) => {
                    let outcome = outcomes.first().copied().unwrap_or(Outcome::Duplicate);
                    return Ok((self.conclude(delivery, outcome), process));
                }
                Err(trouble) => trouble,
            };
            let settlement = match self.look_for_what_is_away(trouble).await? {
                Trouble::Unavailable(why) => return Err(Away { what: "dependency", why }),
                Trouble::Away(_) | Trouble::Blip(_) if tries < QUICK_TRIES => {
                    tries += 1;
                    continue;
                }
                Trouble::Permanent(code, why) => self.park(delivery, code, why),
                Trouble::Transient(code, why) => self.later(delivery, code, why),
                Trouble::Away(why)
                | Trouble::Blip(why)
                | Trouble::Crowded(why)
                | Trouble::Overdue(why) => self.later(delivery, Code::RetriesExhausted, why),
            };
            return Ok((settlement, process));
        }
    }

    /// The span of the copy that a settlement needs, if it needs one.
    fn copy(&self, process: &Context, one: &Accepted, to: &Settlement) -> Option<Context> {
        let destination = match to {
            Settlement::Done => return None,
            Settlement::Later(rung, _) => self.topology.retry_queue(*rung),
            Settlement::Park(_) => self.topology.dead_letter_queue(),
        };
        let envelope = &one.message.envelope;
        let about = about(envelope, &destination);
        Some(trace::copy(self.pool.tracer(), process, envelope, about))
    }

    /// Gives the trouble back if the database has no share in it. One that answers may be back; or a
    /// message ends every session that it is handled in, or takes too long, which is that message's
    /// fault alone.
    async fn look_for_what_is_away(&self, trouble: Trouble) -> Result<Trouble, Away> {
        let away = match &trouble {
            Trouble::Crowded(_) => true,
            Trouble::Away(_) | Trouble::Overdue(_) => self.check_database().await.is_err(),
            _ => false,
        };
        if away { Err(Away::database(trouble.why().to_owned())) } else { Ok(trouble) }
    }

    /// Whether the database answers.
    pub(crate) async fn check_database(&self) -> Result<(), Away> {
        crate::ping(self.pool.clone()).await.map_err(Away::database)
    }

    async fn desk_handles(
        &self,
        batch: &[&Accepted],
    ) -> (Result<Vec<Outcome>, Trouble>, Vec<Context>) {
        let queue = self.topology.work_queue();
        let desk = Desk {
            pool: &self.pool,
            handlers: &self.intake.handlers,
            consumer: &self.topology.service,
            queue: &queue,
            deadline: self.deadline,
        };
        desk.handle(batch).await
    }

    fn conclude(&self, delivery: &Delivery, outcome: Outcome) -> Settlement {
        let name = match outcome {
            Outcome::Handled => "handled",
            Outcome::Superseded => "superseded",
            Outcome::Duplicate => {
                counter!("inbox_duplicates_total").increment(1);
                "duplicate"
            }
            Outcome::Collision => {
                let why = "another message was handled under this id";
                return self.park(delivery, Code::IdCollision, why.into());
            }
        };
        counter!("messages_total", "outcome" => name).increment(1);
        Settlement::Done
    }

    fn later(&self, delivery: &Delivery, code: Code, why: String) -> Settlement {
        let failure = self.failure(delivery, code, why);
        let Some(rung) = rung_after(failure.attempts) else {
            return parked(failure);
        };
        tracing::warn!(
            message_id = delivery.message_id,
            attempts = failure.attempts,
            rung = rung.name,
            why = failure.reason,
            "message will be tried again"
        );
        counter!("messages_total", "outcome" => "retried").increment(1);
        counter!("retries_total", "rung" => rung.name).increment(1);
        Settlement::Later(rung, failure)
    }

    fn park(&self, delivery: &Delivery, code: Code, why: String) -> Settlement {
        parked(self.failure(delivery, code, why))
    }

    fn failure(&self, delivery: &Delivery, code: Code, reason: String) -> Failure {
        Failure {
            code,
            reason,
            attempts: delivery.attempts.saturating_add(1),
            first_failed_at: delivery.first_failed_at.unwrap_or_else(|| self.pool.clock().now()),
        }
    }
}

impl Away {
    fn database(why: String) -> Self {
        Self { what: "database", why }
    }
}

fn parked(failure: Failure) -> Settlement {
    tracing::error!(
        code = failure.code.as_str(),
        attempts = failure.attempts,
        why = failure.reason,
        "message is parked"
    );
    counter!("messages_total", "outcome" => "parked").increment(1);
    counter!("parked_total", "code" => failure.code.as_str()).increment(1);
    Settlement::Park(failure)
}

/// The metrics of consumers, by the values of their labels.
pub(crate) fn name_metrics() {
    counter!("inbox_duplicates_total").increment(0);
    counter!("chunks_taken_apart_total").increment(0);
    counter!("clock_skew_total").increment(0);
    for outcome in ["handled", "superseded", "duplicate", "retried", "parked"] {
        counter!("messages_total", "outcome" => outcome).increment(0);
    }
    for rung in LADDER {
        counter!("retries_total", "rung" => rung.name).increment(0);
    }
    for code in Code::OURS {
        counter!("parked_total", "code" => code.as_str()).increment(0);
    }
}
