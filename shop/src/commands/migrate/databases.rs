//! A role and a database per service, and the migrations in it.

use std::str::FromStr as _;

use anyhow::{Context as _, bail, ensure};
use sqlx::postgres::{PgConnectOptions, PgConnection, PgPoolOptions};
use sqlx::{AssertSqlSafe, Connection as _, PgPool};

use super::plan::Plan;
use super::told::Told;
use crate::Output;
use crate::services::{SERVICES, Service};

/// Held while databases are migrated, so that two at once take turns.
const MIGRATING: i64 = 0x5469_6469_6e67_7331;
/// SQLSTATE `cannot_connect_now`: starting up or shutting down.
const STARTING: &str = "57P03";

/// A server, reached with the rights to create roles and databases.
struct Server {
    options: PgConnectOptions,
    admin: PgConnection,
}

/// What was found of one service.
struct Found {
    role: bool,
    database: bool,
    /// Whether anybody may enter the database.
    open: bool,
    plan: Plan,
}

/// All databases, looked at. No other migration runs for as long as this lives.
pub(super) struct Databases {
    server: Server,
    found: Vec<Found>,
}

/// Brings roles, databases and schemas up to date; gives what it changed. Looks at all of them
/// before it changes any.
///
/// # Errors
/// When the server does not answer, a migration fails, or a database was migrated by a newer program.
pub(crate) async fn migrate(admin_url: &str, out: &Output) -> anyhow::Result<Vec<String>> {
    let mut told = Told::silently();
    look(admin_url, out).await?.bring_up_to_date(&mut told).await?;
    Ok(told.all())
}

/// Looks at all databases and changes none.
///
/// # Errors
/// When the server does not answer, or a database was migrated by a newer program.
pub(super) async fn look(admin_url: &str, out: &Output) -> anyhow::Result<Databases> {
    let mut server = Server::connect(admin_url).await?;
    server.take_turn(out).await?;
    let mut found = Vec::new();
    for service in SERVICES {
        found.push(server.look_at(service).await?);
    }
    Ok(Databases { server, found })
}

/// One connection to the database of a service, as its role.
pub(super) fn pool(admin_url: &str, service: &Service) -> anyhow::Result<PgPool> {
    let name = service.database();
    let options = options(admin_url)?.database(&name).options([("role", &name)]);
    Ok(PgPoolOptions::new().max_connections(1).connect_lazy_with(options))
}

/// Whether the server was not there, or only coming up: it may be there soon.
pub(super) fn is_away(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_) => true,
        sqlx::Error::Database(refusal) => refusal.code().as_deref() == Some(STARTING),
        _ => false,
    }
}

fn options(url: &str) -> anyhow::Result<PgConnectOptions> {
    let options = PgConnectOptions::from_str(url).ok().context(
        "ADMIN_DATABASE_URL is no Postgres URL: postgres://user:password@host:port/database",
    )?;
    Ok(options.application_name("shop migrate"))
}

impl Databases {
    /// Makes what is missing.
    ///
    /// # Errors
    /// When the server does not answer, or a migration fails. What was told is done.
    pub(super) async fn bring_up_to_date(mut self, told: &mut Told<'_>) -> anyhow::Result<()> {
        for (service, found) in SERVICES.iter().zip(self.found) {
            self.server.bring_up_to_date(service, found, told).await?;
        }
        // Ends the turn as well.
        Ok(self.server.admin.close().await?)
    }
}

impl Server {
    async fn connect(url: &str) -> anyhow::Result<Self> {
        let options = options(url)?;
        let place = format!("Postgres at {}:{}", options.get_host(), options.get_port());
        match PgConnection::connect_with(&options).await {
            Ok(admin) => Ok(Self { options, admin }),
            Err(sqlx::Error::Database(refusal)) if refusal.code().as_deref() != Some(STARTING) => {
                bail!("{place} says: {}", refusal.message())
            }
            Err(error) => Err(error).with_context(|| format!("{place} cannot be reached")),
        }
    }

    async fn take_turn(&mut self, out: &Output) -> sqlx::Result<()> {
        let mine: bool = sqlx::query_scalar("select pg_try_advisory_lock($1)")
            .bind(MIGRATING)
            .fetch_one(&mut self.admin)
            .await?;
        if !mine {
            out.note("another migration is running: waiting for it");
            sqlx::query("select pg_advisory_lock($1)")
                .bind(MIGRATING)
                .execute(&mut self.admin)
                .await?;
        }
        Ok(())
    }

    async fn look_at(&mut self, service: &Service) -> anyhow::Result<Found> {
        let name = service.database();
        let role =
            self.exists("select exists (select from pg_roles where rolname = $1)", &name).await?;
        let database = self
            .exists("select exists (select from pg_database where datname = $1)", &name)
            .await?;
        let plan = if database {
            // As the administrator: the role may not be there.
            let mut connection = self.enter(&name, None).await?;
            let plan = Plan::make(&mut connection, service).await;
            connection.close().await?;
            plan.with_context(|| format!("database {name}"))?
        } else {
            Plan::everything(service)
        };
        // Also what a crash between two statements has left open.
        let is_open = "select has_database_privilege('public', $1, 'connect, temporary')";
        let open = database && self.exists(is_open, &name).await?;
        Ok(Found { role, database, open, plan })
    }

    async fn exists(&mut self, question: &'static str, name: &str) -> sqlx::Result<bool> {
        sqlx::query_scalar(question).bind(name).fetch_one(&mut self.admin).await
    }

    async fn bring_up_to_date(
        &mut self,
        service: &Service,
        found: Found,
        told: &mut Told<'_>,
    ) -> anyhow::Result<()> {
        let name = service.database();
        if !found.role {
            // A development password, which is no secret; set another one where it matters.
            self.run(format!("create role {name} login password '{name}'")).await?;
            told.change(format!("role {name}"));
        }
        if !found.database {
            // A database is created by a member of the role that is to own it, which a superuser is
            // anyway.
            self.run(format!("grant {name} to current_user")).await?;
            self.run(format!("create database {name} owner {name}")).await?;
            told.change(format!("database {name}"));
        }
        if found.open || !found.database {
            // A service has no business in another one's database.
            self.run(format!("revoke connect, temporary on database {name} from public")).await?;
            if found.open {
                told.change(format!("database {name}: closed to all but its owner"));
            }
        }
        if !found.plan.is_empty() {
            // As the role, so that everything belongs to it.
            let mut connection = self.enter(&name, Some(&name)).await?;
            let applied = found.plan.apply(&mut connection, service, &name, told).await;
            connection.close().await?;
            applied.with_context(|| format!("database {name}"))?;
        }
        Ok(())
    }

    /// Names of roles and databases cannot be parameters; ours are letters and underscores.
    async fn run(&mut self, sql: String) -> anyhow::Result<()> {
        ensure!(!sql.contains('"'), "a name holds a quote");
        sqlx::query(AssertSqlSafe(sql.as_str())).execute(&mut self.admin).await.with_context(
            || format!("cannot {}", sql.split(" password").next().unwrap_or_default()),
        )?;
        Ok(())
    }

    async fn enter(&self, database: &str, role: Option<&str>) -> anyhow::Result<PgConnection> {
        let mut options = self.options.clone().database(database);
        if let Some(role) = role {
            options = options.options([("role", role)]);
        }
        let connection = PgConnection::connect_with(&options).await;
        connection.with_context(|| format!("database {database} cannot be entered"))
    }
}
