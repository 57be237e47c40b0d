//! Runs the inventory service.

use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    inventory::run(chassis::config::Source::process()).await
}
