//! The private Postgres and RabbitMQ as units.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use sandbox::ServerError;
use sandbox::postgres::{Postgres, PostgresOptions};
use sandbox::process;
use sandbox::rabbitmq::{RabbitMq, RabbitOptions, RabbitPorts};
use tokio::time::sleep;

use super::leftovers;
use super::unit::{Backoff, Control, House, Unit};
use crate::ports::{Ports, SUPERUSER};

/// Between two looks at whether a server still runs.
const LOOK: Duration = Duration::from_millis(100);
/// The names of the servers, and of their folders.
pub(super) const POSTGRES: &str = "postgres";
const RABBITMQ: &str = "rabbitmq";

/// A server, one or the other.
enum Server {
    Postgres(Box<Postgres>),
    RabbitMq(Box<RabbitMq>),
}

impl Server {
    fn is_running(&mut self) -> bool {
        match self {
            Self::Postgres(server) => server.is_running(),
            Self::RabbitMq(server) => server.is_running(),
        }
    }

    async fn restart(&mut self) -> Result<(), ServerError> {
        match self {
            Self::Postgres(server) => server.restart().await,
            Self::RabbitMq(server) => server.restart().await,
        }
    }

    async fn stop(&mut self) -> Result<(), ServerError> {
        match self {
            Self::Postgres(server) => server.stop().await,
            Self::RabbitMq(server) => server.stop().await,
        }
    }

    fn pid(&self) -> u32 {
        match self {
            Self::Postgres(server) => server.pid(),
            Self::RabbitMq(server) => server.pid(),
        }
    }
}

/// Starts Postgres in `root`.
pub(super) fn postgres(root: &Path, ports: &Ports, house: &Arc<House>) -> Unit {
    let mut options = PostgresOptions::new(root.join(POSTGRES), ports.postgres);
    options.superuser = (SUPERUSER.to_owned(), SUPERUSER.to_owned());
    Unit::start(POSTGRES, house, |house, control| async move {
        let server = Postgres::start(options).await?;
        watch(Server::Postgres(Box::new(server)), POSTGRES, house, control).await
    })
}

/// Starts RabbitMQ in `root`.
///
/// # Errors
/// When no port is free for what only the node itself uses.
pub(super) fn rabbitmq(root: &Path, ports: &Ports, house: &Arc<House>) -> anyhow::Result<Unit> {
    let chosen = inner_ports(root, ports, house)?;
    let options = RabbitOptions::new(root.join(RABBITMQ), chosen);
    let root = root.to_owned();
    Ok(Unit::start(RABBITMQ, house, |house, control| async move {
        let Some(server) = boot(options, &root, &control).await? else { return Ok(()) };
        watch(Server::RabbitMq(Box::new(server)), RABBITMQ, house, control).await
    }))
}

/// Starts the node. A node that is told to stop while it boots, which takes 5 s, ends within one;
/// then there is none.
async fn boot(
    options: RabbitOptions,
    root: &Path,
    control: &Control,
) -> anyhow::Result<Option<RabbitMq>> {
    let starting = RabbitMq::start(options);
    tokio::pin!(starting);
    tokio::select! {
        started = &mut starting => return Ok(Some(started?)),
        () = control.stop.cancelled() => {}
    }
    loop {
        if let Some(pid) = leftovers::node(root) {
            process::terminate(pid).context("cannot stop the booting RabbitMQ")?;
        }
        tokio::select! {
            started = &mut starting => return Ok(started.ok()),
            () = sleep(LOOK) => {}
        }
    }
}

/// The node's ports. The inner ones are any that are free, but a node that still runs is only taken
/// over with those that it was started with.
fn inner_ports(root: &Path, ports: &Ports, house: &House) -> anyhow::Result<RabbitPorts> {
    let file = house.folder.part("run").join("rabbitmq.ports");
    let runs = leftovers::node(root).is_some();
    let known = fs::read_to_string(&file).ok().filter(|_| runs);
    let known: Option<[u16; 3]> = known.and_then(|text| serde_json::from_str(&text).ok());
    let mut chosen =
        RabbitPorts::chosen(ports.amqp, ports.management).context("no free port for RabbitMQ")?;
    if let Some([prometheus, dist, epmd]) = known {
        chosen = RabbitPorts { prometheus, dist, epmd, ..chosen };
    }
    let inner = [chosen.prometheus, chosen.dist, chosen.epmd];
    fs::write(&file, serde_json::to_string(&inner)?)
        .with_context(|| format!("cannot write {}", file.display()))?;
    Ok(chosen)
}

/// Keeps a server running until it is told to stop, then stops it in order.
async fn watch(
    mut server: Server,
    name: &'static str,
    house: Arc<House>,
    control: Control,
) -> anyhow::Result<()> {
    control.up();
    let mut backoff = Backoff::new();
    let mut born = Instant::now();
    loop {
        tokio::select! {
            () = sleep(LOOK) => {}
            () = control.stop.cancelled() => break,
        }
        if server.is_running() {
            continue;
        }
        if !house.is_settled() {
            anyhow::bail!("{name} ended while everything else was starting");
        }
        let pause = backoff.after(born.elapsed());
        tokio::select! {
            () = sleep(pause) => {}
            () = control.stop.cancelled() => break,
        }
        bring_back(&mut server, name, pause, &house).await;
        born = Instant::now();
    }
    // A dead node still has its port mapper.
    if server.is_running() || matches!(server, Server::RabbitMq(_)) {
        server.stop().await?;
    }
    Ok(())
}

async fn bring_back(server: &mut Server, name: &str, pause: Duration, house: &House) {
    let before = server.pid();
    match server.restart().await {
        Ok(()) => {
            let now = server.pid();
            house.tell(&format!(
                "{name} (pid {before}) ended; started again as {now} after {pause:?}"
            ));
        }
        Err(error) => house.tell(&format!("{name} ended and did not start again: {error}")),
    }
}
