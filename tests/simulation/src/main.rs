//! `make simulate`.

use std::process::ExitCode;

use clap::Parser as _;
use simulation::{Server, cli::Args, run, tell};

fn main() -> ExitCode {
    match play(&Args::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("simulate: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// True when all is as it should be.
fn play(args: &Args) -> anyhow::Result<bool> {
    let plan = args.plan();
    println!("first seed {}", plan.first);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let server = runtime.block_on(Server::private());
    let outcome = run(&plan, &server)?;
    println!("{}", tell(&plan, &outcome));
    Ok(outcome.failed.is_empty() != plan.bug.is_some())
}
