//! `make e2e`: brings the compose file up as a user does, looks at it from outside, breaks it, and says
//! what it costs.

mod api;
mod checks;
mod cli;
mod docker;
mod engine;
mod faults;
mod image;
mod load;
mod patience;
mod report;
mod run;

use std::process::ExitCode;

use clap::Parser as _;

#[tokio::main]
async fn main() -> ExitCode {
    match run::run(cli::Args::parse()).await {
        Ok(report) => report.tell(),
        Err(error) => {
            eprintln!("e2e: {error:#}");
            ExitCode::FAILURE
        }
    }
}
