//! The program `shop`.

use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    shop::run().await
}
