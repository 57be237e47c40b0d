//! All databases of the workspace on one server, for builds that check their queries.

use std::path::Path;

use anyhow::{Context as _, Result};
use sandbox::postgres::{Postgres, PostgresOptions};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};

use crate::migrations::{KIT, Migrations, names};

/// Starts a Postgres that stays, brings its databases up to date and prints their variables.
pub(super) async fn serve(folder: &Path, port: u16) -> Result<u8> {
    let folder = std::path::absolute(folder)?;
    let postgres = Postgres::start(PostgresOptions::for_tests(folder, port)).await?;
    println!("# pid {}, ends with: kill -INT {}", postgres.pid(), postgres.pid());
    for (name, url) in create_all(&postgres).await? {
        println!("export {name}={url}");
    }
    println!("export SQLX_OFFLINE=false");
    Ok(0)
}

/// Makes and migrates the database `shop_NAME` for every folder of `migrations/`, and gives the
/// variables that name them to the query macros: `NAME_DATABASE_URL`, and `DATABASE_URL` for the kit's.
pub(super) async fn create_all(postgres: &Postgres) -> Result<Vec<(String, String)>> {
    let mut admin = PgConnection::connect(&postgres.url("postgres")).await?;
    let mut variables = Vec::new();
    for name in names()? {
        let database = format!("shop_{name}");
        let there: bool =
            sqlx::query_scalar("select exists(select 1 from pg_database where datname = $1)")
                .bind(&database)
                .fetch_one(&mut admin)
                .await?;
        if !there {
            let sql = format!("create database \"{database}\"");
            sqlx::query(AssertSqlSafe(sql)).execute(&mut admin).await?;
        }
        let url = postgres.url(&database);
        let migrations = Migrations::read(&name).await?;
        migrations.run(&url).await.with_context(|| format!("migrate the database {name}"))?;
        if name == KIT {
            variables.push(("DATABASE_URL".to_owned(), url.clone()));
        }
        variables.push((format!("{}_DATABASE_URL", name.to_uppercase().replace('-', "_")), url));
    }
    admin.close().await?;
    Ok(variables)
}
