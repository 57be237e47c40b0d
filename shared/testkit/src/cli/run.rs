//! A command with a pair of servers of its own.

use std::io::IsTerminal as _;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Command, ExitStatus};

use anyhow::{Context as _, Result};
use sandbox::process::{interrupt, terminate};
use tokio::signal::unix::{SignalKind, signal};

use super::forget_own_crate;
use crate::folder::private_folder;
use crate::servers::{Servers, start_pair};

/// Starts the servers, runs the command, ends and wipes the servers, gives the command's exit code.
pub(super) async fn run(program: &str, arguments: &[&str]) -> Result<u8> {
    let mut interrupted = signal(SignalKind::interrupt())?;
    let mut terminated = signal(SignalKind::terminate())?;
    let guard = private_folder()?;
    let starting = start_pair(guard.folder());
    // The guard wipes what a start that was broken off has left.
    let (mut postgres, mut rabbit) = tokio::select! {
        pair = starting => pair?,
        _ = interrupted.recv() => return Ok(128 + 2),
        _ = terminated.recv() => return Ok(128 + 15),
    };

    let mut command = Command::new(program);
    command.args(arguments).envs(Servers::of(&postgres, &rabbit).env());
    forget_own_crate(&mut command);
    let mut command = tokio::process::Command::from(command);
    let mut child = command.spawn().with_context(|| format!("cannot run {program}"))?;
    let pid = child.id().unwrap_or_default();
    let status = loop {
        tokio::select! {
            status = child.wait() => break status?,
            // A terminal has sent its Ctrl-C to the command, too; a second one would break it off.
            _ = interrupted.recv() => if !std::io::stdin().is_terminal() { interrupt(pid)? },
            _ = terminated.recv() => terminate(pid)?,
        }
    };
    // Their data is thrown away, so an orderly stop would be a waste of 5 s.
    rabbit.kill_all()?;
    postgres.kill()?;
    Ok(code_of(status))
}

/// As shells give it: 128 and the number of the signal for a command that a signal has ended.
fn code_of(status: ExitStatus) -> u8 {
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1)
}
