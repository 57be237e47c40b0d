//! The payment service: charges orders whose goods are set aside, and gives the money back where an
//! order was cancelled. The gateway is asked by a task of its own, never while a message is handled.
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
use messaging::step::Signal;
use messaging::{Causes, Pool, Tx};

use config::Config;
use infrastructure::{GatewayClient, Leases, Queries, Store};
use presentation::settlement::Settlement;
use presentation::{http, messages};

/// The service's name: in its queue, its database, its events' source.
pub const NAME: &str = "payment";
/// Where it listens when nothing else is said.
pub const DEFAULT_PORT: u16 = 8083;
/// The service's own migrations; they run after the kit's.
pub static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!();

/// What the HTTP handlers and the task share.
#[derive(Clone)]
pub struct App {
    /// The service's database.
    pub pool: Pool,
    /// Reads.
    pub queries: Queries,
    /// Which payments are ours to settle.
    pub leases: Leases,
    /// The payment gateway.
    pub gateway: GatewayClient,
    /// Given when there is something new to ask the gateway for.
    pub wanted: Signal,
}

impl App {
    /// The service on `pool`, with the gateway at `gateway_url`.
    ///
    /// # Errors
    /// When the gateway's client cannot be made.
    pub fn new(pool: Pool, gateway_url: &str) -> anyhow::Result<Self> {
        let gateway = GatewayClient::new(gateway_url, pool.clone())?;
        let (queries, leases) = (Queries::new(pool.clone()), Leases::new(pool.clone()));
        Ok(Self { pool, queries, leases, gateway, wanted: Signal::new() })
    }
}

/// The stores, on a transaction.
pub fn store(tx: &mut Tx) -> Store<'_> {
    Store(tx, Causes::new())
}

/// The stores, on a transaction about several orders.
pub fn store_of_many(tx: &mut Tx, causes: Causes) -> Store<'_> {
    Store(tx, causes)
}

/// The short types that the service's queue is bound to.
pub fn bindings() -> Vec<String> {
    messages::handlers(&Signal::new()).bindings()
}

/// Its HTTP API, which still lacks its [`App`].
pub fn api() -> Api<App> {
    http::api()
}

/// Runs the service until it is told to stop.
pub fn run(source: Source) -> Running {
    host::run(NAME, Config::read(source), serve)
}

async fn serve(Config { service, gateway_url }: Config) -> anyhow::Result<ExitCode> {
    let host = Host::open(NAME, service)?;
    let app = App::new(host.pool().clone(), gateway_url.as_str())?;
    let api = api().with_state(app.clone());
    host.handlers(messages::handlers(&app.wanted))
        .task("settlement", |stop| Settlement::new(app).run(stop))
        .serve(api)
        .await
}
