//! What the databases of simulated processes need.

use std::collections::BTreeMap;
use std::str::FromStr;

use sqlx::postgres::{PgConnectOptions, PgConnection, PgPoolOptions};
use sqlx::{Connection, PgPool};

use crate::pool::Pool;
use crate::presence::LOCK_CLASS;

/// Its schema comes before the server's own: there `now()` is the time of the simulation.
const PATH: &str = "public,simulation,pg_catalog";

/// More than a service and its invariants have: preparing one anew takes longer than most take to run.
const STATEMENTS: usize = 1_000;

/// A pool on a database that is a simulation's from now on: in its sessions `now()` is the simulated
/// time. All processes of one database share it, and worlds come one after the other.
///
/// # Errors
/// The database's own, and when `url` is not a Postgres URL.
pub async fn connect(url: &str) -> Result<PgPool, sqlx::Error> {
    let options = PgConnectOptions::from_str(url)?
        .application_name("simulation")
        .statement_cache_capacity(STATEMENTS)
        // With a few rows in each table one plan is as good as another, and making one takes longer
        // than carrying it out.
        .options([
            ("search_path", PATH),
            ("synchronous_commit", "off"),
            ("plan_cache_mode", "force_generic_plan"),
            ("jit", "off"),
        ]);
    let mut session = PgConnection::connect_with(&options).await?;
    sqlx::raw_sql(
        "create schema if not exists simulation;
        create sequence if not exists simulation.clock;
        create or replace function simulation.now() returns timestamptz language sql stable
            as $$ select timestamptz 'epoch' + last_value * interval '1 microsecond'
                  from simulation.clock $$",
    )
    .execute(&mut session)
    .await?;
    session.close().await?;
    Ok(PgPoolOptions::new()
        .max_connections(6)
        .test_before_acquire(false)
        .connect_lazy_with(options))
}

/// Empties the kit's tables, for the next seed.
///
/// # Errors
/// The database's own.
pub async fn empty(pg: &PgPool) -> Result<(), sqlx::Error> {
    sqlx::raw_sql(
        "delete from messaging.outbox; delete from messaging.inbox;
        delete from messaging.progress; delete from messaging.dead_letter;
        delete from messaging.answer;
        update messaging.partition_lease
            set owner = null, epoch = 0, expires_at = '-infinity' where owner is not null",
    )
    .execute(pg)
    .await?;
    Ok(())
}

/// What a service's processes find in their database beside what they have written: which of them live,
/// as each would show by a session of its own, and the time. One session for all of a service: making
/// one takes longer than a simulation.
#[derive(Default)]
pub(super) struct Registry(BTreeMap<String, Sessions>);

struct Sessions {
    session: PgConnection,
    /// The time that was told last, in microseconds since 1970.
    told: i64,
}

impl Registry {
    /// Shows that a process lives.
    pub(super) async fn show(&mut self, pool: &Pool) -> Result<(), sqlx::Error> {
        let service = pool.identity().service();
        if !self.0.contains_key(service) {
            let options = pool.pg().connect_options();
            let session = PgConnection::connect_with(&options).await?;
            self.0.insert(service.to_owned(), Sessions { session, told: 0 });
        }
        self.lock("select pg_advisory_lock($1, $2)", pool).await
    }

    /// Shows that it does not.
    pub(super) async fn hide(&mut self, pool: &Pool) -> Result<(), sqlx::Error> {
        self.lock("select pg_advisory_unlock($1, $2)", pool).await
    }

    /// Tells the database of a service what time it is.
    pub(super) async fn tell_time(&mut self, pool: &Pool) -> Result<(), sqlx::Error> {
        let now = pool.clock().now().timestamp_micros();
        let Some(one) = self.0.get_mut(pool.identity().service()) else { return Ok(()) };
        if one.told != now {
            let sql = "select setval('simulation.clock', $1)";
            sqlx::query(sql).bind(now).execute(&mut one.session).await?;
            one.told = now;
        }
        Ok(())
    }

    /// Forgets all, for the next seed.
    pub(super) async fn clear(&mut self) -> Result<(), sqlx::Error> {
        for one in self.0.values_mut() {
            sqlx::query("select pg_advisory_unlock_all()").execute(&mut one.session).await?;
        }
        Ok(())
    }

    async fn lock(&mut self, sql: &'static str, pool: &Pool) -> Result<(), sqlx::Error> {
        let Some(one) = self.0.get_mut(pool.identity().service()) else { return Ok(()) };
        let number = pool.instance().number();
        sqlx::query(sql).bind(LOCK_CLASS).bind(number).execute(&mut one.session).await?;
        Ok(())
    }
}

/// Waits until what a dead process had begun is rolled back.
pub(super) async fn rolled_back(pg: &PgPool) -> Result<(), sqlx::Error> {
    // With all connections in the pool again nothing can be open; others may hold some of them.
    while pg.num_idle() < pg.size() as usize {
        let open: bool = sqlx::query_scalar(
            "select exists(select from pg_stat_activity
                where datname = current_database() and xact_start is not null
                  and pid <> pg_backend_pid() and backend_type = 'client backend')",
        )
        .fetch_one(pg)
        .await?;
        if !open {
            break;
        }
        tokio::task::yield_now().await;
    }
    Ok(())
}

/// Events that wait to be published.
pub(super) async fn pending(pg: &PgPool) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar("select count(*) from messaging.outbox where published_at is null")
        .fetch_one(pg)
        .await
}
