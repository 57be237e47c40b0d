//! The servers that everything is measured on, as `shop up` starts them: nothing is relaxed for a figure.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use reqwest::Method;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use testkit::{Broker, PrivatePostgres};

use crate::cli::Args;

/// What decides in Postgres whether a commit survives.
const DURABILITY: [&str; 4] =
    ["fsync", "synchronous_commit", "full_page_writes", "wal_sync_method"];

/// What is measured on.
#[derive(Debug)]
pub(crate) struct Stage {
    pub(crate) postgres: PrivatePostgres,
    pub(crate) broker: Broker,
    /// The program with the services.
    pub(crate) shop: PathBuf,
    /// Smaller loads.
    pub(crate) quick: bool,
    /// How long an outbox lives before it is measured with old rows in it.
    pub(crate) churn: Duration,
}

impl Stage {
    /// Starts the servers.
    ///
    /// # Errors
    /// When the services' program is not there.
    pub(crate) async fn start(args: &Args) -> anyhow::Result<Self> {
        let beside = || Ok::<_, std::io::Error>(std::env::current_exe()?.with_file_name("shop"));
        let shop = args.shop.clone().map_or_else(beside, Ok)?;
        let shop = shop.canonicalize().with_context(|| format!("no {}", shop.display()))?;
        let (postgres, broker) = tokio::join!(PrivatePostgres::durable(), Broker::durable());
        Ok(Self { postgres, broker, shop, quick: args.quick, churn: args.churn() })
    }

    /// The settings of Postgres that decide whether a commit survives.
    ///
    /// # Errors
    /// When it does not answer.
    pub(crate) async fn durability(&self) -> anyhow::Result<Vec<(String, String)>> {
        let mut settings = Vec::new();
        for name in DURABILITY {
            settings.push((name.to_owned(), self.ask(&format!("show {name}")).await?));
        }
        Ok(settings)
    }

    /// # Errors
    /// When Postgres does not answer.
    pub(crate) async fn postgres_version(&self) -> anyhow::Result<String> {
        self.ask("show server_version").await
    }

    /// # Errors
    /// When RabbitMQ does not answer.
    pub(crate) async fn rabbitmq_version(&self) -> anyhow::Result<String> {
        let overview = self.broker.management().call(Method::GET, &["overview"], None).await?;
        let overview = overview.context("no overview")?;
        let of = |name: &str| overview[name].as_str().unwrap_or("?").to_owned();
        Ok(format!("{} (Erlang {})", of("rabbitmq_version"), of("erlang_version")))
    }

    async fn ask(&self, statement: &str) -> anyhow::Result<String> {
        let mut postgres = PgConnection::connect(&self.postgres.url("postgres")).await?;
        let statement = AssertSqlSafe(statement.to_owned());
        Ok(sqlx::query_scalar(statement).fetch_one(&mut postgres).await?)
    }
}
