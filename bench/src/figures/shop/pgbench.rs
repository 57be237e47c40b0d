//! Postgres without us: `pgbench`, from the same installation as the server.

use std::io::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use sandbox::postgres::find_programs;
use testkit::free_port;
use tokio::process::Command;

const NAME: &str = "pgbench";

/// A script, and with how many clients it is run.
#[derive(Debug)]
pub(super) struct Pgbench<'a> {
    pub(super) script: &'a str,
    pub(super) clients: usize,
    /// Names and values that the script uses; each client counts `i` up from 0.
    pub(super) values: Vec<(&'a str, String)>,
}

impl Pgbench<'_> {
    /// Runs the script on a database over and over, with prepared statements; gives transactions per
    /// second.
    ///
    /// # Errors
    /// When a statement fails, or there is no such program.
    pub(super) async fn run(&self, url: &str, during: Duration) -> anyhow::Result<f64> {
        let file = std::env::temp_dir().join(format!("tidings-bench-{}.sql", free_port()?));
        std::fs::File::create(&file)?.write_all(self.script.as_bytes())?;
        let mut command = Command::new(program()?);
        command.args(["--no-vacuum", "--protocol=prepared", "--jobs=2", "--define=i=0"]);
        command.arg(format!("--client={}", self.clients));
        command.arg(format!("--time={}", during.as_secs().max(1)));
        command.args(self.values.iter().map(|(name, value)| format!("--define={name}={value}")));
        let done = command.arg("--file").arg(&file).arg(url).output().await;
        let _ = std::fs::remove_file(&file);
        let done = done.context("cannot run pgbench")?;
        let told = String::from_utf8_lossy(&done.stdout);
        let failed = String::from_utf8_lossy(&done.stderr);
        ensure!(done.status.success(), "pgbench: {failed}");
        let rate = told.lines().find_map(|line| line.strip_prefix("tps = ")?.split(' ').next());
        rate.and_then(|rate| rate.parse().ok()).with_context(|| format!("pgbench: {told}{failed}"))
    }
}

/// Beside the server where it is installed, not where a link to it may lie.
fn program() -> anyhow::Result<PathBuf> {
    let server = find_programs()?.bin.join("postgres").canonicalize()?;
    let beside = server.with_file_name(NAME);
    Ok(if beside.is_file() { beside } else { NAME.into() })
}

/// So many bytes, as Postgres reads them.
pub(super) fn bytes(many: usize) -> String {
    format!("\\x{}", "78".repeat(many))
}
