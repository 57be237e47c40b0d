//! The migrations of each database: the kit's first, then its own.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use sqlx::migrate::Migrator;
use sqlx::{Connection as _, PgConnection};

/// The folder of the kit's own migrations; a database of this name has no others.
pub const KIT: &str = "messaging";

/// The root of the workspace.
#[must_use]
pub fn workspace_root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).unwrap_or(here).to_owned()
}

/// The names of all databases, which are those of the folders in `migrations/`.
///
/// # Errors
/// When the folder cannot be read.
pub fn names() -> Result<Vec<String>> {
    let folder = workspace_root().join("migrations");
    let mut names = Vec::new();
    for entry in std::fs::read_dir(&folder).with_context(|| format!("read {}", folder.display()))? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            names.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    names.sort();
    Ok(names)
}

/// The migrations of one database, read from the workspace.
#[derive(Debug)]
pub struct Migrations {
    kit: Migrator,
    own: Option<Migrator>,
}

impl Migrations {
    /// Reads the migrations of the database `name` from `migrations/messaging` and `migrations/NAME`.
    ///
    /// # Errors
    /// When there is no such folder, or a file in it is not a migration.
    pub async fn read(name: &str) -> Result<Self> {
        let mut kit = read_folder(KIT).await?;
        kit.dangerous_set_table_name("messaging._migrations");
        kit.create_schema("messaging");
        let own = if name == KIT { None } else { Some(read_folder(name).await?) };
        Ok(Self { kit, own })
    }

    /// Brings a database up to date. Safe to repeat, and to run twice at once.
    ///
    /// # Errors
    /// When the database does not answer, a migration fails, or one that was applied has changed.
    pub async fn run(&self, url: &str) -> Result<()> {
        let mut connection = PgConnection::connect(url).await?;
        self.kit.run(&mut connection).await.context("the kit's migrations")?;
        if let Some(own) = &self.own {
            own.run(&mut connection).await.context("the service's migrations")?;
        }
        connection.close().await?;
        Ok(())
    }

    /// Changes whenever a migration is added or changed.
    #[must_use]
    pub fn fingerprint(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        for migration in self.kit.iter().chain(self.own.iter().flat_map(|own| own.iter())) {
            (migration.version, &*migration.checksum).hash(&mut hasher);
        }
        hasher.finish()
    }
}

async fn read_folder(name: &str) -> Result<Migrator> {
    let folder = workspace_root().join("migrations").join(name);
    ensure!(
        folder.is_dir(),
        "there are no migrations for a database {name}: no {}",
        folder.display()
    );
    let migrator = Migrator::new(folder.as_path()).await;
    migrator.with_context(|| format!("read {}", folder.display()))
}
