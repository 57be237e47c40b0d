//! The pair of servers that a test uses.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use sandbox::ports::free_port;
use sandbox::postgres::{Postgres, PostgresOptions};
use sandbox::rabbitmq::{RabbitMq, RabbitOptions, RabbitPorts};
use serde::{Deserialize, Serialize};
use tokio::sync::OnceCell;

use crate::management::Management;
use crate::{must, shared};

/// The variables that name servers which are already there.
pub(crate) const POSTGRES_URL: &str = "TESTKIT_POSTGRES_URL";
pub(crate) const AMQP_URL: &str = "TESTKIT_AMQP_URL";
pub(crate) const MANAGEMENT_URL: &str = "TESTKIT_MANAGEMENT_URL";

static SHARED: OnceCell<Servers> = OnceCell::const_new();

/// The addresses of one Postgres and one RabbitMQ, with the names and passwords of administrators.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Servers {
    postgres: String,
    amqp: String,
    management: String,
}

impl Servers {
    /// The pair that all test processes share: the one that `testkit run` or the variables
    /// `TESTKIT_POSTGRES_URL`, `TESTKIT_AMQP_URL` and `TESTKIT_MANAGEMENT_URL` name, otherwise one that
    /// the first test starts and that ends ten minutes after the last.
    ///
    /// # Panics
    /// When they cannot be started, with the reason and the fix.
    pub async fn shared() -> &'static Self {
        let servers = SHARED.get_or_try_init(|| async {
            match Self::from_env() {
                Some(servers) => Ok(servers),
                None => shared::join_or_start().await,
            }
        });
        must("cannot start the servers that tests share", servers.await)
    }

    /// The address of a database.
    #[must_use]
    pub fn postgres_url(&self, database: &str) -> String {
        with_path(&self.postgres, database)
    }

    /// The same for programs on this machine, with the address' parameters, of which `host` tells of a
    /// Unix socket.
    #[must_use]
    pub fn local_postgres_url(&self, database: &str) -> String {
        let by_tcp = self.postgres_url(database);
        match self.postgres.split_once('?') {
            Some((_, parameters)) => format!("{by_tcp}?{parameters}"),
            None => by_tcp,
        }
    }

    /// The address of a vhost, with a heartbeat of 10 s.
    #[must_use]
    pub fn amqp_url(&self, vhost: &str) -> String {
        let vhost = vhost.replace('%', "%25").replace('/', "%2f");
        format!("{}?heartbeat=10", with_path(&self.amqp, &vhost))
    }

    /// The management API of the broker.
    #[must_use]
    pub fn management(&self) -> Management {
        must("a wrong management address", Management::new(&self.management))
    }

    /// The variables that make another process use these servers.
    #[must_use]
    pub fn env(&self) -> [(&'static str, String); 3] {
        [
            (POSTGRES_URL, self.postgres.clone()),
            (AMQP_URL, self.amqp.clone()),
            (MANAGEMENT_URL, self.management.clone()),
        ]
    }

    pub(crate) fn of(postgres: &Postgres, rabbit: &RabbitMq) -> Self {
        Self {
            postgres: postgres.local_url("postgres"),
            amqp: rabbit.url("shop"),
            management: rabbit.management_url(),
        }
    }

    /// Whether both take connections.
    pub(crate) async fn answer(&self) -> bool {
        let mut all = true;
        for url in [&self.postgres, &self.amqp, &self.management] {
            let address = authority(url).rsplit('@').next().unwrap_or_default();
            let connect = tokio::net::TcpStream::connect(address.to_owned());
            all &= tokio::time::timeout(Duration::from_secs(5), connect)
                .await
                .is_ok_and(|c| c.is_ok());
        }
        all
    }

    fn from_env() -> Option<Self> {
        Some(Self {
            postgres: env(POSTGRES_URL)?,
            amqp: env(AMQP_URL)?,
            management: env(MANAGEMENT_URL)?,
        })
    }
}

/// Starts a fresh pair in a folder: `postgres` and `rabbitmq`.
pub(crate) async fn start_pair(folder: &Path) -> Result<(Postgres, RabbitMq)> {
    let postgres = start_postgres(folder);
    let ports = RabbitPorts::free()?;
    let rabbit = RabbitMq::start(RabbitOptions::for_tests(folder.join("rabbitmq"), ports));
    tokio::try_join!(postgres, async { Ok(rabbit.await?) })
}

/// Starts a fresh Postgres in `folder/postgres`.
pub(crate) async fn start_postgres(folder: &Path) -> Result<Postgres> {
    let options = PostgresOptions::for_tests(folder.join("postgres"), free_port()?);
    Ok(Postgres::start(options).await?)
}

#[expect(clippy::disallowed_methods, reason = "the testkit's own switches have their home here")]
pub(crate) fn env(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// `scheme://authority` with another path, and without the query.
fn with_path(url: &str, path: &str) -> String {
    let scheme = url.split_once("://").map_or("", |(scheme, _)| scheme);
    format!("{scheme}://{}/{path}", authority(url))
}

fn authority(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.split(['/', '?']).next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;

    #[test]
    fn the_database_and_the_vhost_replace_what_the_address_names() {
        let servers = Servers {
            postgres: "postgres://a:b@h:1/postgres?host=/s".into(),
            amqp: "amqp://a:b@h:2".into(),
            management: "http://a:b@h:3/".into(),
        };
        assert_eq!(servers.postgres_url("t_1"), "postgres://a:b@h:1/t_1");
        assert_eq!(servers.local_postgres_url("t_1"), "postgres://a:b@h:1/t_1?host=/s");
        assert_eq!(servers.amqp_url("/"), "amqp://a:b@h:2/%2f?heartbeat=10");
    }
}
