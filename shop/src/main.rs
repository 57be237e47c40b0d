//! The program `shop`.

use std::process::ExitCode;

fn main() -> ExitCode {
    shop::run()
}
