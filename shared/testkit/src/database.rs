//! A database of a test's own, cloned from a migrated template.

use std::time::Duration;

use anyhow::{Context as _, Result};
use sqlx::postgres::{PgPool, PgPoolOptions};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};

use crate::migrations::Migrations;
use crate::servers::Servers;
use crate::{must, unique};

/// One lock for all templates: making one takes a moment and happens once per change of a migration.
const MAKING_A_TEMPLATE: i64 = 0x7465_6d70_6c61_7465;
/// Postgres' code for a database that is not there.
const NO_SUCH_DATABASE: &str = "3D000";
/// Enough for a service in a test, few enough for many tests at once.
const MOST_CONNECTIONS: u32 = 10;
/// Long for a busy machine, short for a test in which the server is away.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);

/// A migrated database that only this test uses. It is dropped with this value; after a failed test it
/// stays for a look, as long as its server.
#[derive(Debug)]
pub struct Database {
    url: String,
    local: String,
    maintenance: String,
    name: String,
    pool: PgPool,
    /// False on a server that ends with the test anyway.
    drop_it: bool,
}

impl Database {
    /// A new database on the shared server with the migrations of `name`, a folder of `migrations/`:
    /// the kit's, then its own. `messaging` has the kit's only.
    ///
    /// # Panics
    /// When it cannot be made, with the reason.
    pub async fn new(name: &str) -> Self {
        let servers = Servers::shared().await;
        let url_of = |database: &str| servers.postgres_url(database);
        let local_url_of = |database: &str| servers.local_postgres_url(database);
        let made = Self::on(url_of, local_url_of, name, true).await;
        must("cannot make a database", made)
    }

    pub(crate) async fn on(
        url_of: impl Fn(&str) -> String,
        local_url_of: impl Fn(&str) -> String,
        name: &str,
        drop_it: bool,
    ) -> Result<Self> {
        let migrations = Migrations::read(name).await?;
        let template = format!("template_{name}_{:016x}", migrations.fingerprint());
        let maintenance = local_url_of("postgres");
        let mut admin = PgConnection::connect(&maintenance).await.context("connect to Postgres")?;
        let database = unique(&format!("test_{name}_"));
        if !clone_template(&mut admin, &template, &database).await? {
            make_template(&mut admin, &local_url_of, &template, &migrations).await?;
            clone_template(&mut admin, &template, &database).await?;
        }
        admin.close().await?;
        let (url, local) = (url_of(&database), local_url_of(&database));
        let pool = PgPoolOptions::new()
            .max_connections(MOST_CONNECTIONS)
            .acquire_timeout(CONNECT_WITHIN)
            .connect_lazy(&local)?;
        Ok(Self { url, local, maintenance, name: database, pool, drop_it })
    }

    /// The address of the database, with the superuser's name and password.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The same by the server's Unix socket, where it has one: for programs that nothing stands in front
    /// of.
    #[must_use]
    pub fn local_url(&self) -> &str {
        &self.local
    }

    /// The name of the database.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A pool of at most ten connections; every call gives the same one.
    #[must_use]
    pub fn pool(&self) -> PgPool {
        self.pool.clone()
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the database of the failed test stays for a look: {}", self.url);
            return;
        }
        if !self.drop_it {
            return;
        }
        // In a thread, as this one may be in the middle of a runtime, which must not be blocked by
        // another.
        let (maintenance, name) = (self.maintenance.clone(), self.name.clone());
        let dropping = std::thread::spawn(move || drop_database(&maintenance, &name));
        if let Ok(Err(error)) = dropping.join() {
            eprintln!("cannot drop the database {}: {error:#}", self.name);
        }
    }
}

fn drop_database(maintenance: &str, name: &str) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut admin = PgConnection::connect(maintenance).await?;
        run(&mut admin, format!("drop database if exists {name} with (force)")).await?;
        Ok(admin.close().await?)
    })
}

/// False when there is no such template yet.
async fn clone_template(admin: &mut PgConnection, template: &str, name: &str) -> Result<bool> {
    let sql = format!("create database {name} template {template} strategy file_copy");
    match run(admin, sql).await {
        Ok(()) => Ok(true),
        Err(sqlx::Error::Database(error)) if error.code().as_deref() == Some(NO_SUCH_DATABASE) => {
            Ok(false)
        }
        Err(error) => Err(error).context("clone the template"),
    }
}

async fn make_template(
    admin: &mut PgConnection,
    url_of: impl Fn(&str) -> String,
    template: &str,
    migrations: &Migrations,
) -> Result<()> {
    sqlx::query("select pg_advisory_lock($1)").bind(MAKING_A_TEMPLATE).execute(&mut *admin).await?;
    let made: bool =
        sqlx::query_scalar("select exists(select 1 from pg_database where datname = $1)")
            .bind(template)
            .fetch_one(&mut *admin)
            .await?;
    // Under another name until it is whole, so that nobody clones half of it.
    let unfinished = unique("unfinished_");
    if !made {
        run(admin, format!("create database {unfinished}")).await?;
        migrations.run(&url_of(&unfinished)).await?;
        run(admin, format!("alter database {unfinished} rename to {template}")).await?;
    }
    sqlx::query("select pg_advisory_unlock($1)")
        .bind(MAKING_A_TEMPLATE)
        .execute(&mut *admin)
        .await?;
    Ok(())
}

/// Names of databases cannot be parameters; ours are letters, digits and underscores.
async fn run(admin: &mut PgConnection, sql: String) -> Result<(), sqlx::Error> {
    sqlx::query(AssertSqlSafe(sql)).execute(admin).await.map(drop)
}
