//! The audit service: records every event of the system in an append-only log whose entries are
//! chained by their hashes, and tells what became of an order.
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
use feed::{Feed, Follower};
use host::{Host, Running};
use messaging::step::Signal;
use messaging::{ConsumerSettings, Pool, Tx};
use sqlx::PgPool;

use application::ports::StoreError;
use application::verify_chain::ChainReport;
use config::Config;
use infrastructure::{Queries, Store, StoredChain};
use presentation::feed::render;
use presentation::{http, messages};

/// The service's name: in its queue, its database, its events' source.
pub const NAME: &str = "audit";
/// Where it listens when nothing else is said.
pub const DEFAULT_PORT: u16 = 8085;
/// The service's own migrations; they run after the kit's.
pub static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!();

/// What the HTTP handlers share.
#[derive(Clone)]
pub struct App {
    /// The service's database.
    pub pool: Pool,
    /// Reads.
    pub queries: Queries,
    /// Who is told of new entries.
    pub feed: Feed<Queries>,
}

impl App {
    /// The service on `pool`.
    pub fn new(pool: Pool) -> Self {
        let queries = Queries::new(pool.clone());
        let feed = Feed::new(queries.clone(), render, pool.clone(), Queries::CHANNEL);
        Self { pool, queries, feed }
    }
}

/// The stores, on a transaction.
pub fn store(tx: &mut Tx) -> Store<'_> {
    Store(tx)
}

/// The short types that the service's queue is bound to.
pub fn bindings() -> Vec<String> {
    messages::handlers(&Signal::new()).bindings()
}

/// Checks the log in a database from its first entry to its last; see
/// [`verify_chain`](application::verify_chain::verify_chain).
///
/// # Errors
/// The database's own. A log that does not hold is a report, not an error.
pub async fn verify_chain(pg: &PgPool) -> Result<ChainReport, sqlx::Error> {
    let report = application::verify_chain::verify_chain(&StoredChain(pg)).await;
    report.map_err(|StoreError(error)| error)
}

/// Its HTTP API, which still lacks its [`App`].
pub fn api() -> Api<App> {
    http::api()
}

/// Runs the service until it is told to stop.
pub fn run(source: Source) -> Running {
    host::run(NAME, Config::read(source), serve)
}

/// Every event of all services comes here, and a chunk costs as many statements as one event: large ones
/// keep up with the others where small ones do not.
fn consumer() -> ConsumerSettings {
    ConsumerSettings { prefetch: 512, chunk: 256, ..ConsumerSettings::default() }
}

async fn serve(Config { service }: Config) -> anyhow::Result<ExitCode> {
    let host = Host::open(NAME, service)?;
    let app = App::new(host.pool().clone());
    let api = api().with_state(app.clone());
    host.handlers(messages::handlers(app.feed.changed()))
        .consume_with(consumer())
        .task("feed", |stop| Follower::new(app.feed).run(stop))
        .serve(api)
        .await
}
