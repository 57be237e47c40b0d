//! The consumer: takes deliveries from the broker to the handlers.
//!
//! Whatever is ready, up to a chunk, is verified together and handled in one transaction; the
//! acknowledgements come after its commit. When a chunk fails it is taken apart, so that only the
//! guilty message is retried or parked and the innocent ones go through.

use std::sync::Arc;
use std::time::Duration;

use metrics::counter;
use tokio_util::sync::CancellationToken;

use crate::chunk::{Desk, Outcome};
use crate::crash::{self, Point};
use crate::failure::Trouble;
use crate::intake::{Accepted, Intake};
use crate::pool::Pool;
use crate::reason::Code;
use crate::retry::{Backoff, LADDER, rung_after};
use crate::step::{Progress, Step};
use crate::topology::Topology;
use crate::transport::{Delivery, Failure, Settlement, Subscription, Transport, TransportError};
use crate::vitals::{Part, Vitals};

/// Tries in place for what a race lost, each in a fresh transaction.
const QUICK_TRIES: u32 = 3;

/// How often a settlement that has no place to go is tried again.
const OWED_AGAIN: Duration = Duration::from_secs(1);

/// How a consumer works.
#[derive(Debug, Clone)]
pub struct ConsumerSettings {
    /// Most unsettled deliveries at a time; bounds memory, and what a crash redelivers.
    pub prefetch: u16,
    /// Most deliveries per transaction. 1 switches chunks off.
    pub chunk: usize,
    /// The longest that one handler may take. Keep it under half the broker's consumer time-out.
    pub deadline: Duration,
}

impl Default for ConsumerSettings {
    fn default() -> Self {
        Self { prefetch: 128, chunk: 64, deadline: Duration::from_secs(30) }
    }
}

/// Consumes one service's work queue.
pub struct Consumer {
    pool: Pool,
    transport: Arc<dyn Transport>,
    topology: Topology,
    intake: Arc<Intake>,
    settings: ConsumerSettings,
    stop: CancellationToken,
    vitals: Vitals,
    subscription: Option<Box<dyn Subscription>>,
    /// Deliveries whose transaction could not even begin.
    waiting: Vec<Delivery>,
    /// Whether some settlements have no place to go.
    owing: bool,
    broker_away: Backoff,
    database_away: Backoff,
}

type Settled = Vec<(Delivery, Settlement)>;
type Batch = Vec<(Delivery, Accepted)>;

impl Consumer {
    pub(crate) fn new(
        pool: Pool,
        transport: Arc<dyn Transport>,
        topology: Topology,
        intake: Arc<Intake>,
        settings: ConsumerSettings,
        stop: CancellationToken,
        vitals: Vitals,
    ) -> Self {
        let away = Backoff::new(Duration::from_millis(50), Duration::from_secs(1));
        Self {
            pool,
            transport,
            topology,
            intake,
            settings,
            stop,
            vitals,
            subscription: None,
            waiting: Vec::new(),
            owing: false,
            broker_away: away.clone(),
            database_away: away,
        }
    }

    async fn subscribed(&mut self) -> Result<&mut Box<dyn Subscription>, TransportError> {
        if self.subscription.is_none() {
            // What an ended subscription delivered comes again; settling it here would be in vain.
            self.waiting.clear();
            self.owing = false;
            let prefetch = self.settings.prefetch;
            let subscription = self.transport.subscribe(&self.topology, prefetch).await?;
            self.subscription = Some(subscription);
            self.vitals.well(Part::Consumer);
        }
        self.subscription
            .as_mut()
            .ok_or_else(|| TransportError::Away("subscription is closed".into()))
    }

    async fn next(&mut self) -> Result<Vec<Delivery>, TransportError> {
        let (max, stop, owing) = (self.settings.chunk, self.stop.clone(), self.owing);
        let subscription = self.subscribed().await?;
        tokio::select! {
            () = stop.cancelled() => Ok(Vec::new()),
            () = tokio::time::sleep(OWED_AGAIN), if owing => Ok(Vec::new()),
            chunk = subscription.next(max) => chunk,
        }
    }

    async fn advance(&mut self) -> Result<Progress, TransportError> {
        self.subscribed().await?;
        let chunk = if self.waiting.is_empty() {
            self.next().await?
        } else {
            std::mem::take(&mut self.waiting)
        };
        crash::point(Point::C7);
        let (accepted, refused) = self.judge(chunk);
        crash::point(Point::C8);
        // What is wrong in itself needs no database.
        if !refused.is_empty() || self.owing {
            self.settle(refused).await?;
        }
        for batch in self.batches(accepted) {
            if !self.waiting.is_empty() {
                self.waiting.extend(batch.into_iter().map(|(delivery, _)| delivery));
                continue;
            }
            #[cfg(feature = "crash-points")]
            if crash::has(crash::Bug::AckBeforeCommit) {
                let early = batch.iter().map(|(one, _)| (one.clone(), Settlement::Done));
                self.settle(early.collect()).await?;
            }
            match self.handle(&batch).await {
                Ok(settled) => {
                    crash::point(Point::C13);
                    self.settle(settled).await?;
                    crash::point(Point::C14);
                }
                Err(why) => {
                    // The messages are innocent: they wait, unsettled, and prefetch bounds how many.
                    self.vitals.ill(Part::Consumer, format!("database: {why}"));
                    self.waiting.extend(batch.into_iter().map(|(delivery, _)| delivery));
                }
            }
        }
        self.broker_away.reset();
        if self.waiting.is_empty() {
            self.database_away.reset();
            return Ok(Progress::More);
        }
        Ok(Progress::Idle(self.database_away.next(self.pool.clock())))
    }

    /// Those that may be handled, and those that are parked for what they are.
    fn judge(&self, chunk: Vec<Delivery>) -> (Batch, Settled) {
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

    /// What comes for the first time goes together. What came before goes alone and is settled before
    /// the next: one of them may have ended the process that had it, and would take the others along
    /// again and again, until the broker gave up on all. In a drawn order, so that those behind the
    /// guilty one get their turn.
    fn batches(&self, accepted: Batch) -> Vec<Batch> {
        let (again, first): (Batch, Batch) =
            accepted.into_iter().partition(|(delivery, _)| delivery.redelivered);
        let mut again: Vec<(f64, Batch)> =
            again.into_iter().map(|one| (self.pool.clock().unit(), vec![one])).collect();
        again.sort_by(|one, other| one.0.total_cmp(&other.0));
        let mut batches = vec![first];
        batches.extend(again.into_iter().map(|(_, alone)| alone));
        batches.retain(|batch| !batch.is_empty());
        batches
    }

    /// Messages without a place to go are kept, and those behind them pass.
    async fn settle(&mut self, settled: Settled) -> Result<(), TransportError> {
        let Some(subscription) = self.subscription.as_mut() else { return Ok(()) };
        match subscription.settle(settled).await {
            Ok(()) => {
                self.owing = false;
                self.vitals.well(Part::Consumer);
            }
            Err(TransportError::Topology(why)) => {
                self.owing = true;
                self.vitals.ill(Part::Consumer, why);
            }
            Err(away) => return Err(away),
        }
        Ok(())
    }

    /// Handles a batch. The error says why there is no database.
    async fn handle(&self, batch: &Batch) -> Result<Settled, String> {
        if batch.len() > 1
            && let Some(outcomes) = self.handle_together(batch).await?
        {
            let all = batch.iter().zip(outcomes);
            let settled = all.map(|((delivery, _), outcome)| {
                (delivery.clone(), self.conclude(delivery, outcome))
            });
            return Ok(settled.collect());
        }
        let mut settled = Settled::with_capacity(batch.len());
        for (delivery, one) in batch {
            settled.push((delivery.clone(), self.handle_alone(delivery, one).await?));
        }
        Ok(settled)
    }

    /// None when the chunk has to be taken apart.
    async fn handle_together(&self, batch: &Batch) -> Result<Option<Vec<Outcome>>, String> {
        let together: Vec<&Accepted> = batch.iter().map(|(_, one)| one).collect();
        let mut tries = 1;
        loop {
            match self.desk_handles(&together).await {
                Ok(outcomes) => return Ok(Some(outcomes)),
                Err(Trouble::Crowded(why)) => return Err(why),
                Err(Trouble::Away(why)) if self.database_is_away().await => return Err(why),
                // A lost race is nobody's fault: the other one is done now.
                Err(Trouble::Blip(_)) if tries < 2 => tries += 1,
                Err(trouble) => {
                    tracing::debug!(why = trouble.why(), "chunk failed; taking it apart");
                    counter!("chunks_taken_apart_total").increment(1);
                    return Ok(None);
                }
            }
        }
    }

    async fn handle_alone(
        &self,
        delivery: &Delivery,
        accepted: &Accepted,
    ) -> Result<Settlement, String> {
        let mut tries = 1;
        loop {
            match self.desk_handles(&[accepted]).await {
                Ok(outcomes) => {
                    let outcome = outcomes.first().copied().unwrap_or(Outcome::Duplicate);
                    return Ok(self.conclude(delivery, outcome));
                }
                Err(Trouble::Crowded(why)) => return Err(why),
                Err(Trouble::Away(why)) if self.database_is_away().await => return Err(why),
                Err(Trouble::Away(_) | Trouble::Blip(_)) if tries < QUICK_TRIES => tries += 1,
                Err(Trouble::Away(why) | Trouble::Blip(why)) => {
                    return Ok(self.later(delivery, Code::RetriesExhausted, why));
                }
                Err(Trouble::Transient(code, why)) => return Ok(self.later(delivery, code, why)),
                Err(Trouble::Permanent(code, why)) => return Ok(self.park(delivery, code, why)),
            }
        }
    }

    /// False when it answers all the same: it may be back, or a message ends every session that it
    /// is handled in, which is that message's fault alone.
    async fn database_is_away(&self) -> bool {
        crate::ping(self.pool.clone()).await.is_err()
    }

    async fn desk_handles(&self, batch: &[&Accepted]) -> Result<Vec<Outcome>, Trouble> {
        let queue = self.topology.work_queue();
        let desk = Desk {
            pool: &self.pool,
            handlers: &self.intake.handlers,
            consumer: &self.topology.service,
            queue: &queue,
            deadline: self.settings.deadline,
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

impl Step for Consumer {
    async fn step(&mut self) -> Progress {
        match self.advance().await {
            Ok(progress) => progress,
            Err(error) => {
                self.vitals.ill(Part::Consumer, error.to_string());
                if let Some(spent) = self.subscription.take() {
                    spent.close().await;
                }
                Progress::Idle(self.broker_away.next(self.pool.clock()))
            }
        }
    }

    async fn close(&mut self) {
        if let Some(subscription) = self.subscription.take() {
            subscription.close().await;
        }
    }
}
