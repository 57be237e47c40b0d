//! A whole shop for one test.

mod client;
mod ending;
mod gate;
mod replicas;
mod rest;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use messaging::topology::Topology;
use messaging::transport::Transport as _;
use messaging::transport::rabbitmq::RabbitMq;
use sandbox::gateway::{Gateway, GatewayOptions};
use sandbox::otlp::{Receiver, StoreLimits, TraceStore};
use sandbox::smtp::{Mailbox, MailboxLimits, SmtpServer};
use sqlx::PgPool;
use testkit::{Database, Vhost, eventually};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

pub use client::{Answer, basket};
pub use ending::{BY_CUSTOMER, Ending, TIMED_OUT};
pub use gate::Gate;
use replicas::Replica;

pub const SERVICES: [&str; 5] = ["order", "inventory", "payment", "email", "audit"];
/// A healthy shop needs milliseconds; a busy test machine gets patience.
pub const SOON: Duration = Duration::from_secs(30);
/// For what may rest on the rungs of 1, 5 and 30 s while something is away.
pub const LATER: Duration = Duration::from_secs(120);

pub struct World {
    pub databases: BTreeMap<&'static str, Database>,
    pub vhost: Vhost,
    pub gateway: Gateway,
    /// Between payment and the gateway.
    pub gate: Gate,
    pub mailbox: Mailbox,
    pub traces: TraceStore,
    pub http: reqwest::Client,
    gateway_url: String,
    replicas: Mutex<Vec<Replica>>,
    settings: Vec<(String, String)>,
    stop: CancellationToken,
    folder: PathBuf,
}

impl World {
    /// One replica of each service, ready.
    pub async fn start() -> Self {
        Self::start_on(Vhost::new().await, 1).await
    }

    /// `replicas` of each service, over the broker that `vhost` is on.
    pub async fn start_on(vhost: Vhost, replicas: usize) -> Self {
        let mut databases = BTreeMap::new();
        for service in SERVICES {
            databases.insert(service, Database::new(service).await);
        }
        Self::of(&SERVICES.repeat(replicas), vhost, databases).await
    }

    /// A replica per name in `services`, each of which has its database.
    pub async fn of(
        services: &[&'static str],
        vhost: Vhost,
        databases: BTreeMap<&'static str, Database>,
    ) -> Self {
        let stop = CancellationToken::new();
        let folder = std::env::temp_dir().join(format!("tidings-e2e-{}", Uuid::now_v7()));
        std::fs::create_dir_all(&folder).unwrap();
        provision(&vhost, databases.keys()).await;
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let traces = TraceStore::new(StoreLimits::default());
        let otlp = Receiver::start(any, any, traces.clone(), &stop).await.unwrap();
        let mailbox = Mailbox::new(MailboxLimits::default());
        let smtp = SmtpServer::start(any, mailbox.clone(), &stop).await.unwrap();
        let (gateway, gateway_address) = gateway(&folder, &stop).await;
        let gate = Gate::before(gateway_address).await;
        let settings = [
            ("AMQP_URL", vhost.amqp_url().to_owned()),
            ("ENVIRONMENT", "test".into()),
            ("EVENT_KEYS", replicas::event_keys()),
            ("GATEWAY_URL", format!("http://{}", gate.addr)),
            ("SMTP_URL", format!("smtp://{}", smtp.addr())),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", format!("http://{}", otlp.grpc_addr())),
            ("OTEL_BSP_SCHEDULE_DELAY", "100".into()),
            ("RUST_LOG", "info".into()),
        ];
        let world = Self {
            databases,
            vhost,
            gateway,
            gate,
            mailbox,
            traces,
            http: reqwest::Client::new(),
            gateway_url: format!("http://{gateway_address}"),
            replicas: Mutex::default(),
            settings: settings.map(|(name, value)| (name.to_owned(), value)).to_vec(),
            stop,
            folder,
        };
        for service in services {
            world.run(service, &[]);
        }
        world.ready().await;
        world
    }

    pub fn pg(&self, service: &str) -> PgPool {
        self.databases[service].pool()
    }

    /// The one number that a query of a service's database gives.
    pub async fn count(&self, service: &str, sql: &'static str) -> i64 {
        sqlx::query_scalar(sql).fetch_one(&self.pg(service)).await.unwrap()
    }
}

async fn gateway(folder: &Path, stop: &CancellationToken) -> (Gateway, SocketAddr) {
    let options = GatewayOptions { hold: Duration::from_millis(500) };
    let gateway = Gateway::open(folder.join("ledger.jsonl"), options).unwrap();
    let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let server = gateway.serve(listener, stop).unwrap();
    (gateway, server.addr())
}

fn bindings() -> [(&'static str, Vec<String>); 5] {
    [
        ("order", order::bindings()),
        ("inventory", inventory::bindings()),
        ("payment", payment::bindings()),
        ("email", email::bindings()),
        ("audit", audit::bindings()),
    ]
}

/// What a service has at the broker.
pub fn topology(service: &str) -> Topology {
    let found = bindings().into_iter().find(|(name, _)| *name == service);
    Topology { service: service.to_owned(), bindings: found.unwrap().1 }
}

async fn provision(vhost: &Vhost, services: impl Iterator<Item = &&'static str>) {
    let broker = RabbitMq::new(vhost.amqp_url(), "e2e", "shop");
    for service in services {
        let topology = topology(service);
        eventually(SOON, || broker.provision(&topology)).await;
    }
}
