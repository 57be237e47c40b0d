//! Background work as repeated steps: `step` does one unit and says whether there is more, and
//! [`repeat`] does nothing but call it again. A test drains a system by stepping it itself.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// What a step found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// It did something, and there may be more: call again at once.
    More,
    /// There is nothing to do until the signal, or until this long has passed.
    Idle(Duration),
}

/// Background work that advances one unit at a time.
pub trait Step: Send {
    /// Does one unit of work. Failures of the outside world (a broker or a database that is away)
    /// are its own business: it reports them and answers how long to wait.
    fn step(&mut self) -> impl Future<Output = Progress> + Send;

    /// Called once after the last step, to hand back what it holds.
    fn close(&mut self) -> impl Future<Output = ()> + Send {
        async {}
    }
}

/// Wakes a sleeping loop. Signals that come before anybody waits are kept, as one.
#[derive(Debug, Clone, Default)]
pub struct Signal(Arc<Notify>);

impl Signal {
    /// A signal that nobody has given yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Wakes the loop, or lets its next wait end at once.
    pub fn notify(&self) {
        self.0.notify_one();
    }

    /// Waits for a signal.
    pub async fn wait(&self) {
        self.0.notified().await;
    }
}

/// Steps `work` until `stop`. A step that has begun is finished: what it owes is settled first.
pub async fn repeat(mut work: impl Step, signal: Signal, stop: CancellationToken) {
    while !stop.is_cancelled() {
        match work.step().await {
            // A busy loop must leave room for the other tasks of its thread.
            Progress::More => tokio::task::yield_now().await,
            Progress::Idle(longest) => {
                tokio::select! {
                    () = stop.cancelled() => {}
                    () = signal.wait() => {}
                    () = tokio::time::sleep(longest) => {}
                }
            }
        }
    }
    work.close().await;
}
