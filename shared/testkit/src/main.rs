//! `testkit run -- COMMAND` and the other verbs that tests and builds need servers for.

use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    testkit::cli::main(&arguments).await
}
