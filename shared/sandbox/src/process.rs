//! Signals by process id, who is alive, and the server processes that this crate starts.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process, test_kill_process};

/// How long one look at a process that is expected to end takes until the next.
const LOOK: Duration = Duration::from_millis(10);

/// Asks a process to end (SIGTERM).
///
/// # Errors
/// When the process belongs to someone else. A process that is already gone is no error.
pub fn terminate(pid: u32) -> io::Result<()> {
    gone_is_fine(send(pid, Signal::TERM))
}

/// Asks a process to end the way Ctrl-C does (SIGINT).
///
/// # Errors
/// As [`terminate`].
pub fn interrupt(pid: u32) -> io::Result<()> {
    gone_is_fine(send(pid, Signal::INT))
}

/// Ends a process without giving it a chance to clean up (SIGKILL).
///
/// # Errors
/// As [`terminate`].
pub fn kill(pid: u32) -> io::Result<()> {
    gone_is_fine(send(pid, Signal::KILL))
}

/// Freezes a process until [`cont`] (SIGSTOP): what a long pause of a virtual machine looks like.
///
/// # Errors
/// When the process is gone or belongs to someone else.
pub fn stop(pid: u32) -> io::Result<()> {
    send(pid, Signal::STOP)
}

/// Lets a frozen process go on (SIGCONT).
///
/// # Errors
/// As [`stop`].
pub fn cont(pid: u32) -> io::Result<()> {
    send(pid, Signal::CONT)
}

/// Whether a process runs. One that has ended but was not yet waited for counts as ended.
#[must_use]
pub fn is_alive(pid: u32) -> bool {
    let Some(target) = to_pid(pid) else { return false };
    match test_kill_process(target) {
        Ok(()) | Err(Errno::PERM) => !is_zombie(pid),
        Err(_) => false,
    }
}

/// Waits until a process has ended. False when it still ran after `within`.
pub async fn wait_gone(pid: u32, within: Duration) -> bool {
    let deadline = Instant::now() + within;
    while is_alive(pid) {
        if Instant::now() >= deadline {
            return false;
        }
        tokio::time::sleep(LOOK).await;
    }
    true
}

/// The name of a running process (the first 15 characters), where the system tells it in `/proc`.
#[must_use]
pub fn name_of(pid: u32) -> Option<String> {
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
    Some(name.trim_end().to_owned())
}

/// A process and those that it has started itself, as far as they still run.
#[must_use]
pub fn with_children(parent: u32) -> Vec<u32> {
    let children = pids().filter(|pid| parent_of(*pid) == Some(parent));
    std::iter::once(parent).chain(children).collect()
}

/// The fields after the name, which is in brackets and may hold anything, are the state and the parent.
fn parent_of(pid: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}

/// The number of the user that this process runs as.
#[must_use]
pub fn user_id() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// The folders in which programs are looked for.
#[expect(
    clippy::disallowed_methods,
    reason = "no setting of ours: where the system has its programs"
)]
pub(crate) fn search_path() -> OsString {
    std::env::var_os("PATH").unwrap_or_default()
}

/// The arguments of a running process, joined by spaces.
pub(crate) fn command_line(pid: u32) -> Option<String> {
    let raw = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    Some(String::from_utf8_lossy(&raw).replace('\0', " "))
}

/// All processes of that name whose working folder is `folder`: for Postgres, the server and all its
/// backends, but not a shell that someone opened there.
pub(crate) fn working_in(folder: &Path, name: &str) -> Vec<u32> {
    let folder = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
    pids()
        .filter(|pid| cwd(*pid).is_some_and(|cwd| cwd == folder))
        .filter(|pid| name_of(*pid).is_some_and(|found| found == name) && is_alive(*pid))
        .collect()
}

/// The ids of all processes that the system shows in `/proc`.
pub(crate) fn pids() -> impl Iterator<Item = u32> {
    fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
}

fn cwd(pid: u32) -> Option<PathBuf> {
    fs::read_link(format!("/proc/{pid}/cwd")).ok()
}

/// The state letter is the first field after the name, which is in brackets and may hold anything.
fn is_zombie(pid: u32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| {
        stat.rsplit_once(')').is_some_and(|(_, rest)| rest.trim_start().starts_with(['Z', 'X']))
    })
}

fn to_pid(pid: u32) -> Option<Pid> {
    Pid::from_raw(i32::try_from(pid).ok()?)
}

fn send(pid: u32, signal: Signal) -> io::Result<()> {
    let target = to_pid(pid).ok_or(io::ErrorKind::InvalidInput)?;
    Ok(kill_process(target, signal)?)
}

fn gone_is_fine(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if Errno::from_io_error(&error) == Some(Errno::SRCH) => Ok(()),
        other => other,
    }
}

/// A server that was started here, or found running from an earlier start.
#[derive(Debug)]
pub(crate) struct Server {
    pid: u32,
    /// Kept to reap the child when it ends; None for a server that an earlier process started.
    child: Option<Child>,
}

impl Server {
    pub(crate) fn started(child: Child) -> Self {
        Self { pid: child.id(), child: Some(child) }
    }

    pub(crate) fn found(pid: u32) -> Self {
        Self { pid, child: None }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    pub(crate) fn is_running(&mut self) -> bool {
        match &mut self.child {
            Some(child) => matches!(child.try_wait(), Ok(None)),
            None => is_alive(self.pid),
        }
    }

    /// Waits for the end of the process. False when it still ran after `within`.
    pub(crate) async fn wait_gone(&mut self, within: Duration) -> bool {
        let deadline = Instant::now() + within;
        while self.is_running() {
            if Instant::now() >= deadline {
                return false;
            }
            tokio::time::sleep(LOOK).await;
        }
        true
    }

    /// SIGKILL, and the few milliseconds until the process is gone. Blocks, so that it can be used
    /// while dropping.
    pub(crate) fn kill(&mut self) -> io::Result<()> {
        kill(self.pid)?;
        let deadline = Instant::now() + Duration::from_secs(5);
        while self.is_running() {
            if Instant::now() >= deadline {
                return Err(io::Error::new(
                    io::ErrorKind::TimedOut,
                    format!("process {} did not end within 5 s of SIGKILL", self.pid),
                ));
            }
            std::thread::sleep(LOOK);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use std::process::Command;

    use super::*;

    #[tokio::test]
    async fn a_stopped_process_is_alive_and_a_killed_one_is_not() {
        let child = Command::new("sleep").arg("60").spawn().unwrap();
        let pid = child.id();
        let mut server = Server::started(child);
        stop(pid).unwrap();
        assert!(is_alive(pid));
        assert!(!wait_gone(pid, Duration::from_millis(20)).await);
        cont(pid).unwrap();
        server.kill().unwrap();
        assert!(!is_alive(pid));
        terminate(pid).unwrap();
    }

    #[test]
    fn an_ended_process_that_nobody_waited_for_counts_as_ended() {
        let mut child = Command::new("true").spawn().unwrap();
        let deadline = Instant::now() + Duration::from_secs(5);
        while is_alive(child.id()) {
            assert!(Instant::now() < deadline, "a zombie counts as alive");
            std::thread::yield_now();
        }
        child.wait().unwrap();
    }

    #[test]
    fn a_child_is_found_with_its_parent() {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let family = with_children(std::process::id());
        assert!(family.contains(&child.id()) && family.contains(&std::process::id()));
        child.kill().unwrap();
        child.wait().unwrap();
    }

    #[test]
    fn this_process_has_a_name_and_a_working_folder() {
        let me = std::process::id();
        let name = name_of(me).unwrap();
        assert!(working_in(&std::env::current_dir().unwrap(), &name).contains(&me));
    }
}
