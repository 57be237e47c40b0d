//! The order service: takes orders over HTTP, prices them from its catalogue, and sees each to its
//! end by what inventory and payment report.
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
use chrono::TimeDelta;
use host::Host;
use messaging::{Pool, Tx};

use config::Config;
use infrastructure::{Queries, Store};
use presentation::deadlines::Deadlines;
use presentation::{http, messages};

/// The service's name: in its queue, its database, its events' source.
pub const NAME: &str = "order";
/// Where it listens when nothing else is said.
pub const DEFAULT_PORT: u16 = 8081;
/// The service's own migrations; they run after the kit's.
pub static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!();

/// What the HTTP handlers share.
#[derive(Clone)]
pub struct App {
    /// The service's database.
    pub pool: Pool,
    /// Reads.
    pub queries: Queries,
    /// How long an order may be pending.
    pub order_deadline: TimeDelta,
}

/// The stores, on a transaction.
pub fn store(tx: &mut Tx) -> Store<'_> {
    Store(tx)
}

/// The short types that the service's queue is bound to.
pub fn bindings() -> Vec<String> {
    messages::handlers().bindings()
}

/// Runs the service until it is told to stop.
pub async fn run(source: Source) -> ExitCode {
    host::run(NAME, Config::read(source), serve).await
}

async fn serve(Config { service, order_deadline }: Config) -> anyhow::Result<ExitCode> {
    let host = Host::open(NAME, service)?;
    let (pool, queries) = (host.pool().clone(), Queries::new(host.pool().clone()));
    let app = App { pool, queries, order_deadline };
    let api = Api::new(http::routes(app.clone()));
    host.handlers(messages::handlers())
        .task("deadlines", |stop| Deadlines::new(app).run(stop))
        .serve(api)
        .await
}
