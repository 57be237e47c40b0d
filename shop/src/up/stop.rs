//! The stop: first who works, last who is worked with.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use futures_util::future::join_all;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::leftovers;
use super::start::{Shop, Units};
use super::unit::Unit;
use crate::{Exit, Output};

/// A signal to a whole process group comes twice when a parent passes it on; a person takes longer.
const SAME_SIGNAL: Duration = Duration::from_secs(1);

/// The signals that ask a process of ours to stop: Ctrl-C, SIGTERM, and a terminal that went away.
#[derive(Debug)]
pub struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
}

impl Signals {
    /// Listens from now on; from now on they end nothing by themselves.
    ///
    /// # Errors
    /// When the system does not let us.
    pub fn listen() -> anyhow::Result<Self> {
        let listen = |kind| signal(kind).context("cannot listen for signals");
        Ok(Self {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
            hangup: listen(SignalKind::hangup())?,
        })
    }

    /// Waits for the next one.
    pub async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            _ = self.hangup.recv() => {}
        }
    }
}

impl Shop {
    /// Stops everything in order. A second signal kills what still works on something; Postgres and
    /// RabbitMQ are stopped in order even then.
    pub(super) async fn stop(mut self, signals: &mut Signals) -> anyhow::Result<Exit> {
        let out = self.house.out;
        let units = std::mem::take(&mut self.units);
        self.say("stopping");
        if self.house.is_settled() {
            self.house.tell("stopping; once more to stop at once");
        }
        let begun = Instant::now();
        let stopping = all(&out, units);
        tokio::pin!(stopping);
        let clean = loop {
            tokio::select! {
                clean = &mut stopping => break clean,
                () = signals.next() => if begun.elapsed() >= SAME_SIGNAL {
                    self.house.hurry.cancel();
                },
            }
        };
        // A server that failed to start may still be there.
        let swept = leftovers::end_servers(&self.root).await;
        self.finish();
        swept?;
        if self.house.is_settled() {
            self.house.tell("stopped");
        }
        Ok(if clean { Exit::Done } else { Exit::Failed })
    }
}

/// True when everything ended in order.
async fn all(out: &Output, units: Units) -> bool {
    let Units { services, gateway, sinks, rabbitmq, postgres } = units;
    let mut clean = true;
    for tier in [services, gateway, sinks, rabbitmq, postgres] {
        for ended in join_all(tier.into_iter().map(Unit::stop)).await {
            if let Err(error) = ended {
                out.error(&error);
                clean = false;
            }
        }
    }
    clean
}
