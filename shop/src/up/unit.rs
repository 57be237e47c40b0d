//! One thing that runs under `shop up`, in a task of its own: started, kept alive, stopped.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::folder::Folder;
use super::pids::Pids;
use crate::Output;

/// What all units share.
#[derive(Debug)]
pub(super) struct House {
    pub(super) out: Output,
    pub(super) folder: Folder,
    pub(super) pids: Pids,
    /// From now on nobody waits for an orderly end.
    pub(super) hurry: CancellationToken,
    /// Once all has been ready, what dies is started again; before, it fails the start.
    settled: AtomicBool,
    failures: mpsc::UnboundedSender<anyhow::Error>,
}

impl House {
    /// The house, and the failures of its units.
    pub(super) fn new(
        out: Output,
        folder: Folder,
    ) -> (Arc<Self>, mpsc::UnboundedReceiver<anyhow::Error>) {
        let (failures, failed) = mpsc::unbounded_channel();
        let pids = Pids::of(&folder.part("run"));
        let (hurry, settled) = (CancellationToken::new(), AtomicBool::new(false));
        (Arc::new(Self { out, folder, pids, hurry, settled, failures }), failed)
    }

    pub(super) fn settle(&self) {
        self.settled.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_settled(&self) -> bool {
        self.settled.load(Ordering::Relaxed)
    }

    /// Tells what happened, on one line with the time.
    pub(super) fn tell(&self, what: &str) {
        let time = envelope::Clock::system().now().format("%H:%M:%SZ");
        let line = format!("{time} {what}");
        if self.out.is_json() { self.out.note(line) } else { self.out.line(line) }
    }
}

/// A handle on a running unit.
#[derive(Debug)]
pub(super) struct Unit {
    pub(super) name: &'static str,
    stop: CancellationToken,
    up: watch::Receiver<bool>,
    task: JoinHandle<anyhow::Result<()>>,
}

/// The unit's end of it.
#[derive(Debug)]
pub(super) struct Control {
    pub(super) stop: CancellationToken,
    up: watch::Sender<bool>,
}

impl Control {
    /// Says that it runs.
    pub(super) fn up(&self) {
        self.up.send_replace(true);
    }
}

impl Unit {
    /// Runs `work` until it is told to stop. Its error before that is the house's failure.
    #[expect(clippy::disallowed_methods, reason = "`shop up` is the supervisor of its units")]
    pub(super) fn start<W, F>(name: &'static str, house: &Arc<House>, work: W) -> Self
    where
        W: FnOnce(Arc<House>, Control) -> F,
        F: Future<Output = anyhow::Result<()>> + Send + 'static,
    {
        let (stop, (is_up, up)) = (CancellationToken::new(), watch::channel(false));
        let work = work(Arc::clone(house), Control { stop: stop.clone(), up: is_up });
        let (house, stopped) = (Arc::clone(house), stop.clone());
        let task = tokio::spawn(async move {
            match work.await {
                Err(error) if !stopped.is_cancelled() => {
                    let _ = house.failures.send(error);
                    Ok(())
                }
                ended => ended,
            }
        });
        Self { name, stop, up, task }
    }

    /// Waits until it runs; for ever when it failed, which the house is told.
    pub(super) async fn up(&self) {
        if self.up.clone().wait_for(|up| *up).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Stops it and waits for its end.
    ///
    /// # Errors
    /// When it did not end in order.
    pub(super) async fn stop(self) -> anyhow::Result<()> {
        self.stop.cancel();
        self.task.await.with_context(|| format!("the supervision of {} broke", self.name))?
    }
}

/// The pause before something that died is started again: 50 ms, doubled with every death up to 2 s,
/// and 50 ms again after 10 s of life.
#[derive(Debug)]
pub(super) struct Backoff {
    next: Duration,
}

impl Backoff {
    const FIRST: Duration = Duration::from_millis(50);
    const LONGEST: Duration = Duration::from_secs(2);
    const HEALTHY: Duration = Duration::from_secs(10);

    pub(super) const fn new() -> Self {
        Self { next: Self::FIRST }
    }

    /// The pause after a life of that length.
    pub(super) fn after(&mut self, life: Duration) -> Duration {
        let pause = if life >= Self::HEALTHY { Self::FIRST } else { self.next };
        self.next = (pause * 2).min(Self::LONGEST);
        pause
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pause_doubles_to_two_seconds_and_a_healthy_life_resets_it() {
        let mut backoff = Backoff::new();
        let short = Duration::from_secs(1);
        let pauses: Vec<u128> = (0..7).map(|_| backoff.after(short).as_millis()).collect();
        assert_eq!(pauses, [50, 100, 200, 400, 800, 1600, 2000]);
        assert_eq!(backoff.after(Duration::from_secs(10)).as_millis(), 50);
        assert_eq!(backoff.after(short).as_millis(), 100);
    }
}
