//! The email service: tells customers what became of their orders. Mail is sent by a task of its own,
//! never while a message is handled.
//!
//! This file is the composition root: it alone sees every room.

pub mod application;
pub mod config;
pub mod domain;
pub mod infrastructure;
pub mod presentation;

use std::process::ExitCode;

use chassis::config::Source;
use chassis::health::Health;
use chassis::http::Api;
use chassis::service::HttpService;
use chassis::supervisor::Supervisor;
use chassis::{metrics, telemetry};
use envelope::signature::{KeyRing, Signer};
use envelope::{Clock, Identity};
use lettre::message::Mailbox;
use messaging::step::Signal;
use messaging::transport::rabbitmq::RabbitMq;
use messaging::{Messaging, Pool, Tx};
use secrecy::ExposeSecret as _;

use config::Config;
use infrastructure::{Leases, Mailer, Queries, SmtpServer, Store};
use presentation::delivery::Delivery;
use presentation::{http, messages};

/// The service's name: in its queue, its database, its events' source.
pub const NAME: &str = "email";
/// Where it listens when nothing else is said.
pub const DEFAULT_PORT: u16 = 8084;
/// The service's own migrations; they run after the kit's.
pub static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!();

/// What the HTTP handlers and the task share.
#[derive(Clone)]
pub struct App {
    /// The service's database.
    pub pool: Pool,
    /// Reads.
    pub queries: Queries,
    /// Which mails are ours to send.
    pub leases: Leases,
    /// The mail server.
    pub mailer: Mailer,
    /// Given when there is something new to send.
    pub wanted: Signal,
    /// The public keys that this service signs with, as it serves them.
    pub event_keys: serde_json::Value,
}

impl App {
    /// The service on `pool`, sending over `server` in the name of `from`.
    pub fn new(
        pool: Pool,
        server: SmtpServer,
        from: Mailbox,
        event_keys: serde_json::Value,
    ) -> Self {
        let mailer = Mailer::new(server, from, pool.clone());
        let (queries, leases) = (Queries::new(pool.clone()), Leases::new(pool.clone()));
        Self { pool, queries, leases, mailer, wanted: Signal::new(), event_keys }
    }
}

/// The stores, on a transaction.
pub fn store(tx: &mut Tx) -> Store<'_> {
    Store(tx)
}

/// The short types that the service's queue is bound to.
pub fn bindings() -> Vec<String> {
    messages::handlers(&Signal::new(), "").bindings()
}

/// Runs the service until it is told to stop.
pub async fn run(source: Source) -> ExitCode {
    match Config::read(source) {
        Ok(config) => serve(config).await.unwrap_or_else(|error| {
            eprintln!("{NAME}: {error:#}");
            ExitCode::FAILURE
        }),
        Err(error) => error.report(),
    }
}

async fn serve(config: Config) -> anyhow::Result<ExitCode> {
    let Config { service, smtp_server, mail_from } = config;
    let telemetry = telemetry::init(NAME, &service.telemetry)?;
    let metrics = metrics::install("shop")?;
    let identity = Identity::new("shop", &service.environment, NAME);
    let signing_key = service.signing_key.expose_secret();
    let signer = Signer::from_base64(&service.signing_key_id, signing_key)?;
    let event_keys = serde_json::json!({ "keys": [signer.public_for(&identity)] });
    let pg = messaging::connect_lazily(service.database_url.expose_secret(), NAME, 16)?;
    let pool = Pool::new(pg, identity, signer, Clock::system());
    let broker = RabbitMq::new(service.amqp_url.expose_secret(), NAME, "shop");
    let keys = KeyRing::from_json(&service.event_keys)?;
    let app = App::new(pool.clone(), smtp_server, mail_from, event_keys);
    let handlers = messages::handlers(&app.wanted, app.mailer.domain());
    let messaging = Messaging::new(pool.clone(), broker, keys, handlers);

    let health = Health::new();
    let (database, kit) = (pool.clone(), messaging.vitals());
    health.check("postgres", move || messaging::ping(database.clone()));
    health.check("rabbitmq", move || std::future::ready(kit.check()));

    let api = Api::new(http::routes(app.clone()));
    let http = HttpService::bind(service.http_addr, api, &health, &metrics).await?;

    // The relay stops last, so that what a handler or the task still commits leaves the house.
    let mut supervisor = Supervisor::new(service.shutdown_grace);
    for task in messaging.tasks() {
        supervisor = supervisor.task(task.name, task.run).phase();
    }
    let send = |stop| async move {
        Delivery::new(app).run(stop).await;
        Ok(())
    };
    let supervisor = supervisor.task("delivery", send);
    let outcome = supervisor.task("http", |stop| http.run(stop)).run().await;
    telemetry.shutdown().await;
    Ok(ExitCode::from(outcome.code()))
}
