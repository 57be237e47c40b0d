//! The verbs of the `testkit` program.

mod databases;
mod prepare;
mod run;

use std::process::{Command, ExitCode};

use anyhow::Result;

const USAGE: &str = "\
Servers for tests and builds.

  testkit run -- COMMAND...          runs a command with a fresh Postgres and RabbitMQ, wipes them after
  testkit sqlx-prepare [--check]     writes .sqlx, the types of all checked queries, or compares it
  testkit dev-databases DIR PORT     starts a Postgres with all databases, prints their variables

The tests find the servers by TESTKIT_POSTGRES_URL, TESTKIT_AMQP_URL and TESTKIT_MANAGEMENT_URL.";

/// Runs one verb. The exit code is that of the command for `run`; otherwise 0 for done, 1 for failed,
/// 2 for wrong use.
pub async fn main(arguments: &[String]) -> ExitCode {
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let result = match *arguments.as_slice() {
        ["run", "--", program, ref rest @ ..] => run::run(program, rest).await,
        ["sqlx-prepare"] => prepare::write().await,
        ["sqlx-prepare", "--check"] => prepare::check().await,
        ["dev-databases", folder, port] => match port.parse() {
            Ok(port) => databases::serve(folder.as_ref(), port).await,
            Err(_) => return wrong_use(&format!("{port} is not a port")),
        },
        ["--help" | "-h" | "help"] => {
            println!("{USAGE}");
            Ok(0)
        }
        [] => return wrong_use("a verb is missing"),
        _ => return wrong_use(&format!("cannot read: {}", arguments.join(" "))),
    };
    exit_code(result)
}

fn wrong_use(what: &str) -> ExitCode {
    eprintln!("testkit: {what}\n\n{USAGE}");
    ExitCode::from(2)
}

fn exit_code(result: Result<u8>) -> ExitCode {
    match result {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("testkit: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The variables by which `cargo run` tells us of our own crate. They are not meant for a cargo that we
/// start, and build scripts that watch them would run again.
#[expect(clippy::disallowed_methods, reason = "names are taken away here, no value is read")]
fn forget_own_crate(command: &mut Command) {
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_"].iter().any(|own| text.starts_with(own)) {
            command.env_remove(&name);
        }
    }
}
