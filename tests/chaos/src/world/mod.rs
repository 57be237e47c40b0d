//! The whole system, every way in it through a link that can be broken.

pub(crate) mod link;
pub(crate) mod process;
mod settings;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use messaging::topology::Topology;
use messaging::transport::Transport as _;
use messaging::transport::rabbitmq::RabbitMq;
use reqwest::Client;
use sandbox::otlp::{Receiver, StoreLimits, TraceStore};
use sandbox::smtp::{FaultSwitch, Mailbox, MailboxLimits, SmtpServer};
use shop::verify::{self, Databases, Gateway, Service};
use testkit::{Broker, Database, Management, PrivatePostgres, Vhost, free_port};
use tokio::sync::Mutex;
use tokio_util::sync::{CancellationToken, DropGuard};

use link::Link;
use process::{Process, Program};

/// Replicas of every service.
pub(crate) const REPLICAS: usize = 2;
/// How long the system may take until it is ready; the machine may be busy.
const READY_WITHIN: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(100);
/// More than any episode sends.
const MAILS: usize = 100_000;

/// One replica and its ways to the servers.
#[derive(Debug)]
pub(crate) struct Replica {
    pub(crate) service: Service,
    pub(crate) process: Process,
    pub(crate) to_database: Link,
    pub(crate) to_broker: Link,
}

/// Everything there is.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) replicas: Vec<Replica>,
    pub(crate) outside: Outside,
    pub(crate) databases: BTreeMap<&'static str, Database>,
    pub(crate) broker: Mutex<Broker>,
    pub(crate) vhost: Vhost,
    pub(crate) postgres: Mutex<PrivatePostgres>,
    pub(crate) management: Management,
    pub(crate) http: Client,
    pub(crate) verify: verify::World,
    pub(crate) bug: Option<String>,
    folder: PathBuf,
}

/// What is not ours: a payment gateway, a mail server, a trace collector, and the ways to them.
#[derive(Debug)]
pub(crate) struct Outside {
    pub(crate) gateway: Process,
    pub(crate) to_gateway: Link,
    pub(crate) to_mail: Link,
    pub(crate) to_collector: Link,
    pub(crate) mail_faults: FaultSwitch,
    pub(crate) mailbox: Mailbox,
    _end: DropGuard,
}

impl Outside {
    async fn start(shop: &Path, folder: &Path) -> anyhow::Result<Self> {
        let stop = CancellationToken::new();
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let traces = TraceStore::new(StoreLimits::default());
        let otlp = Receiver::start(any, any, traces, &stop).await?;
        let mailbox = Mailbox::new(MailboxLimits { mails: MAILS, ..MailboxLimits::default() });
        let smtp = SmtpServer::start(any, mailbox.clone(), &stop).await?;
        let gateway = settings::gateway(folder)?;
        Ok(Self {
            to_gateway: Link::to(address_of(&gateway.url)?).await?,
            gateway: Process::of(gateway, shop, folder),
            to_mail: Link::to(smtp.addr()).await?,
            to_collector: Link::to(otlp.grpc_addr()).await?,
            mail_faults: smtp.faults().clone(),
            mailbox,
            _end: stop.drop_guard(),
        })
    }
}

impl World {
    /// Starts all of it and waits until it is ready. `bug` is put into every service.
    ///
    /// # Errors
    /// When something does not start.
    pub(crate) async fn start(shop: &Path, bug: Option<&str>) -> anyhow::Result<Self> {
        let folder = std::env::temp_dir().join(format!("tidings-chaos-{}", free_port()?));
        std::fs::create_dir_all(&folder)?;
        let (broker, postgres) = tokio::join!(Broker::private(), PrivatePostgres::start());
        let vhost = broker.vhost().await;
        let mut databases = BTreeMap::new();
        for service in Service::ALL {
            databases.insert(service.name(), postgres.database(service.name()).await);
        }
        provision(&vhost).await?;
        let outside = Outside::start(shop, &folder).await?;
        let common = settings::common(&outside, bug);
        let mut replicas = Vec::new();
        for service in Service::ALL {
            let urls = (databases[service.name()].url(), vhost.amqp_url());
            for n in 1..=REPLICAS {
                let to_database = Link::to(address_of(urls.0)?).await?;
                let to_broker = Link::to(address_of(urls.1)?).await?;
                let ways = settings::Ways { database: &to_database, broker: &to_broker };
                let program = settings::service(service, n, ways, urls, &common)?;
                let process = Process::of(program, shop, &folder);
                replicas.push(Replica { service, process, to_database, to_broker });
            }
        }
        let management = broker.management();
        let world = Self {
            verify: verify_world(&databases, &management, &vhost, &outside.gateway.program)?,
            replicas,
            outside,
            databases,
            broker: Mutex::new(broker),
            vhost,
            postgres: Mutex::new(postgres),
            management,
            http: Client::builder().no_proxy().timeout(Duration::from_secs(8)).build()?,
            bug: bug.map(str::to_owned),
            folder,
        };
        for process in world.processes() {
            process.start(&[])?;
        }
        world.ready().await?;
        Ok(world)
    }

    /// Every process that we start.
    pub(crate) fn processes(&self) -> impl Iterator<Item = &Process> {
        self.replicas.iter().map(|replica| &replica.process).chain([&self.outside.gateway])
    }

    /// Every way.
    pub(crate) fn links(&self) -> impl Iterator<Item = &Link> {
        let ways = self.replicas.iter().flat_map(|one| [&one.to_database, &one.to_broker]);
        let Outside { to_gateway, to_mail, to_collector, .. } = &self.outside;
        ways.chain([to_gateway, to_mail, to_collector])
    }

    /// The n-th replica of a service, counted round and round.
    pub(crate) fn replica(&self, service: Service, n: usize) -> &Replica {
        let first = self.replicas.iter().position(|one| one.service == service).unwrap_or_default();
        &self.replicas[first + n % REPLICAS]
    }

    /// Starts what has ended, after a look at how: one that nobody meant to end is told.
    ///
    /// # Errors
    /// When a process cannot be started.
    pub(crate) fn bring_back(&self) -> anyhow::Result<Vec<String>> {
        let mut surprises = Vec::new();
        for process in self.processes() {
            // Whoever does something to it brings it back himself.
            let Ok(_free) = process.in_use.try_lock() else { continue };
            if let Some((status, meant)) = process.reap()?
                && !meant
            {
                let (name, words) = (&process.program.name, process.last_words());
                surprises.push(format!("{name} ended by itself ({status}): {words}"));
            }
            if process.is_down() {
                process.start(&[])?;
            }
        }
        Ok(surprises)
    }

    /// Waits until every process says that it is ready.
    ///
    /// # Errors
    /// Which is not, and why.
    pub(crate) async fn ready(&self) -> anyhow::Result<()> {
        let until = Instant::now() + READY_WITHIN;
        for process in self.processes() {
            while let Err(why) = self.is_ready(process).await {
                if Instant::now() >= until {
                    let words = process.last_words();
                    bail!("{} is not ready: {why:#}\n{words}", process.program.name);
                }
                tokio::time::sleep(LOOK).await;
            }
        }
        Ok(())
    }

    async fn is_ready(&self, process: &Process) -> anyhow::Result<()> {
        let path = if process.program.verb == settings::GATEWAY {
            "/charges?limit=1"
        } else {
            "/health/ready"
        };
        let answer = self.http.get(format!("{}{path}", process.program.url)).send().await?;
        let status = answer.status();
        if status.is_success() {
            return Ok(());
        }
        bail!("{status} {}", answer.text().await.unwrap_or_default())
    }
}

impl Drop for World {
    fn drop(&mut self) {
        for process in self.processes() {
            let _ = process.kill();
        }
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// The host and port in a URL.
fn address_of(url: &str) -> anyhow::Result<SocketAddr> {
    let place = url.split("://").nth(1).unwrap_or(url).rsplit('@').next().unwrap_or_default();
    let place = place.split(['/', '?']).next().unwrap_or_default();
    place.parse().with_context(|| format!("{place:?} is no address and port"))
}

fn verify_world(
    databases: &BTreeMap<&'static str, Database>,
    management: &Management,
    vhost: &Vhost,
    gateway: &Program,
) -> anyhow::Result<verify::World> {
    let databases = Databases::at(|service| databases[service.name()].url().to_owned())?;
    let broker = verify::Broker::new(&management.url(), vhost.name())?;
    Ok(verify::World::new(databases, broker, Gateway::new(gateway.url.clone())))
}

/// The queues of all services.
async fn provision(vhost: &Vhost) -> anyhow::Result<()> {
    let broker = RabbitMq::new(vhost.amqp_url(), "chaos", settings::NAMESPACE);
    for topology in topologies() {
        broker.provision(&topology).await?;
    }
    Ok(())
}

/// What each service has at the broker.
pub(crate) fn topologies() -> Vec<Topology> {
    let known = shop::services::SERVICES.iter();
    let topology = |service: &shop::services::Service| Topology {
        service: service.name.to_owned(),
        bindings: (service.bindings)(),
    };
    known.map(topology).collect()
}
