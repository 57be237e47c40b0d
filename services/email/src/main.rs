//! Runs the email service.

use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    email::run(chassis::config::Source::process()).await
}
