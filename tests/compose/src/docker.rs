//! The compose file under a project name and on ports of its own.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use serde_json::Value;
use tokio::process::Command;

use crate::engine;

const PROJECT: &str = "tidings-e2e";
/// Every published port that is asked, by the variable that changes it.
const PORTS: [&str; 15] = [
    "ORDER_PORT",
    "INVENTORY_PORT",
    "PAYMENT_PORT",
    "EMAIL_PORT",
    "AUDIT_PORT",
    "GATEWAY_PORT",
    "POSTGRES_PORT",
    "AMQP_PORT",
    "MANAGEMENT_PORT",
    "TRACES_PORT",
    "OTLP_PORT",
    "OTLP_HTTP_PORT",
    "MAIL_PORT",
    "SMTP_PORT",
    "PROMETHEUS_PORT",
];
/// More than one of some services, on ports of their own.
const REPLICAS: &str = "deploy/compose.replicas.yml";

/// The system under test.
pub(crate) struct Compose {
    folder: PathBuf,
    image: String,
    ports: BTreeMap<&'static str, u16>,
    /// More than one of some services run, and this is the address of one order.
    replicas: bool,
    one_order: Option<String>,
}

/// A container, as `docker compose ps` tells it.
#[derive(Debug)]
pub(crate) struct Container {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) service: String,
    pub(crate) state: String,
    health: String,
    pub(crate) exit_code: i64,
}

impl Container {
    /// Why it is not as it should be.
    fn ill(&self) -> Option<String> {
        let well = match self.service.as_str() {
            "migrate" => self.state == "exited" && self.exit_code == 0,
            _ => self.state == "running" && self.health == "healthy",
        };
        let Self { name, state, health, exit_code, .. } = self;
        (!well).then(|| format!("{name} is {state} {health} ({exit_code})"))
    }
}

impl Compose {
    /// On free ports.
    ///
    /// # Errors
    /// When there is no free port.
    pub(crate) fn new(folder: &Path, image: &str) -> anyhow::Result<Self> {
        let mut ports = BTreeMap::new();
        for name in PORTS {
            ports.insert(name, sandbox::ports::free_port().context("no free port")?);
        }
        let (folder, image) = (folder.to_owned(), image.to_owned());
        Ok(Self { folder, image, ports, replicas: false, one_order: None })
    }

    /// With or without more than one of some services.
    pub(crate) fn set_replicas(&mut self, replicas: bool) {
        self.replicas = replicas;
        self.one_order = None;
    }

    /// Asks for the port of one of several order services.
    ///
    /// # Errors
    /// When it has none.
    pub(crate) async fn find_order(&mut self) -> anyhow::Result<()> {
        let address = self.run(&["port", "order", "8081"]).await?;
        self.one_order = Some(format!("http://{}", address.trim()));
        Ok(())
    }

    /// `http://127.0.0.1:PORT` of what that variable publishes.
    pub(crate) fn url(&self, variable: &str) -> String {
        if let (Some(order), "ORDER_PORT") = (&self.one_order, variable) {
            return order.clone();
        }
        format!("http://127.0.0.1:{}", self.ports.get(variable).copied().unwrap_or_default())
    }

    /// `docker compose ...`, not yet started.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut all = vec!["compose", "--progress", "quiet", "-p", PROJECT];
        if self.replicas {
            all.extend(["-f", "docker-compose.yml", "-f", REPLICAS]);
        }
        all.extend(args);
        let mut command = engine::command(&self.folder, &all);
        command.env("SHOP_IMAGE", &self.image);
        command.envs(self.ports.iter().map(|(name, port)| (name, port.to_string())));
        if self.replicas {
            // Several of one service cannot share a port: any free one for each.
            command.env("ORDER_PORTS", "0");
        }
        command
    }

    /// `docker compose ...`; gives what it says on stdout.
    ///
    /// # Errors
    /// When it fails.
    pub(crate) async fn run(&self, args: &[&str]) -> anyhow::Result<String> {
        let shown = [&["compose"], args].concat();
        engine::outcome(&shown, self.command(args).output().await)
    }

    /// The operator's program, in a container beside the others.
    ///
    /// # Errors
    /// When it fails.
    pub(crate) async fn shop(&self, args: &[&str]) -> anyhow::Result<String> {
        let run = ["--profile", "tools", "run", "--rm", "-T", "--no-deps", "shop"];
        self.run(&[&run, args].concat()).await
    }

    /// Starts what is not running, and waits until all is well.
    ///
    /// # Errors
    /// When something does not become well.
    pub(crate) async fn up(&self) -> anyhow::Result<()> {
        self.run(&["up", "-d", "--no-build", "--wait", "--wait-timeout", "180"]).await.map(drop)
    }

    /// All containers of the project, those that have ended included.
    ///
    /// # Errors
    /// When the engine does not answer as it should.
    pub(crate) async fn containers(&self) -> anyhow::Result<Vec<Container>> {
        let text = self.run(&["ps", "-a", "--format", "json"]).await?;
        text.lines().filter(|line| !line.trim().is_empty()).map(container).collect()
    }

    /// The containers of a service.
    ///
    /// # Errors
    /// When there is none.
    pub(crate) async fn of(&self, service: &str) -> anyhow::Result<Vec<Container>> {
        let mut all = self.containers().await?;
        all.retain(|container| container.service == service);
        ensure!(!all.is_empty(), "there is no container of {service}");
        Ok(all)
    }

    /// Whether every container is as it should be.
    ///
    /// # Errors
    /// What is not.
    pub(crate) async fn well(&self) -> anyhow::Result<()> {
        let services = engine::lines(&self.run(&["config", "--services"]).await?);
        let containers = self.containers().await?;
        for service in services {
            let there = containers.iter().any(|container| container.service == service);
            ensure!(there, "{service} has no container");
        }
        let ill: Vec<String> = containers.iter().filter_map(Container::ill).collect();
        ensure!(ill.is_empty(), "{}", ill.join(", "));
        Ok(())
    }

    /// The network that all of them share.
    pub(crate) fn network(&self) -> String {
        format!("{PROJECT}_default")
    }

    /// `docker ...` in the project's folder.
    ///
    /// # Errors
    /// When it fails.
    pub(crate) async fn docker(&self, args: &[&str]) -> anyhow::Result<String> {
        engine::docker(&self.folder, args).await
    }

    /// Takes everything away.
    ///
    /// # Errors
    /// When something is left.
    pub(crate) async fn down(&self) -> anyhow::Result<()> {
        self.run(&["--profile", "*", "down", "-v", "--remove-orphans", "-t", "25"]).await?;
        let label = format!("label=com.docker.compose.project={PROJECT}");
        for kind in [&["ps", "-aq"][..], &["volume", "ls", "-q"], &["network", "ls", "-q"]] {
            let left = self.docker(&[kind, &["--filter", &label]].concat()).await?;
            ensure!(left.trim().is_empty(), "`down -v` leaves: {kind:?} {}", left.trim());
        }
        Ok(())
    }
}

fn container(line: &str) -> anyhow::Result<Container> {
    let found: Value = serde_json::from_str(line).context("docker compose ps")?;
    let text = |field: &str| found[field].as_str().unwrap_or_default().to_owned();
    Ok(Container {
        id: text("ID"),
        name: text("Name"),
        service: text("Service"),
        state: text("State"),
        health: text("Health"),
        exit_code: found["ExitCode"].as_i64().unwrap_or_default(),
    })
}
