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
use feed::{Feed, Follower};
use host::{Host, Running};
use messaging::step::Signal;
use messaging::{Causes, Pool, Tx};

use config::Config;
use infrastructure::{OrderChanges, Queries, Store, name_metrics};
use presentation::deadlines::Deadlines;
use presentation::feed::render;
use presentation::gauges::Gauges;
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
    /// Who is told of changes.
    pub feed: Feed<OrderChanges>,
}

impl App {
    /// The service on `pool`.
    pub fn new(pool: Pool, order_deadline: TimeDelta) -> Self {
        let changes = OrderChanges::new(pool.clone());
        let feed = Feed::new(changes, render, pool.clone(), OrderChanges::CHANNEL);
        Self { queries: Queries::new(pool.clone()), pool, order_deadline, feed }
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

async fn serve(Config { service, order_deadline }: Config) -> anyhow::Result<ExitCode> {
    let host = Host::open(NAME, service)?;
    name_metrics();
    let app = App::new(host.pool().clone(), order_deadline);
    let (api, deadlines) = (api().with_state(app.clone()), Deadlines::new(app.clone()));
    let gauges = Gauges::new(app.clone());
    host.handlers(messages::handlers(app.feed.changed()))
        .task("deadlines", |stop| deadlines.run(stop))
        .task("order-gauges", |stop| gauges.run(stop))
        .task("feed", |stop| Follower::new(app.feed).run(stop))
        .serve(api)
        .await
}
