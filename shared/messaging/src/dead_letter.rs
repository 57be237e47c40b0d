//! The parker: takes parked messages from the dead-letter queue into a table, where they can be
//! listed, understood and replayed, for as long as it takes.

mod claims;
mod jobs;
mod pace;
pub mod repair;
mod replayer;
mod waves;

use std::sync::Arc;
use std::time::Duration;

use metrics::gauge;
use sha2::{Digest, Sha256};
use sqlx::PgPool;
use sqlx::types::Json;
use tokio_util::sync::CancellationToken;

use self::claims::Claims;
pub(crate) use self::jobs::prune;
pub use self::replayer::Replayer;
pub(crate) use self::replayer::name_metrics;
use crate::failure::Trouble;
use crate::pool::Pool;
use crate::retry::Backoff;
use crate::step::{Progress, Step};
use crate::topology::Topology;
use crate::transport::{Delivery, Properties, Settlement, Subscription, Transport, TransportError};
use crate::vitals::{Part, Vitals};

const CHUNK: usize = 16;

/// Moves one service's dead letters from queue to table.
pub struct Parker {
    pool: Pool,
    transport: Arc<dyn Transport>,
    topology: Topology,
    stop: CancellationToken,
    vitals: Vitals,
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
        vitals: Vitals,
    ) -> Self {
        let away = Backoff::new(Duration::from_millis(100), Duration::from_secs(2));
        let waiting = Vec::new();
        Self { pool, transport, topology, stop, vitals, subscription: None, waiting, away }
    }

    async fn advance(&mut self) -> Result<Progress, TransportError> {
        if self.subscription.is_none() {
            self.waiting.clear();
            self.subscription = Some(self.transport.parked(&self.topology).await?);
            self.vitals.well(Part::Parker);
        }
        let Some(subscription) = self.subscription.as_mut() else { return Ok(Progress::More) };
        if self.waiting.is_empty() {
            self.waiting = tokio::select! {
                () = self.stop.cancelled() => return Ok(Progress::More),
                chunk = subscription.next(CHUNK) => chunk?,
            };
        }
        for letter in &self.waiting {
            if let Err(error) = keep(&self.pool, &self.topology, letter).await {
                let why = Trouble::from(error);
                self.vitals.ill(Part::Parker, format!("database: {}", why.why()));
                return Ok(Progress::Idle(self.away.next(self.pool.clock())));
            }
        }
        let stored = self.waiting.drain(..).map(|letter| (letter, Settlement::Done)).collect();
        subscription.settle(stored).await?;
        self.away.reset();
        self.vitals.well(Part::Parker);
        // What has appeared is told at once, and what goes by the gauges.
        count(self.pool.pg()).await;
        self.pool.replays().notify();
        Ok(Progress::More)
    }
}

/// Tells how many dead letters wait for a decision.
pub(crate) async fn count(pg: &PgPool) {
    let parked = sqlx::query_scalar!(
        r#"select count(*) as "n!" from messaging.dead_letter where state = 'parked'"#
    )
    .fetch_one(pg)
    .await;
    match parked {
        Ok(parked) => gauge!("dead_letters").set(parked as f64),
        Err(error) => tracing::debug!(%error, "dead letters are not counted"),
    }
}

/// Keeps one dead letter, without its claimed names when the database takes them not: a letter that
/// cannot be stored would hold up all those behind it for ever.
async fn keep(pool: &Pool, topology: &Topology, letter: &Delivery) -> Result<(), sqlx::Error> {
    let claims = Claims::of(letter, topology, pool.identity().namespace());
    match store(pool, letter, &claims).await {
        Err(error) if will_never_fit(&error) => {
            tracing::warn!(%error, "dead letter is stored without the names that it claims");
            store(pool, letter, &claims.without_names(topology)).await
        }
        done => done,
    }
}

/// Data exceptions, broken constraints, and what is too long for an index.
fn will_never_fit(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(|refusal| refusal.code());
    code.is_some_and(|code| ["22", "23", "54"].iter().any(|class| code.starts_with(class)))
}

/// Stores one dead letter. The same one again changes nothing, unless somebody has decided over it
/// meanwhile: then it has failed once more.
async fn store(pool: &Pool, letter: &Delivery, claims: &Claims) -> Result<(), sqlx::Error> {
    let sha256: [u8; 32] = Sha256::digest(&letter.body).into();
    sqlx::query!(
        "insert into messaging.dead_letter
            (id, queue, source, event_id, type, body_sha256, body, headers, reason_code, reason,
             attempts, first_failed_at, parked_at, properties, subject, aggversion, occurred_at)
        values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17)
        on conflict (queue, source, event_id, body_sha256) do update
            set state = 'parked', headers = excluded.headers, properties = excluded.properties,
                reason_code = excluded.reason_code, reason = excluded.reason,
                attempts = excluded.attempts, first_failed_at = excluded.first_failed_at,
                parked_at = excluded.parked_at, parkings = dead_letter.parkings + 1,
                decided_at = null
            where dead_letter.state <> 'parked'",
        pool.new_id(),
        &claims.queue,
        claims.source.as_deref(),
        claims.event_id,
        claims.event_type.as_deref(),
        &sha256[..],
        letter.body.as_slice(),
        &claims.headers,
        &claims.code,
        &claims.reason,
        i32::try_from(letter.attempts).unwrap_or(i32::MAX),
        letter.first_failed_at,
        pool.clock().now(),
        Json(&claims.properties) as Json<&Properties>,
        claims.subject.as_deref(),
        claims.aggversion,
        claims.occurred_at,
    )
    .execute(pool.pg())
    .await?;
    Ok(())
}

impl Step for Parker {
    async fn step(&mut self) -> Progress {
        match self.advance().await {
            Ok(progress) => progress,
            Err(error) => {
                self.vitals.ill(Part::Parker, error.to_string());
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
