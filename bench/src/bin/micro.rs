//! `make micro`: the instructions of each small operation. With a name and a number it only calls that
//! operation so many times.

use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let done = match arguments.as_slice() {
        [] => bench::micro::count(),
        [name, times] => match times.parse() {
            Ok(times) => bench::micro::call(name, times),
            Err(_) => Err(anyhow::anyhow!("{times} is no number")),
        },
        _ => Err(anyhow::anyhow!("use: micro [OPERATION TIMES]")),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("micro: {error:#}");
            ExitCode::FAILURE
        }
    }
}
