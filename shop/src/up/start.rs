//! The start: what can be at once is at once, because RabbitMQ alone takes 5 s.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use futures_util::future::try_join_all;
use indicatif::ProgressBar;
use sandbox::ports as sockets;

use super::process::Program;
use super::programs::{ENVIRONMENT, Programs};
use super::unit::{House, Unit};
use super::{keys, leftovers, servers, summary};
use crate::commands::migrate::demo;
use crate::commands::{doctor, migrate};
use crate::ports::Ports;
use crate::probe::Probe;

/// How long a service may take to be ready once its servers are.
const READY_WITHIN: Duration = Duration::from_secs(60);
/// Between two questions whether a process is ready.
const ASK_EVERY: Duration = Duration::from_millis(50);
/// How long one answer may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// All that one `shop up` runs.
#[derive(Debug)]
pub(super) struct Shop {
    pub(super) house: Arc<House>,
    pub(super) ports: Ports,
    /// Where the data of the servers is.
    pub(super) root: PathBuf,
    pub(super) units: Units,
    probe: Probe,
    progress: ProgressBar,
}

/// What runs, in the order in which it is stopped.
#[derive(Debug, Default)]
pub(super) struct Units {
    pub(super) services: Vec<Unit>,
    pub(super) gateway: Vec<Unit>,
    pub(super) sinks: Vec<Unit>,
    pub(super) rabbitmq: Vec<Unit>,
    pub(super) postgres: Vec<Unit>,
}

impl Shop {
    /// Nothing runs yet.
    pub(super) fn new(house: Arc<House>, ports: Ports) -> anyhow::Result<Self> {
        let servers = house.folder.servers();
        if let Some(reason) = servers.reason {
            let place = servers.path.display();
            house.out.note(format_args!("data of Postgres and RabbitMQ: {place}, as {reason}"));
        }
        let progress = house.out.spinner("starting");
        let (units, probe) = (Units::default(), Probe::new(ANSWER_WITHIN)?);
        Ok(Self { house, ports, root: servers.path, units, probe, progress })
    }

    /// Starts everything and waits until all is ready.
    pub(super) async fn start(&mut self) -> anyhow::Result<()> {
        doctor::require_packages()?;
        for name in leftovers::end_programs(&self.house.folder).await? {
            let ended = format!("ended the {name} of an earlier start");
            self.progress.suspend(|| self.house.out.note(ended));
        }
        self.check_ports()?;
        keys::ensure(&self.house.folder.part("keys"), ENVIRONMENT)?;
        let started = self.start_programs().await?;
        self.say("waiting for RabbitMQ");
        up(&self.units.rabbitmq).await;
        self.say("setting up queues");
        migrate::topology::migrate(&self.ports.amqp_url()).await?;
        // Only now: what is published before a service has its queue never reaches it.
        let keys = self.house.folder.part("keys");
        let keys = demo::Keys { folder: &keys, environment: ENVIRONMENT };
        let admin = self.ports.postgres_url("postgres");
        demo::seed(&admin, keys, &mut migrate::Told::silently()).await?;
        self.say("waiting for the services");
        try_join_all(started.iter().map(|program| self.ready(program))).await?;
        self.say("waiting for the demo products");
        try_join_all(demo::SKUS.iter().map(|sku| self.known(sku))).await?;
        Ok(())
    }

    /// From now on what dies is started again.
    pub(super) fn settle(&self, after: Duration) -> anyhow::Result<()> {
        self.house.settle();
        self.progress.finish_and_clear();
        summary::print(&self.house.out, &self.ports, &self.house.folder, after)
    }

    /// Takes the progress off the screen.
    pub(super) fn finish(&self) {
        self.progress.finish_and_clear();
    }

    pub(super) fn say(&self, what: &'static str) {
        self.progress.set_message(what);
    }

    /// Starts servers and programs, and gives the programs. The broker may not be there yet: the
    /// services wait for it.
    async fn start_programs(&mut self) -> anyhow::Result<Vec<Program>> {
        let (house, ports) = (Arc::clone(&self.house), self.ports.clone());
        let executable = std::env::current_exe().context("cannot find our own program")?;
        let programs = Programs { executable, folder: &house.folder, ports: &ports };
        let start = |programs: &[Program]| -> Vec<Unit> {
            programs.iter().map(|program| program.clone().start(&house)).collect()
        };
        self.say("starting Postgres and RabbitMQ");
        self.units.postgres.push(servers::postgres(&self.root, &ports, &house));
        self.units.rabbitmq.push(servers::rabbitmq(&self.root, &ports, &house)?);
        let (mut all, gateway) = (programs.sinks(), [programs.gateway()]);
        self.units.sinks = start(&all);
        self.units.gateway = start(&gateway);
        up(&self.units.postgres).await;
        self.say("migrating the databases");
        migrate::databases::migrate(&ports.postgres_url("postgres"), &house.out).await?;
        let services = programs.services();
        self.units.services = start(&services);
        all.extend(gateway);
        all.extend(services);
        Ok(all)
    }

    /// Names the holder of every port that is taken; a server that an earlier start has left is none,
    /// it is taken over.
    fn check_ports(&self) -> anyhow::Result<()> {
        let ours = leftovers::servers(&self.root);
        let taken: Vec<String> = self
            .ports
            .all()
            .into_iter()
            .filter(|(_, port)| !sockets::is_free(*port))
            .filter(|(_, port)| !sockets::holder_of(*port).is_some_and(|h| ours.contains(&h.pid)))
            .map(|(variable, port)| {
                format!("{} (another port: {variable}=...)", sockets::taken_message(port))
            })
            .collect();
        ensure!(taken.is_empty(), "{}", taken.join("\n      "));
        Ok(())
    }

    /// Waits until order knows a product, of which it learns by an event.
    async fn known(&self, sku: &str) -> anyhow::Result<()> {
        let deadline = Instant::now() + READY_WITHIN;
        let url = format!("{}/products/{sku}", Ports::http(self.ports.order));
        while let Err(reason) = self.probe.ready(&url).await {
            if Instant::now() >= deadline {
                bail!("order does not know {sku} after {} s ({reason})", READY_WITHIN.as_secs());
            }
            tokio::time::sleep(ASK_EVERY).await;
        }
        Ok(())
    }

    async fn ready(&self, program: &Program) -> anyhow::Result<()> {
        let deadline = Instant::now() + READY_WITHIN;
        loop {
            let Err(reason) = self.probe.ready(&program.ready).await else { return Ok(()) };
            if Instant::now() >= deadline {
                let log = self.house.folder.log(program.name);
                let (name, within) = (program.name, READY_WITHIN.as_secs());
                bail!(
                    "{name} is not ready after {within} s ({reason}); its log is {}",
                    log.display()
                );
            }
            tokio::time::sleep(ASK_EVERY).await;
        }
    }
}

async fn up(units: &[Unit]) {
    for unit in units {
        unit.up().await;
    }
}
