//! The task that ends orders which nobody has finished in time.

use std::time::Duration;

use chrono::{DateTime, Utc};
use messaging::retry::Backoff;
use messaging::step::{Progress, Signal, Step, repeat};
use messaging::{Cause, Tx};
use tokio_util::sync::CancellationToken;

use crate::application::expire_order::expire_order;
use crate::application::ports::StoreError;
use crate::application::views::{OrderPlace, PendingRow};
use crate::{App, store};

/// Orders per look: few enough that a process that is told to stop does so at once.
const BITE: i64 = 32;
/// The longest time between two looks: the clock may be set, and a replica may have left an order.
const POLL: Duration = Duration::from_secs(5);
/// However short the time of an order is.
const SHORTEST: Duration = Duration::from_millis(50);

/// Cancels orders at their deadline. Any number of them work on one database: each order is locked by
/// the one that cancels it, and the others pass it by.
pub struct Deadlines {
    app: App,
    /// How far this sweep over what is due has come; an order that cannot be cancelled now is tried
    /// again by the next one and holds up no other.
    swept: Option<OrderPlace>,
    trouble: Backoff,
}

impl Deadlines {
    /// Nothing happens until it is stepped or run.
    pub fn new(app: App) -> Self {
        Self { app, swept: None, trouble: Backoff::new(Duration::from_millis(50), POLL) }
    }

    /// Runs until `stop`. Only time wakes it.
    pub async fn run(self, stop: CancellationToken) {
        repeat(self, Signal::new(), stop).await;
    }

    async fn sweep(&mut self) -> Result<Progress, StoreError> {
        let pending = self.app.queries.pending_by_deadline(self.swept, BITE).await?;
        let full = pending.len() as i64 == BITE;
        let now = self.app.pool.clock().now();
        for order in &pending {
            if order.deadline_at > now {
                return Ok(self.wait_for(Some(order.deadline_at)));
            }
            self.swept = Some(OrderPlace { at: order.deadline_at, id: order.id });
            self.expire(order).await?;
        }
        Ok(if full { Progress::More } else { self.wait_for(None) })
    }

    /// This sweep is over; the next one begins at the next deadline.
    fn wait_for(&mut self, next: Option<DateTime<Utc>>) -> Progress {
        self.swept = None;
        let now = self.app.pool.clock().now();
        let until = next.map(|next| (next - now).to_std().unwrap_or_default());
        // An order that is placed meanwhile is not due before its time has passed from now.
        let time = self.app.order_deadline.to_std().unwrap_or_default().max(SHORTEST);
        let longest = POLL.min(time);
        Progress::Idle(until.map_or(longest, |until| until.min(longest)))
    }

    /// What follows belongs to the trace in which the order was placed.
    async fn expire(&self, order: &PendingRow) -> Result<(), StoreError> {
        let cause = Cause::resumed(order.id, None, order.traceparent.as_deref(), None);
        let mut tx = Tx::begin(&self.app.pool, cause).await?;
        let now = tx.now();
        if expire_order(&mut store(&mut tx), order.id, now).await? {
            tx.after_commit(self.app.feed.changed());
            tx.commit().await?;
            tracing::info!(order_id = %order.id, "order timed out");
        }
        Ok(())
    }
}

impl Step for Deadlines {
    async fn step(&mut self) -> Progress {
        match self.sweep().await {
            Ok(progress) => {
                self.trouble.reset();
                progress
            }
            Err(error) => {
                let order_id = self.swept.map(|place| place.id);
                tracing::warn!(?order_id, %error, "overdue orders wait");
                Progress::Idle(self.trouble.next(self.app.pool.clock()))
            }
        }
    }
}
