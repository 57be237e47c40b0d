//! Statements with nothing but pgbench before them.

use std::path::PathBuf;
use std::process::Stdio;

use anyhow::{Context as _, ensure};
use sandbox::postgres::find_programs;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

/// How a script is run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Load<'a> {
    /// The database's address.
    pub(crate) url: &'a str,
    pub(crate) clients: usize,
    pub(crate) seconds: u64,
    /// Names and values that the script is given.
    pub(crate) define: &'a [(&'a str, String)],
}

/// Runs a script over and over and gives its transactions per second, the connecting not counted.
/// Statements are prepared once, as the services' are.
///
/// # Errors
/// When pgbench is not there, or the script fails.
pub(crate) async fn run(load: Load<'_>, script: &str) -> anyhow::Result<f64> {
    let mut command = Command::new(program()?);
    command.args(["--no-vacuum", "--protocol=prepared", "--file=-"]);
    command
        .arg(format!("--client={}", load.clients))
        .arg(format!("--jobs={}", load.clients.min(2)));
    command.arg(format!("--time={}", load.seconds));
    for (name, value) in load.define {
        command.arg(format!("--define={name}={value}"));
    }
    command.arg(load.url).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut pgbench = command.kill_on_drop(true).spawn().context("start pgbench")?;
    let mut stdin = pgbench.stdin.take().context("pgbench takes no script")?;
    stdin.write_all(script.as_bytes()).await?;
    drop(stdin);
    let done = pgbench.wait_with_output().await?;
    let (told, complaint) =
        (String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
    ensure!(done.status.success(), "pgbench: {complaint}");
    rate_in(&told).with_context(|| format!("pgbench tells no rate: {told}{complaint}"))
}

/// Beside the server, whose program may be a link to where it is installed; or wherever it is found.
fn program() -> anyhow::Result<PathBuf> {
    let bin = find_programs()?.bin;
    let installed = bin.join("postgres").canonicalize()?.with_file_name("pgbench");
    let all = [bin.join("pgbench"), installed];
    Ok(all.into_iter().find(|path| path.is_file()).unwrap_or_else(|| "pgbench".into()))
}

fn rate_in(told: &str) -> Option<f64> {
    let line = told.lines().find_map(|line| line.strip_prefix("tps = "))?;
    line.split(' ').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::rate_in;

    #[test]
    fn the_rate_is_what_pgbench_says() {
        let told = "number of clients: 1\ntps = 118.250019 (without initial connection time)\n";
        assert_eq!(rate_in(told), Some(118.250_019));
        assert_eq!(rate_in("nothing"), None);
    }
}
