//! Which migrations a database needs, and whether it knows more than this program.

use std::collections::BTreeMap;

use anyhow::{Context as _, bail};
use sqlx::migrate::{Migrate as _, Migration, Migrator};
use sqlx::postgres::PgConnection;

use super::told::Told;
use crate::services::Service;

/// The migrations that are to be applied: the kit's first, then the service's own.
pub(super) struct Plan {
    kit: Vec<&'static Migration>,
    own: Vec<&'static Migration>,
}

impl Plan {
    /// For a database that is not there yet.
    pub(super) fn everything(service: &Service) -> Self {
        Self {
            kit: messaging::MIGRATIONS.iter().collect(),
            own: service.migrations.iter().collect(),
        }
    }

    /// What a database lacks. Changes nothing.
    pub(super) async fn make(
        connection: &mut PgConnection,
        service: &Service,
    ) -> anyhow::Result<Self> {
        let kit = pending(connection, &messaging::MIGRATIONS).await?;
        let own = pending(connection, service.migrations).await?;
        Ok(Self { kit, own })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.kit.is_empty() && self.own.is_empty()
    }

    /// Applies it, on a connection as the role that owns the database, and tells of what is done
    /// even if not all of it could be.
    pub(super) async fn apply(
        &self,
        connection: &mut PgConnection,
        service: &Service,
        database: &str,
        told: &mut Told<'_>,
    ) -> anyhow::Result<()> {
        for (whose, migrator, planned) in [
            ("messaging", &messaging::MIGRATIONS, &self.kit),
            ("own", service.migrations, &self.own),
        ] {
            let done = migrator.run(&mut *connection).await;
            let left = match &done {
                Ok(()) => Vec::new(),
                // What failed is for the error to tell.
                Err(_) => pending(connection, migrator).await.unwrap_or_else(|_| planned.clone()),
            };
            let is_left = |one: &Migration| left.iter().any(|left| left.version == one.version);
            for one in planned.iter().filter(|one| !is_left(one)) {
                let (version, what) = (one.version, &one.description);
                told.change(format!("{database}: {whose} migration {version} {what}"));
            }
            done.with_context(|| format!("{whose} migrations"))?;
        }
        Ok(())
    }
}

async fn pending(
    connection: &mut PgConnection,
    migrator: &'static Migrator,
) -> anyhow::Result<Vec<&'static Migration>> {
    let applied = applied(connection, &migrator.table_name).await?;
    for (version, checksum) in &applied {
        match migrator.iter().find(|migration| migration.version == *version) {
            None => bail!(
                "it is newer than this program: its migration {version} is not known here. \
                 Use the program that made it or a later one; nothing was changed"
            ),
            Some(known) if *known.checksum != **checksum => bail!(
                "its migration {version} is not the one that this program knows. \
                 Use the program that made it; nothing was changed"
            ),
            Some(_) => {}
        }
    }
    let missing = |migration: &&Migration| !applied.contains_key(&migration.version);
    Ok(migrator.iter().filter(missing).collect())
}

/// Checksums of the migrations in a history table, by version; none where there is no such table.
async fn applied(
    connection: &mut PgConnection,
    table: &str,
) -> anyhow::Result<BTreeMap<i64, Vec<u8>>> {
    let there: bool = sqlx::query_scalar("select to_regclass($1) is not null")
        .bind(table)
        .fetch_one(&mut *connection)
        .await?;
    if !there {
        return Ok(BTreeMap::new());
    }
    let applied = connection.list_applied_migrations(table).await?;
    Ok(applied.into_iter().map(|m| (m.version, m.checksum.into_owned())).collect())
}
