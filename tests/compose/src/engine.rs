//! The Docker engine, by its own command.

use std::path::Path;
use std::process::{Output, Stdio};

use anyhow::{Context as _, bail};
use tokio::process::Command;

/// `docker ...`; gives what it says on stdout.
///
/// # Errors
/// When it cannot be started, or fails: with the end of what it says on stderr.
pub(crate) async fn docker(folder: &Path, args: &[&str]) -> anyhow::Result<String> {
    outcome(args, command(folder, args).output().await)
}

/// The same, not yet started, with no input and its output kept.
pub(crate) fn command(folder: &Path, args: &[&str]) -> Command {
    let mut command = Command::new("docker");
    command.args(args).current_dir(folder).stdin(Stdio::null()).kill_on_drop(true);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// What a command came to.
///
/// # Errors
/// As of [`docker`].
pub(crate) fn outcome(args: &[&str], output: std::io::Result<Output>) -> anyhow::Result<String> {
    let shown = format!("docker {}", args.join(" "));
    let output = output.with_context(|| format!("cannot run {shown}"))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let lines: Vec<&str> = said.lines().rev().take(12).collect();
        let end: Vec<&str> = lines.into_iter().rev().collect();
        bail!("{shown}: {}\n{}{text}", output.status, end.join("\n"));
    }
    Ok(text)
}

/// The lines of an answer, without empty ones.
pub(crate) fn lines(text: &str) -> Vec<String> {
    text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect()
}
