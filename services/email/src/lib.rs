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
use chassis::http::Api;
use host::{Host, Running};
use lettre::message::Mailbox;
use messaging::step::Signal;
use messaging::{Causes, Pool, Tx};

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
}

impl App {
    /// The service on `pool`, sending over `server` in the name of `from`.
    pub fn new(pool: Pool, server: SmtpServer, from: Mailbox) -> Self {
        let mailer = Mailer::new(server, from, pool.clone());
        let (queries, leases) = (Queries::new(pool.clone()), Leases::new(pool.clone()));
        Self { pool, queries, leases, mailer, wanted: Signal::new() }
    }
}

/// The stores, on a transaction.
pub fn store(tx: &mut Tx) -> Store<'_> {
    Store(tx, Causes::new())
}

/// The stores, on a transaction about several mails, new ones by order and others by themselves.
pub fn store_of_many(tx: &mut Tx, causes: Causes) -> Store<'_> {
    Store(tx, causes)
}

/// The short types that the service's queue is bound to.
pub fn bindings() -> Vec<String> {
    messages::handlers(&Signal::new(), "").bindings()
}

/// Its HTTP API, which still lacks its [`App`].
pub fn api() -> Api<App> {
    http::api()
}

/// Runs the service until it is told to stop.
pub fn run(source: Source) -> Running {
    host::run(NAME, Config::read(source), serve)
}

async fn serve(config: Config) -> anyhow::Result<ExitCode> {
    let Config { service, smtp_server, mail_from } = config;
    let host = Host::open(NAME, service)?;
    let app = App::new(host.pool().clone(), smtp_server, mail_from);
    let api = api().with_state(app.clone());
    host.handlers(messages::handlers(&app.wanted, app.mailer.domain()))
        .task("delivery", |stop| Delivery::new(app).run(stop))
        .serve(api)
        .await
}
