//! Runs the order service.

use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    order::run(chassis::config::Source::process()).await
}
