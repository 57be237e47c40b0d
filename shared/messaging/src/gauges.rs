//! Measures outbox and dead letters for those who watch: how much waits, since when, how much is
//! stuck, how much is parked. A task of its own, so that it goes on telling while the relay waits for a
//! broker that holds it back, and when somebody else has decided over dead letters.

use std::time::Duration;

use chrono::TimeDelta;
use metrics::gauge;

use crate::pool::Pool;
use crate::step::{Progress, Step};
use crate::{dead_letter, outbox};

const PAUSE: Duration = Duration::from_secs(15);

/// Measures `pool`'s outbox and dead letters.
pub(crate) struct Gauges(pub(crate) Pool);

impl Step for Gauges {
    async fn step(&mut self) -> Progress {
        let now = self.0.clock().now();
        match outbox::backlog(self.0.pg(), now).await {
            Ok(backlog) => {
                let age = backlog.oldest.map_or(TimeDelta::zero(), |oldest| now - oldest);
                gauge!("outbox_pending").set(backlog.pending as f64);
                gauge!("outbox_oldest_age_seconds").set(age.as_seconds_f64().max(0.0));
                gauge!("outbox_stuck").set(backlog.stuck as f64);
            }
            Err(error) => tracing::debug!(%error, "outbox is not measured"),
        }
        dead_letter::count(self.0.pg()).await;
        // What was left to wait for its time by another process is found here, too.
        self.0.set_some_wait(true);
        Progress::Idle(PAUSE)
    }
}
