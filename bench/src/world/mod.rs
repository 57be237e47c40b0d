//! The five services with all that they talk to, as processes of their own on the stage's servers.

pub(crate) mod customers;
pub(crate) mod load;
pub(crate) mod past;
mod process;
mod settings;
pub(crate) mod usage;
pub(crate) mod watch;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use futures_util::future::try_join_all;
use messaging::topology::Topology;
use messaging::transport::Transport as _;
use messaging::transport::rabbitmq::RabbitMq;
use reqwest::Client;
use shop::verify::{self, Service};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use testkit::{Database, Vhost, free_port};

use crate::stage::Stage;
pub(crate) use process::Process;
use settings::Outside;

/// No request takes longer unless something is wrong.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

/// The events of an order that is confirmed and shipped, in their order.
pub(crate) const EVENTS: [&str; 6] = [
    "order.placed.v1",
    "inventory.stock_reserved.v1",
    "payment.captured.v1",
    "order.confirmed.v1",
    "inventory.stock_shipped.v1",
    "email.sent.v1",
];
/// Orders of the past of a usual shop: statements are planned for tables that hold something and that
/// Postgres has counted, as in any shop that is not an hour old.
const PAST: u32 = 10_000;

/// The share of traces that are recorded, unless something else is measured.
pub(crate) const ALL_TRACED: f64 = 1.0;

/// Everything there is.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) services: Vec<(Service, Process)>,
    pub(crate) gateway: Process,
    pub(crate) mail: Process,
    pub(crate) collector: Process,
    pub(crate) databases: BTreeMap<Service, Database>,
    pub(crate) vhost: Vhost,
    /// Its connections stay open.
    pub(crate) http: Client,
    outside: Outside,
    /// Recorded at the start.
    sampling: f64,
    executable: PathBuf,
    folder: Folder,
}

/// A folder that goes with its handle.
#[derive(Debug)]
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

impl World {
    /// Starts all of it on databases with some past and waits until it is ready. `sampling` is the share of traces
    /// that are recorded.
    ///
    /// # Errors
    /// When something does not start.
    pub(crate) async fn start(stage: &Stage, sampling: f64) -> anyhow::Result<Self> {
        let databases = databases(stage).await;
        past::fill(&databases, PAST).await?;
        Self::on(stage, databases, sampling).await
    }

    /// As [`start`](Self::start), on databases that hold what they hold.
    ///
    /// # Errors
    /// When something does not start.
    pub(crate) async fn on(
        stage: &Stage,
        databases: BTreeMap<Service, Database>,
        sampling: f64,
    ) -> anyhow::Result<Self> {
        let folder = Folder(std::env::temp_dir().join(format!("tidings-bench-{}", free_port()?)));
        std::fs::create_dir_all(&folder.0)?;
        let vhost = stage.broker.vhost().await;
        provision(&vhost).await?;
        let http = Client::builder().no_proxy().timeout(ANSWER_WITHIN).build()?;
        let (outside, programs) = settings::outside(&folder.0)?;
        let start = |program| Process::start(program, &stage.shop, &folder.0);
        let [gateway, mail, collector] = programs;
        let (mut gateway, mut mail, mut collector) =
            (start(gateway)?, start(mail)?, start(collector)?);
        for process in [&mut gateway, &mut mail, &mut collector] {
            process.ready(&http).await?;
        }
        let (services, executable) = (Vec::new(), stage.shop.clone());
        let mut world = Self {
            services,
            gateway,
            mail,
            collector,
            databases,
            vhost,
            http,
            outside,
            sampling,
            executable,
            folder,
        };
        for service in Service::ALL {
            world.add(service)?;
        }
        world.ready().await?;
        Ok(world)
    }

    /// Starts one more replica of a service.
    fn add(&mut self, service: Service) -> anyhow::Result<()> {
        let n = 1 + self.services.iter().filter(|(which, _)| *which == service).count();
        let servers = (self.databases[&service].local_url(), self.vhost.amqp_url());
        let program = settings::service(service, n, servers, &self.outside, self.sampling)?;
        self.services.push((service, Process::start(program, &self.executable, &self.folder.0)?));
        Ok(())
    }

    /// Starts replicas of a service until there are so many, and waits until all are ready.
    ///
    /// # Errors
    /// When one does not start.
    pub(crate) async fn replicate(&mut self, service: Service, many: usize) -> anyhow::Result<()> {
        while self.services.iter().filter(|(which, _)| *which == service).count() < many {
            self.add(service)?;
        }
        self.ready().await
    }

    /// Waits until every service is ready.
    ///
    /// # Errors
    /// Which is not, with its last words.
    pub(crate) async fn ready(&mut self) -> anyhow::Result<()> {
        let http = &self.http;
        try_join_all(self.services.iter_mut().map(|(_, process)| process.ready(http))).await?;
        Ok(())
    }

    /// Starts all services again so that they record this share of the traces.
    ///
    /// # Errors
    /// When one does not end or start.
    pub(crate) async fn sample(&mut self, share: f64) -> anyhow::Result<()> {
        let settings = settings::sampling(share);
        let all = self.services.iter_mut().map(|(_, process)| process.restart(&settings));
        try_join_all(all).await?;
        self.ready().await
    }

    /// Where a service's first replica serves HTTP.
    pub(crate) fn url(&self, service: Service) -> &str {
        let first = self.services.iter().find(|(which, _)| *which == service);
        first.map_or("", |(_, process)| process.program.url.as_str())
    }

    /// What `shop verify` looks at.
    ///
    /// # Errors
    /// When an address cannot be read.
    pub(crate) fn verify(&self) -> anyhow::Result<verify::World> {
        let url_of = |service: Service| self.databases[&service].local_url().to_owned();
        let broker = verify::Broker::new(&self.vhost.management().url(), self.vhost.name())?;
        let gateway = verify::Gateway::new(self.gateway.program.url.clone());
        Ok(verify::World::new(verify::Databases::at(url_of)?, broker, gateway))
    }

    /// Waits until nothing is under way in any service.
    ///
    /// # Errors
    /// What still is after `within`.
    pub(crate) async fn rest(&self, within: Duration) -> anyhow::Result<()> {
        let busy = verify::settle(&self.verify()?, within).await?;
        anyhow::ensure!(busy.is_none(), "not at rest after {within:?}: {busy:?}");
        Ok(())
    }

    /// One number that a service's database knows.
    ///
    /// # Errors
    /// When it does not answer.
    pub(crate) async fn count(&self, service: Service, sql: &'static str) -> anyhow::Result<i64> {
        let pool = self.databases[&service].pool();
        sqlx::query_scalar(sql).fetch_one(&pool).await.with_context(|| format!("{service}: {sql}"))
    }

    /// Ends everything, and with it the databases, so that nothing of it runs beside the next figure.
    ///
    /// # Errors
    /// When something does not end.
    pub(crate) async fn stop(self, stage: &Stage) -> anyhow::Result<()> {
        for database in self.leave().await?.values() {
            drop_database(stage, database.name()).await?;
        }
        Ok(())
    }

    /// Ends everything but the databases.
    ///
    /// # Errors
    /// When something does not end.
    pub(crate) async fn leave(mut self) -> anyhow::Result<BTreeMap<Service, Database>> {
        try_join_all(self.services.iter_mut().map(|(_, process)| process.stop())).await?;
        for process in [&mut self.gateway, &mut self.mail, &mut self.collector] {
            process.stop().await?;
        }
        Ok(self.databases)
    }
}

/// Empty databases for all services.
pub(crate) async fn databases(stage: &Stage) -> BTreeMap<Service, Database> {
    let mut databases = BTreeMap::new();
    for service in Service::ALL {
        databases.insert(service, stage.postgres.database(service.name()).await);
    }
    databases
}

/// Drops a database of the stage.
///
/// # Errors
/// Postgres' own.
pub(crate) async fn drop_database(stage: &Stage, name: &str) -> anyhow::Result<()> {
    let mut admin = PgConnection::connect(&stage.postgres.url("postgres")).await?;
    let sql = format!("drop database {name} with (force)");
    sqlx::query(AssertSqlSafe(sql)).execute(&mut admin).await?;
    Ok(())
}

/// The queues of all services.
pub(crate) async fn provision(vhost: &Vhost) -> anyhow::Result<()> {
    let broker = RabbitMq::new(vhost.amqp_url(), "bench", settings::NAMESPACE);
    for service in shop::services::SERVICES {
        let (name, bindings) = (service.name.to_owned(), (service.bindings)());
        broker.provision(&Topology { service: name, bindings }).await?;
    }
    Ok(())
}
