//! The task that measures, for those who watch, how many orders wait for their end.

use std::time::Duration;

use chrono::TimeDelta;
use messaging::step::{Progress, Signal, Step, repeat};
use metrics::gauge;
use tokio_util::sync::CancellationToken;

use crate::App;

const PAUSE: Duration = Duration::from_secs(15);

/// Measures the orders of a database. Every replica tells the same of it.
pub struct Gauges(App);

impl Gauges {
    /// Nothing happens until it is stepped or run.
    pub fn new(app: App) -> Self {
        Self(app)
    }

    /// Runs until `stop`. Only time wakes it.
    pub async fn run(self, stop: CancellationToken) {
        repeat(self, Signal::new(), stop).await;
    }
}

impl Step for Gauges {
    async fn step(&mut self) -> Progress {
        match self.0.queries.pending().await {
            Ok(pending) => {
                let now = self.0.pool.clock().now();
                let age = pending.oldest.map_or(TimeDelta::zero(), |oldest| now - oldest);
                gauge!("orders_pending").set(pending.orders as f64);
                // Clocks of replicas differ.
                let age = age.as_seconds_f64().max(0.0);
                gauge!("orders_oldest_pending_age_seconds").set(age);
            }
            Err(error) => tracing::debug!(%error, "pending orders are not measured"),
        }
        Progress::Idle(PAUSE)
    }
}
