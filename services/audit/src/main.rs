//! Runs the audit service.

use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    audit::run(chassis::config::Source::process()).await
}
