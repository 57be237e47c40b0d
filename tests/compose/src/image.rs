//! Our image: copied from a program that is there, or built from source.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use tokio::process::Command;

use crate::cli::Args;
use crate::engine::{self, docker, lines};
use crate::report::Report;

/// The image's name while it is tested.
pub(crate) const IMAGE: &str = "tidings/shop:e2e";
const FILE: &str = "deploy/Dockerfile";
/// Mebibytes, as Docker counts an image's bytes.
const MB: f64 = 1e6;

/// Makes the image.
///
/// # Errors
/// When it cannot be built.
pub(crate) async fn make(root: &Path, args: &Args, report: &mut Report) -> anyhow::Result<()> {
    let Some(folder) = &args.program else { return build(root, report).await };
    copy(root, folder).await
}

/// Copies a program into an image, without its symbols.
async fn copy(root: &Path, folder: &Path) -> anyhow::Result<()> {
    let staging = root.join("target").join("e2e");
    fs::create_dir_all(&staging)?;
    let (from, to) = (root.join(folder).join("shop"), staging.join("shop"));
    let mut strip = Command::new("strip");
    strip.arg("--strip-all").arg("-o").arg(&to).arg(&from);
    let done = strip.status().await.context("cannot run strip")?;
    ensure!(done.success(), "cannot strip {}", from.display());
    let context = staging.to_string_lossy();
    docker(root, &["build", "-q", "-f", FILE, "--target", "copied", "-t", IMAGE, &context]).await?;
    Ok(())
}

/// Builds from what is committed or staged, as from a clean clone, and again after a change of one
/// line.
async fn build(root: &Path, report: &mut Report) -> anyhow::Result<()> {
    let clone = clone(root).await?;
    let first = from_source(&clone).await?;
    eprintln!("  image from source: {:.0} s", first.as_secs_f64());
    let changed = clone.join("services/order/src/lib.rs");
    let text = fs::read_to_string(&changed)?;
    // A line that changes the program, so that nothing can be spared.
    let text = text.replace("DEFAULT_PORT: u16 = 8081", "DEFAULT_PORT: u16 = 8082");
    fs::write(&changed, text)?;
    let again = from_source(&clone).await?;
    report.figure("image after a change of one line", again.as_secs_f64(), "s", 90.0);
    report.figure("our layer of the image", layer(root).await? / MB, "MB", 25.0);
    fs::remove_dir_all(&clone)?;
    Ok(())
}

async fn from_source(clone: &Path) -> anyhow::Result<Duration> {
    let begun = Instant::now();
    let args = ["build", "-f", FILE, "--target", "shop", "-t", IMAGE, "."];
    let mut command = engine::command(clone, &args);
    engine::outcome(&args, command.output().await)?;
    Ok(begun.elapsed())
}

async fn clone(root: &Path) -> anyhow::Result<PathBuf> {
    let clone = root.join("target").join("e2e-clone");
    if clone.exists() {
        fs::remove_dir_all(&clone)?;
    }
    let to = format!("--prefix={}/", clone.display());
    let done = Command::new("git")
        .args(["checkout-index", "--all", &to])
        .current_dir(root)
        .status()
        .await
        .context("cannot run git")?;
    ensure!(done.success(), "cannot make a clone in {}", clone.display());
    Ok(clone)
}

/// Bytes of the topmost layers, which are ours.
async fn layer(root: &Path) -> anyhow::Result<f64> {
    let format = "{{.Size}} {{.CreatedBy}}";
    let args = ["history", "--no-trunc", "--human=false", "--format", format, IMAGE];
    let history = docker(root, &args).await?;
    let ours = lines(&history).into_iter().filter(|line| line.contains("/shop"));
    Ok(ours.filter_map(|line| line.split(' ').next()?.parse::<f64>().ok()).sum())
}
