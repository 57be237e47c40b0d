//! The parker: takes parked messages from the dead-letter queue into a table, where they can be
//! listed, understood and replayed, for as long as it takes.

use std::sync::Arc;
use std::time::Duration;

use metrics::gauge;
use serde_json::Value;
use sha2::{Digest, Sha256};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::pool::Pool;
use crate::reason::Code;
use crate::retry::Backoff;
use crate::step::{Progress, Step};
use crate::topology::Topology;
use crate::transport::{Delivery, Settlement, Subscription, Transport, TransportError};

const CHUNK: usize = 16;

/// Moves one service's dead letters from queue to table.
pub struct Parker {
    pool: Pool,
    transport: Arc<dyn Transport>,
    topology: Topology,
    stop: CancellationToken,
    subscription: Option<Box<dyn Subscription>>,
    /// Letters that the database was not there for. They stay unsettled: handing them back would
    /// count as failed deliveries, and a broker drops what failed too often.
    waiting: Vec<Delivery>,
    away: Backoff,
}

impl Parker {
    pub(crate) fn new(
        pool: Pool,
        transport: Arc<dyn Transport>,
        topology: Topology,
        stop: CancellationToken,
    ) -> Self {
        let away = Backoff::new(Duration::from_millis(100), Duration::from_secs(2));
        Self { pool, transport, topology, stop, subscription: None, waiting: Vec::new(), away }
    }

    async fn advance(&mut self) -> Result<Progress, TransportError> {
        if self.subscription.is_none() {
            self.waiting.clear();
            self.subscription = Some(self.transport.parked(&self.topology).await?);
            self.count().await;
        }
        let Some(subscription) = self.subscription.as_mut() else { return Ok(Progress::More) };
        if self.waiting.is_empty() {
            self.waiting = tokio::select! {
                () = self.stop.cancelled() => return Ok(Progress::More),
                chunk = subscription.next(CHUNK) => chunk?,
            };
        }
        for letter in &self.waiting {
            if let Err(error) = store(&self.pool, &self.topology, letter).await {
                tracing::debug!(%error, "parker waits for the database");
                return Ok(Progress::Idle(self.away.next(self.pool.clock())));
            }
        }
        let stored = self.waiting.drain(..).map(|letter| (letter, Settlement::Done)).collect();
        subscription.settle(stored).await?;
        self.away.reset();
        self.count().await;
        Ok(Progress::More)
    }

    async fn count(&self) {
        let parked = sqlx::query_scalar!(
            r#"select count(*) as "n!" from messaging.dead_letter where state = 'parked'"#
        )
        .fetch_one(self.pool.pg())
        .await;
        if let Ok(parked) = parked {
            gauge!("dead_letters").set(parked as f64);
        }
    }
}

/// Stores one dead letter. The same one again changes nothing, unless somebody has decided over it
/// meanwhile: then it has failed once more.
async fn store(pool: &Pool, topology: &Topology, letter: &Delivery) -> Result<(), sqlx::Error> {
    let namespace = pool.identity().namespace();
    let header = |what: &str| letter.headers.get(&format!("x-{namespace}-{what}"));
    // Claimed, not proven: what could not be verified still needs a name to be found by.
    let claimed: Option<Value> = serde_json::from_slice(&letter.body).ok();
    let claimed_source = claimed.as_ref().and_then(|c| c.get("source")).and_then(Value::as_str);
    let event_id = letter.message_id.as_deref().and_then(|id| Uuid::parse_str(id).ok());
    // Our own copies carry no note of the broker's. With one, or without a code of ours, it was the
    // broker that gave up on it, whatever it had failed with before.
    let ours = !letter.headers.contains_key("x-first-death-reason");
    let told = |what: &str| header(what).filter(|_| ours);
    let queue = told("origin-queue").map_or_else(|| topology.work_queue(), |q| printable(q));
    let code = told("code").map_or(Code::DeliveryLimit.as_str(), String::as_str);
    let reason = told("reason").map_or("the broker's delivery limit was reached", String::as_str);
    let sha256: [u8; 32] = Sha256::digest(&letter.body).into();
    sqlx::query!(
        "insert into messaging.dead_letter
            (id, queue, source, event_id, type, body_sha256, body, headers, reason_code, reason,
             attempts, first_failed_at, parked_at)
        values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)
        on conflict (queue, source, event_id, body_sha256) do update
            set state = 'parked', headers = excluded.headers,
                reason_code = excluded.reason_code, reason = excluded.reason,
                attempts = excluded.attempts, first_failed_at = excluded.first_failed_at,
                parked_at = excluded.parked_at
            where dead_letter.state <> 'parked'",
        pool.new_id(),
        queue,
        claimed_source.map(printable),
        event_id,
        letter.type_name.as_deref().map(printable),
        &sha256[..],
        letter.body.as_slice(),
        serde_json::json!(
            letter
                .headers
                .iter()
                .map(|(k, v)| (printable(k), printable(v)))
                .collect::<std::collections::BTreeMap<_, _>>()
        ),
        printable(code),
        printable(reason),
        i32::try_from(letter.attempts).unwrap_or(i32::MAX),
        letter.first_failed_at,
        pool.clock().now(),
    )
    .execute(pool.pg())
    .await?;
    Ok(())
}

/// Postgres stores any text but U+0000, and a poison message may well contain one.
fn printable(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}

impl Step for Parker {
    async fn step(&mut self) -> Progress {
        match self.advance().await {
            Ok(progress) => progress,
            Err(error) => {
                tracing::debug!(%error, "parker waits for the broker");
                if let Some(spent) = self.subscription.take() {
                    spent.close().await;
                }
                Progress::Idle(self.away.next(self.pool.clock()))
            }
        }
    }

    async fn close(&mut self) {
        if let Some(subscription) = self.subscription.take() {
            subscription.close().await;
        }
    }
}
