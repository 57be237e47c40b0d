//! Writes everything that follows from the event types: schemas, golden samples, the documents.
//!
//! `cargo run -p contracts --example generate` writes; `-- --check` writes nothing, lists what
//! differs and fails if anything does; `-- --regolden` also rewrites samples that exist already.

mod artefacts;

use std::process::ExitCode;

use artefacts::{Mode, run, workspace};

fn main() -> ExitCode {
    let mode = match std::env::args().nth(1).as_deref() {
        None => Mode::Write,
        Some("--check") => Mode::Check,
        Some("--regolden") => Mode::Regolden,
        Some(other) => {
            eprintln!("unknown option {other}; there are --check and --regolden");
            return ExitCode::from(2);
        }
    };
    match run(workspace(), mode) {
        Ok(lines) if mode == Mode::Check && !lines.is_empty() => {
            lines.iter().for_each(|line| eprintln!("{line}"));
            eprintln!("run `cargo run -p contracts --example generate` and commit the result");
            ExitCode::FAILURE
        }
        Ok(lines) => {
            lines.iter().for_each(|line| println!("{line}"));
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
