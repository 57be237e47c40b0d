//! The folder `.sqlx`: what the query macros learned from the databases, so that a build needs none.
//!
//! The macros write a file per query into `SQLX_OFFLINE_DIR` while they ask a live database. So all that
//! is needed is a build in which they all run.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;

use super::{databases, forget_own_crate};
use crate::folder::private_folder;
use crate::migrations::workspace_root;
use crate::servers::{env, start_postgres};

/// The queries by the name of their file.
type Queries = BTreeMap<String, String>;

/// Writes `.sqlx`.
pub(super) async fn write() -> Result<u8> {
    let folder = workspace_root().join(".sqlx");
    let fresh = describe_all().await?;
    let committed = read(&folder)?;
    fs::create_dir_all(&folder)?;
    let changes = differences(&committed, &fresh);
    for (file, change) in &changes {
        match fresh.get(*file) {
            Some(text) => fs::write(folder.join(file), text)?,
            None => fs::remove_file(folder.join(file))?,
        }
        eprintln!("{change} {file}");
    }
    eprintln!("{} queries, {} files changed", fresh.len(), changes.len());
    Ok(0)
}

/// Compares `.sqlx`. 1 when it is out of date.
pub(super) async fn check() -> Result<u8> {
    let fresh = describe_all().await?;
    let committed = read(&workspace_root().join(".sqlx"))?;
    let changes = differences(&committed, &fresh);
    for (file, change) in &changes {
        let text = fresh.get(*file).or_else(|| committed.get(*file));
        eprintln!("{change} {file}: {}", text.map(|text| query_of(text)).unwrap_or_default());
    }
    if changes.is_empty() {
        return Ok(0);
    }
    eprintln!(".sqlx is out of date; fix: cargo run -p testkit -- sqlx-prepare");
    Ok(1)
}

/// Builds the workspace against freshly migrated databases.
async fn describe_all() -> Result<Queries> {
    let guard = private_folder()?;
    let postgres = start_postgres(guard.folder()).await?;
    let variables = databases::create_all(&postgres).await?;
    let folder = guard.folder().join("queries");
    fs::create_dir(&folder)?;
    let mut command = cargo();
    command.args(["check", "--workspace", "--all-targets"]).envs(variables);
    command.env("SQLX_OFFLINE", "false").env("SQLX_OFFLINE_DIR", &folder);
    let touched = Touched::new(sources_with_queries()?)?;
    let status = command.status().context("cannot run cargo");
    drop(touched);
    ensure!(status?.success(), "the workspace does not build against its databases");
    read(&folder)
}

fn cargo() -> Command {
    let mut command = Command::new(env("CARGO").unwrap_or_else(|| "cargo".to_owned()));
    command.current_dir(workspace_root());
    forget_own_crate(&mut command);
    command
}

fn read(folder: &Path) -> Result<Queries> {
    let mut queries = Queries::new();
    if !folder.exists() {
        return Ok(queries);
    }
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name.starts_with("query-") {
            queries.insert(name, fs::read_to_string(&path)?);
        }
    }
    Ok(queries)
}

fn differences<'a>(
    committed: &'a Queries,
    fresh: &'a Queries,
) -> BTreeMap<&'a String, &'static str> {
    let gone =
        committed.keys().filter(|file| !fresh.contains_key(*file)).map(|file| (file, "gone"));
    let other = fresh.iter().filter_map(|(file, text)| match committed.get(file) {
        None => Some((file, "new")),
        Some(before) if before != text => Some((file, "changed")),
        Some(_) => None,
    });
    gone.chain(other).collect()
}

/// The SQL in a query's file, on one line.
fn query_of(text: &str) -> String {
    #[derive(Deserialize)]
    struct File {
        query: String,
    }
    let query = serde_json::from_str(text).map(|file: File| file.query).unwrap_or_default();
    query.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The root files of all targets of the crates that use sqlx: a build runs all their macros again when
/// these are newer than the last one.
fn sources_with_queries() -> Result<Vec<PathBuf>> {
    #[derive(Deserialize)]
    struct Metadata {
        packages: Vec<Package>,
    }
    #[derive(Deserialize)]
    struct Package {
        dependencies: Vec<Dependency>,
        targets: Vec<Target>,
    }
    #[derive(Deserialize)]
    struct Dependency {
        name: String,
    }
    #[derive(Deserialize)]
    struct Target {
        src_path: PathBuf,
    }
    let output = cargo().args(["metadata", "--no-deps", "--format-version=1"]).output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Metadata = serde_json::from_slice(&output.stdout)?;
    let with_sqlx = metadata
        .packages
        .into_iter()
        .filter(|package| package.dependencies.iter().any(|dependency| dependency.name == "sqlx"));
    Ok(with_sqlx.flat_map(|package| package.targets).map(|target| target.src_path).collect())
}

/// Files that look changed for as long as this lives; so the builds of others do not start over.
struct Touched(Vec<(PathBuf, SystemTime, SystemTime)>);

impl Touched {
    #[expect(clippy::disallowed_methods, reason = "the age of a file is of the wall clock")]
    fn new(paths: Vec<PathBuf>) -> Result<Self> {
        let mut touched = Self(Vec::new());
        for path in paths {
            let file = File::options().append(true).open(&path)?;
            let before = file.metadata()?.modified()?;
            file.set_modified(SystemTime::now())?;
            let during = file.metadata()?.modified()?;
            touched.0.push((path, before, during));
        }
        Ok(touched)
    }
}

impl Drop for Touched {
    fn drop(&mut self) {
        for (path, before, during) in &self.0 {
            let Ok(file) = File::options().append(true).open(path) else { continue };
            // Not if someone has written the file meanwhile.
            if file.metadata().and_then(|now| now.modified()).is_ok_and(|now| now == *during) {
                let _ = file.set_modified(*before);
            }
        }
    }
}
