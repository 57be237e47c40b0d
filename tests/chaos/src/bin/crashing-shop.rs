//! The program `shop` with crash points and bugs in it, for the harness alone.

use std::process::ExitCode;

fn main() -> ExitCode {
    shop::run()
}
