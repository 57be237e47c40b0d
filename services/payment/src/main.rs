//! Runs the payment service.

use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    payment::run(chassis::config::Source::process()).await
}
