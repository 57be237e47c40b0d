//! The services' databases: the real migrations, one world after the other.

use std::collections::BTreeMap;

use anyhow::Context as _;
use messaging::simulation::connect;
use shop::verify::Service;
use sqlx::PgPool;
use testkit::{Database, PrivatePostgres};

/// Which Postgres has them.
#[derive(Debug)]
pub enum Server {
    /// The one that all tests share.
    Shared,
    /// One of this run's own.
    Own(Box<PrivatePostgres>),
}

impl Server {
    /// A Postgres of one's own, which ends with this value.
    pub async fn private() -> Self {
        Self::Own(Box::new(PrivatePostgres::start().await))
    }

    async fn database(&self, name: &str) -> Database {
        match self {
            Self::Shared => Database::new(name).await,
            Self::Own(postgres) => postgres.database(name).await,
        }
    }
}

/// A database per service.
pub(crate) struct Databases {
    pools: BTreeMap<Service, PgPool>,
    /// Dropped with this value.
    _databases: Vec<Database>,
}

impl Databases {
    /// New ones.
    ///
    /// # Errors
    /// The database's own.
    pub(crate) async fn new(server: &Server) -> anyhow::Result<Self> {
        let (mut pools, mut databases) = (BTreeMap::new(), Vec::new());
        for service in Service::ALL {
            let database = server.database(service.name()).await;
            pools.insert(service, connect(database.local_url()).await?);
            databases.push(database);
        }
        Ok(Self { pools, _databases: databases })
    }

    /// That of a service.
    pub(crate) fn of(&self, service: Service) -> &PgPool {
        // Made of all services, and of nothing else.
        &self.pools[&service]
    }

    /// Forgets the world before.
    ///
    /// # Errors
    /// The database's own.
    pub(crate) async fn empty(&self) -> anyhow::Result<()> {
        for (service, pool) in &self.pools {
            messaging::simulation::empty(pool).await?;
            let emptied = sqlx::raw_sql(tables(*service)).execute(pool).await;
            emptied.with_context(|| format!("cannot empty {service}'s database"))?;
        }
        Ok(())
    }
}

/// Deleted and not truncated: there are a few rows in each, and a truncated table is a new file.
fn tables(service: Service) -> &'static str {
    match service {
        Service::Order => {
            "delete from order_progress; delete from order_history; delete from order_lines;
            delete from orders; delete from catalogue"
        }
        Service::Inventory => {
            "delete from stock_movements; delete from reservation_lines;
            delete from reservations; delete from products"
        }
        Service::Payment => "delete from payments",
        Service::Email => "delete from emails; delete from recipients",
        // Its log refuses that to everybody but a replica's worker, which triggers do not hold up.
        Service::Audit => {
            "set session_replication_role = replica; delete from entries;
            update chain_head set seq = 0, hash = decode(repeat('00', 32), 'hex');
            set session_replication_role = origin"
        }
    }
}
