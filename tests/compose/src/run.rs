//! The whole run, in order.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use tokio::process::Command;

use crate::api::Api;
use crate::checks;
use crate::cli::Args;
use crate::docker::Compose;
use crate::engine;
use crate::faults::{Fault, Scene};
use crate::image;
use crate::report::Report;

const SERVICES: [&str; 5] = ["order", "inventory", "payment", "email", "audit"];
/// How long it rests before its memory is read.
const REST: Duration = Duration::from_secs(10);

/// Does all of it, and takes everything away again.
///
/// # Errors
/// When it cannot begin.
pub(crate) async fn run(args: Args) -> anyhow::Result<Report> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize()?;
    prepare(&root, &args).await?;
    let mut report = Report::default();
    eprintln!("making the image");
    image::make(&root, &args, &mut report).await?;
    let mut compose = Compose::new(&root, image::IMAGE)?;
    compose.down().await?;
    let played = play(&mut compose, &args, &mut report).await;
    let failed = played.is_err() || !report.is_good();
    if args.keep && failed {
        return played.map(|()| report);
    }
    if failed {
        logs(&compose).await;
    }
    eprintln!("taking it down");
    let down = compose.down().await;
    played?;
    report.check("down -v leaves nothing", down);
    Ok(report)
}

async fn prepare(root: &Path, args: &Args) -> anyhow::Result<()> {
    if let Some(before) = &args.before {
        let done = Command::new("sh").args(["-c", before]).current_dir(root).status().await?;
        ensure!(done.success(), "E2E_BEFORE fails: {before}");
    }
    let engine = engine::docker(root, &["version", "-f", "{{.Server.Version}}"]).await;
    let engine = engine.context("there is no Docker engine that answers")?;
    let compose = engine::docker(root, &["compose", "version", "--short"]).await;
    let compose = compose.context("there is no Compose v2: https://docs.docker.com/compose")?;
    eprintln!("engine {}, compose {}", engine.trim(), compose.trim());
    Ok(())
}

async fn play(compose: &mut Compose, args: &Args, report: &mut Report) -> anyhow::Result<()> {
    first_start(compose, report).await?;
    let api = Api::of(compose)?;
    memory(compose, args.is_optimised(), report).await?;
    report.check("ten orders, from outside", checks::orders(compose, &api).await);
    report.check("prometheus and its alert rules", checks::prometheus(compose, &api).await);
    let faults = args.only.clone().unwrap_or_else(|| Fault::ALL.to_vec());
    let hold = Duration::from_secs(args.hold);
    let mut scene = Scene { compose, hold, asked: 0 };
    for fault in faults {
        eprintln!("{fault}");
        let outcome = scene.play(fault).await;
        let failed = outcome.is_err();
        report.fault(&fault.to_string(), outcome);
        ensure!(!(failed && args.keep), "{fault} was not survived, and everything is kept");
        if failed {
            // What one fault leaves behind is not to be held against the next.
            logs(scene.compose).await;
            scene.compose.set_replicas(false);
            scene.compose.down().await?;
            scene.compose.up().await?;
        }
    }
    Ok(())
}

async fn first_start(compose: &Compose, report: &mut Report) -> anyhow::Result<()> {
    eprintln!("bringing it up");
    // What is not there yet is fetched before the clock runs.
    compose.run(&["create", "--no-build"]).await?;
    compose.down().await?;
    let begun = Instant::now();
    compose.up().await?;
    report.figure("up to all healthy", begun.elapsed().as_secs_f64(), "s", 45.0);
    checks::first_trace(&Api::of(compose)?).await?;
    report.figure("up to the first whole trace", begun.elapsed().as_secs_f64(), "s", 60.0);
    report.check("all healthy", compose.well().await);
    Ok(())
}

/// Reads what the containers use once they rest.
async fn memory(compose: &Compose, is_optimised: bool, report: &mut Report) -> anyhow::Result<()> {
    tokio::time::sleep(REST).await;
    let ids: Vec<String> = compose.containers().await?.into_iter().map(|one| one.id).collect();
    let mut args = vec!["stats", "--no-stream", "--format", "{{.Name}} {{.MemUsage}}"];
    args.extend(ids.iter().map(String::as_str));
    let mut sum = 0.0;
    for line in engine::lines(&compose.docker(&args).await?) {
        let mut words = line.split_whitespace();
        let (name, used) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let used = mebibytes(used).with_context(|| format!("memory of {line}"))?;
        sum += used;
        eprintln!("  {name}: {used:.1} MiB");
        for service in SERVICES {
            if is_optimised && name.ends_with(&format!("-{service}-1")) {
                report.figure(&format!("memory of {service}, idle"), used, "MiB", 20.0);
            }
        }
    }
    report.figure("memory of all of them", sum, "MiB", 700.0);
    Ok(())
}

/// `12.3MiB` and its like.
fn mebibytes(text: &str) -> Option<f64> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let factor = match &text[digits.len()..] {
        "B" => 1.0 / 1_048_576.0,
        "KiB" => 1.0 / 1_024.0,
        "MiB" => 1.0,
        "GiB" => 1_024.0,
        _ => return None,
    };
    Some(digits.parse::<f64>().ok()? * factor)
}

/// The end of what the containers say, for who looks for the reason.
async fn logs(compose: &Compose) {
    if let Ok(text) = compose.run(&["logs", "--no-color", "--tail", "15"]).await {
        eprintln!("{text}");
    }
    if let Ok(text) = compose.run(&["ps", "-a"]).await {
        eprintln!("{text}");
    }
}
