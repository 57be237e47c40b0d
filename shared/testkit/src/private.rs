//! Servers of a test's own, for tests that kill them.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use sandbox::ports::free_port;
use sandbox::postgres::{Postgres, PostgresOptions};
use sandbox::rabbitmq::{RabbitMq, RabbitOptions, RabbitPorts, find_scripts};
use tokio::process::Command;

use crate::database::Database;
use crate::folder::{folder_on_disk, private_folder};
use crate::guard::Guard;
use crate::management::Management;
use crate::must;
use crate::servers::start_postgres;
use crate::vhost::Vhost;

/// The broker writes the names of new quorum queues within half a second.
const RECORDED_WITHIN: Duration = Duration::from_secs(10);
/// Between two looks whether it has.
const LOOK: Duration = Duration::from_millis(5);

/// A broker of the test's own. Starting it takes about 5 s. It ends and is wiped when dropped.
#[derive(Debug)]
pub struct Broker {
    rabbit: RabbitMq,
    _guard: Guard,
}

impl Broker {
    /// Starts a broker.
    ///
    /// # Panics
    /// When it cannot be started, with the reason and the fix.
    pub async fn private() -> Self {
        let private = async { Self::start(private_folder()?, RabbitOptions::for_tests).await };
        must("cannot start a broker", private.await)
    }

    /// Starts a broker with the settings of `shop up` whose data lives where data does that has to be
    /// kept: for what is measured.
    ///
    /// # Panics
    /// When it cannot be started, with the reason and the fix.
    pub async fn durable() -> Self {
        // Figures stay as fresh as in tests: those of the bench wait for them.
        let options = |folder: PathBuf, ports| {
            let RabbitOptions { figures_every, .. } = RabbitOptions::for_tests(&folder, ports);
            RabbitOptions { figures_every, ..RabbitOptions::new(folder, ports) }
        };
        let durable = async { Self::start(folder_on_disk()?, options).await };
        must("cannot start a broker", durable.await)
    }

    async fn start(
        guard: Guard,
        options: impl FnOnce(PathBuf, RabbitPorts) -> RabbitOptions,
    ) -> Result<Self> {
        let folder = guard.folder().join("rabbitmq");
        let rabbit = RabbitMq::start(options(folder, RabbitPorts::free()?)).await?;
        Ok(Self { rabbit, _guard: guard })
    }

    /// A new vhost on this broker.
    ///
    /// # Panics
    /// When the broker does not answer.
    pub async fn vhost(&self) -> Vhost {
        let rabbit = &self.rabbit;
        must("cannot make a vhost", Vhost::on(self.management(), |name| rabbit.url(name)).await)
    }

    /// The management API of this broker.
    #[must_use]
    pub fn management(&self) -> Management {
        must("a wrong management address", Management::new(&self.rabbit.management_url()))
    }

    /// The process id of the node, to freeze it and let it go on with [`process`](crate::process).
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.rabbit.pid()
    }

    /// Ends the broker at once (SIGKILL); its data stays. Quorum queues that were declared a moment ago
    /// would come back empty ([`RabbitMq::queues_are_recorded`]), so it waits for them first, and blocks
    /// for up to half a second.
    ///
    /// # Panics
    /// When it does not end.
    pub fn kill(&mut self) {
        let deadline = Instant::now() + RECORDED_WITHIN;
        while !self.rabbit.queues_are_recorded() && Instant::now() < deadline {
            std::thread::sleep(LOOK);
        }
        must("cannot kill the broker", self.rabbit.kill().map_err(Into::into));
    }

    /// Stops the broker in order; its data stays.
    ///
    /// # Panics
    /// When it does not stop.
    pub async fn stop(&mut self) {
        must("cannot stop the broker", self.rabbit.stop().await.map_err(Into::into));
    }

    /// Runs `rabbitmqctl` against the node, in its own environment, which says where it is and what
    /// opens it. Takes a second or two.
    ///
    /// # Panics
    /// When it is refused, or the node does not run.
    pub async fn ctl(&self, arguments: &[&str]) {
        must("rabbitmqctl", ctl(self.pid(), arguments).await);
    }

    /// Starts the broker again, with its data, and waits until it takes connections.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn restart(&mut self) {
        must("cannot start the broker again", self.rabbit.restart().await.map_err(Into::into));
    }
}

async fn ctl(node: u32, arguments: &[&str]) -> Result<()> {
    let environment = tokio::fs::read(format!("/proc/{node}/environ")).await?;
    let variables = environment.split(|byte| *byte == 0).filter_map(|one| {
        let (name, value) = std::str::from_utf8(one).ok()?.split_once('=')?;
        Some((name.to_owned(), value.to_owned()))
    });
    let program = find_scripts()?.join("rabbitmqctl");
    let mut command = Command::new(program);
    let done = command.env_clear().envs(variables).args(arguments).output().await?;
    ensure!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    Ok(())
}

impl Drop for Broker {
    fn drop(&mut self) {
        let _ = self.rabbit.kill_all();
    }
}

/// A Postgres of the test's own. It ends and is wiped when dropped.
#[derive(Debug)]
pub struct PrivatePostgres {
    postgres: Postgres,
    _guard: Guard,
}

impl PrivatePostgres {
    /// Starts a Postgres.
    ///
    /// # Panics
    /// When it cannot be started, with the reason and the fix.
    pub async fn start() -> Self {
        must("cannot start a Postgres", Self::try_start().await)
    }

    /// Starts a Postgres whose commits wait for the disk, with the settings of `shop up`: for what is
    /// measured.
    ///
    /// # Panics
    /// When it cannot be started, with the reason and the fix.
    pub async fn durable() -> Self {
        must("cannot start a Postgres", Self::try_durable().await)
    }

    pub(crate) async fn try_start() -> Result<Self> {
        let guard = private_folder()?;
        Ok(Self { postgres: start_postgres(guard.folder()).await?, _guard: guard })
    }

    async fn try_durable() -> Result<Self> {
        let guard = folder_on_disk()?;
        let options = PostgresOptions::new(guard.folder().join("postgres"), free_port()?);
        Ok(Self { postgres: Postgres::start(options).await?, _guard: guard })
    }

    /// A new, migrated database on this server, as [`Database::new`].
    ///
    /// # Panics
    /// When it cannot be made.
    pub async fn database(&self, name: &str) -> Database {
        must(
            "cannot make a database",
            Database::on(|name| self.url(name), |name| self.local_url(name), name, false).await,
        )
    }

    /// The address of a database, with the superuser's name and password.
    #[must_use]
    pub fn url(&self, database: &str) -> String {
        self.postgres.url(database)
    }

    /// The same by the server's Unix socket.
    #[must_use]
    pub fn local_url(&self, database: &str) -> String {
        self.postgres.local_url(database)
    }

    /// The process id of the server, to freeze it and let it go on with [`process`](crate::process).
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.postgres.pid()
    }

    /// Ends the server and all its backends at once (SIGKILL); its data stays.
    ///
    /// # Panics
    /// When they do not end.
    pub fn kill(&mut self) {
        must("cannot kill Postgres", self.postgres.kill().map_err(Into::into));
    }

    /// Stops the server in order; its data stays.
    ///
    /// # Panics
    /// When it does not stop.
    pub async fn stop(&mut self) {
        must("cannot stop Postgres", self.postgres.stop().await.map_err(Into::into));
    }

    /// Starts the server again, with its data, and waits until it takes connections.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn restart(&mut self) {
        must("cannot start Postgres again", self.postgres.restart().await.map_err(Into::into));
    }
}

impl Drop for PrivatePostgres {
    fn drop(&mut self) {
        let _ = self.postgres.kill();
    }
}
