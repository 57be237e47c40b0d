//! The kit put together: what a service builds once and runs.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use envelope::signature::KeyRing;
use metrics::{counter, gauge};
use tokio_util::sync::CancellationToken;

use crate::consumer::{self, Consumer, ConsumerSettings};
use crate::dead_letter::{self, Parker, Replayer};
use crate::gauges::Gauges;
use crate::housekeeping::{Housekeeping, Retention};
use crate::intake::Intake;
use crate::pool::Pool;
use crate::presence::Presence;
use crate::registry::Handlers;
use crate::relay::{self, Relay};
use crate::retry::LADDER;
use crate::step::{Signal, repeat};
use crate::topology::Topology;
use crate::transport::{Transport, TransportError};
use crate::vitals::Vitals;

/// A service's messaging: relay, consumer, parker, replayer, presence and housekeeping over one
/// database and one broker.
pub struct Messaging {
    pool: Pool,
    transport: Arc<dyn Transport>,
    topology: Topology,
    intake: Arc<Intake>,
    consumer: ConsumerSettings,
    retention: Retention,
    vitals: Vitals,
}

/// A background task, for whatever supervises tasks.
pub struct Task {
    /// For logs.
    pub name: &'static str,
    /// Runs until the token is cancelled, and drains.
    pub run: Box<dyn FnOnce(CancellationToken) -> Running + Send>,
}

type Work = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A running background task; it ends without an error once it has drained.
pub type Running = Pin<Box<dyn Future<Output = anyhow::Result<()>> + Send>>;

/// A configuration that would break a promise.
#[derive(Debug, thiserror::Error)]
#[error(
    "inbox retention of {kept} is shorter than what can still arrive ({needed}: the retry ladder and \
     the time in which parked messages may be replayed): a late message would be handled twice"
)]
pub struct RetentionTooShort {
    kept: TimeDelta,
    needed: TimeDelta,
}

impl Messaging {
    /// Messaging of the service that `pool` publishes as: `handlers` is what it consumes, `keys`
    /// is whom it believes.
    pub fn new(pool: Pool, transport: impl Transport, keys: KeyRing, handlers: Handlers) -> Self {
        let topology = Topology {
            service: pool.identity().service().to_owned(),
            bindings: handlers.bindings(),
        };
        let retention = Retention::default();
        let intake = Arc::new(Intake {
            identity: pool.identity().clone(),
            keys: Arc::new(keys),
            handlers: Arc::new(handlers),
            inbox_retention: retention.inbox,
        });
        let consumer = ConsumerSettings::default();
        let vitals = Vitals::new(!topology.bindings.is_empty());
        let transport = Arc::new(transport);
        Self { pool, transport, topology, intake, consumer, retention, vitals }
    }

    /// With other consumer settings.
    #[must_use]
    pub fn consume_with(mut self, settings: ConsumerSettings) -> Self {
        self.consumer = settings;
        self
    }

    /// With other retention times.
    ///
    /// # Errors
    /// [`RetentionTooShort`] when a message could still arrive after its inbox row is gone.
    pub fn keep_for(mut self, retention: Retention) -> Result<Self, RetentionTooShort> {
        // Twice the ladder: a message may climb it again after its replay.
        let ladder: Duration = LADDER.iter().map(|rung| 2 * rung.delay).sum();
        let needed = retention.replay + TimeDelta::from_std(ladder).unwrap_or(TimeDelta::MAX);
        if retention.inbox < needed {
            return Err(RetentionTooShort { kept: retention.inbox, needed });
        }
        let Intake { identity, keys, handlers, .. } = &*self.intake;
        self.intake = Arc::new(Intake {
            identity: identity.clone(),
            keys: keys.clone(),
            handlers: handlers.clone(),
            inbox_retention: retention.inbox,
        });
        self.pool.set_answers_kept(retention.answers);
        self.retention = retention;
        Ok(self)
    }

    #[cfg(feature = "simulation")]
    pub(crate) fn pool(&self) -> &Pool {
        &self.pool
    }

    /// What this service needs of the broker.
    pub fn topology(&self) -> &Topology {
        &self.topology
    }

    /// Makes what is missing of it; see [`Transport::provision`].
    ///
    /// # Errors
    /// [`TransportError`].
    pub async fn provision(&self) -> Result<Vec<String>, TransportError> {
        self.transport.provision(&self.topology).await
    }

    /// Whether relay and consumer can work, for health checks.
    pub fn vitals(&self) -> Vitals {
        self.vitals.clone()
    }

    /// A relay, to be stepped by hand.
    pub fn relay(&self) -> Relay {
        Relay::new(self.pool.clone(), self.transport.clone(), self.vitals.clone())
    }

    /// A consumer, to be stepped by hand; a step waits for a delivery until `stop`.
    pub fn consumer(&self, stop: CancellationToken) -> Consumer {
        Consumer::new(
            self.pool.clone(),
            self.transport.clone(),
            self.topology.clone(),
            self.intake.clone(),
            &self.consumer,
            stop,
            self.vitals.clone(),
        )
    }

    /// A parker, to be stepped by hand; a step waits for a dead letter until `stop`.
    pub fn parker(&self, stop: CancellationToken) -> Parker {
        Parker::new(
            self.pool.clone(),
            self.transport.clone(),
            self.topology.clone(),
            stop,
            self.vitals.clone(),
        )
    }

    /// A replayer, to be stepped by hand.
    pub fn replayer(&self) -> Replayer {
        let (pool, transport) = (self.pool.clone(), self.transport.clone());
        Replayer::new(pool, transport, self.topology.clone(), self.retention.clone())
    }

    /// Everything that has to run, in the order of starting. Stop in the reverse order: the relay
    /// last, so that what a handler still committed leaves the house.
    pub fn tasks(&self) -> Vec<Task> {
        self.name_metrics();
        let written = self.pool.outbox_written().clone();
        // Made here and not when it runs: what is leased before others can see us is not ours.
        let presence = Presence::new(self.pool.clone());
        let mut tasks = vec![
            self.task("presence", |_, stop| Box::pin(presence.run(stop))),
            self.task("relay", move |kit, stop| Box::pin(repeat(kit.relay(), written, stop))),
            self.task("gauges", |kit, stop| {
                Box::pin(repeat(Gauges(kit.pool), Signal::new(), stop))
            }),
            self.task("housekeeping", |kit, stop| {
                let work = Housekeeping::new(kit.pool, kit.retention);
                Box::pin(repeat(work, Signal::new(), stop))
            }),
        ];
        if !self.topology.bindings.is_empty() {
            tasks.push(self.task("parker", |kit, stop| {
                Box::pin(repeat(kit.parker(stop.clone()), Signal::new(), stop))
            }));
            let asked = self.pool.replays().clone();
            self.pool.tell_when_present(&asked);
            tasks.push(
                self.task("replayer", move |kit, stop| {
                    Box::pin(repeat(kit.replayer(), asked, stop))
                }),
            );
            tasks.push(self.task("consumer", |kit, stop| {
                Box::pin(repeat(kit.consumer(stop.clone()), Signal::new(), stop))
            }));
        }
        tasks
    }

    /// So that what has not happened yet is there to be watched: a counter that begins with its first
    /// event shows no increase with it.
    fn name_metrics(&self) {
        counter!("outbox_full_total").increment(0);
        gauge!("dead_letters").increment(0.0);
        relay::name_metrics();
        if !self.topology.bindings.is_empty() {
            consumer::name_metrics();
            dead_letter::name_metrics();
        }
    }

    fn task(
        &self,
        name: &'static str,
        run: impl FnOnce(Self, CancellationToken) -> Work + Send + 'static,
    ) -> Task {
        let kit = Self {
            pool: self.pool.clone(),
            transport: self.transport.clone(),
            topology: self.topology.clone(),
            intake: self.intake.clone(),
            consumer: self.consumer.clone(),
            retention: self.retention.clone(),
            vitals: self.vitals.clone(),
        };
        let run = Box::new(move |stop| -> Running {
            let work = run(kit, stop);
            Box::pin(async move {
                work.await;
                Ok(())
            })
        });
        Task { name, run }
    }
}
