//! The inventory service: knows products and their stock, sets goods aside for orders, and sends
//! them or gives them back by what becomes of the order.
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
use messaging::{Causes, Pool, Tx};

use config::Config;
use infrastructure::{Queries, Store};
use presentation::import::Turns;
use presentation::{http, messages};

/// The service's name: in its queue, its database, its events' source.
pub const NAME: &str = "inventory";
/// Where it listens when nothing else is said.
pub const DEFAULT_PORT: u16 = 8082;
/// The service's own migrations; they run after the kit's.
pub static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!();

/// What the HTTP handlers share.
#[derive(Clone)]
pub struct App {
    /// The service's database.
    pub pool: Pool,
    /// Reads.
    pub queries: Queries,
    /// The imports that this process takes at the same time.
    pub imports: Turns,
}

impl App {
    /// The service on `pool`.
    pub fn new(pool: Pool) -> Self {
        Self { queries: Queries::new(pool.clone()), pool, imports: Turns::default() }
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

// The host alone knows both who remembers an answer and who gives it.
pub use host::answers::{stored, unless_answered};

/// The short types that the service's queue is bound to.
pub fn bindings() -> Vec<String> {
    messages::handlers().bindings()
}

/// Its HTTP API, which still lacks its [`App`].
pub fn api() -> Api<App> {
    http::api()
}

/// Runs the service until it is told to stop.
pub fn run(source: Source) -> Running {
    host::run(NAME, Config::read(source), serve)
}

async fn serve(Config { service }: Config) -> anyhow::Result<ExitCode> {
    let host = Host::open(NAME, service)?;
    let api = api().with_state(App::new(host.pool().clone()));
    host.handlers(messages::handlers()).serve(api).await
}
