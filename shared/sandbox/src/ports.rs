//! Free ports that no other process of ours takes meanwhile, and who holds a port.

use std::fmt;
use std::fs::{self, File};
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::path::PathBuf;
use std::sync::Mutex;

use crate::process;

/// Below the range from which systems take ports for outgoing connections (32768 on Linux, 49152
/// elsewhere), above the ports that services of this project use by default.
const RANGE: std::ops::Range<u16> = 20_000..32_000;

/// The claims of this process: each an open, locked file, released by the system when it ends.
static CLAIMS: Mutex<Vec<File>> = Mutex::new(Vec::new());

/// A free TCP port below 32768, so that no outgoing connection takes it before it is bound. It
/// stays claimed until this process ends: no other call, in any process of this user, gets it.
///
/// # Errors
/// When no port is left, or the folder of the claims cannot be written.
#[expect(clippy::disallowed_methods, reason = "only where the search begins, which no test holds")]
pub fn free_port() -> io::Result<u16> {
    let folder = claims_folder()?;
    // Another first try for each process and call, so that hundreds of test processes do not all
    // walk over the same taken ports.
    let seed = RandomState::new().build_hasher().finish() % u64::from(RANGE.end - RANGE.start);
    let start = RANGE.start + u16::try_from(seed).unwrap_or_default();
    for port in (start..RANGE.end).chain(RANGE.start..start) {
        let claim = File::create(folder.join(port.to_string()))?;
        if claim.try_lock().is_ok() && is_free(port) {
            CLAIMS.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).push(claim);
            return Ok(port);
        }
    }
    Err(io::Error::other(format!("no free port from {} to {}", RANGE.start, RANGE.end - 1)))
}

/// Whether nothing listens on the port, on any address of this machine.
#[must_use]
pub fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).is_ok()
}

/// The process that listens on a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// Its process id.
    pub pid: u32,
    /// Its name, as `ps` shows it.
    pub name: String,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (pid {})", self.name, self.pid)
    }
}

/// Who listens on a TCP port of this machine. None when nobody does, or when the process belongs
/// to another user, whose open files only root may see.
#[must_use]
pub fn holder_of(port: u16) -> Option<Holder> {
    let sockets: Vec<String> = ["/proc/net/tcp", "/proc/net/tcp6"]
        .iter()
        .filter_map(|table| fs::read_to_string(table).ok())
        .flat_map(|table| {
            table.lines().filter_map(|line| listening_on(line, port)).collect::<Vec<_>>()
        })
        .map(|inode| format!("socket:[{inode}]"))
        .collect();
    if sockets.is_empty() {
        return None;
    }
    process::pids().find_map(|pid| {
        let holds =
            open_files(pid).any(|file| sockets.iter().any(|s| file.as_os_str() == s.as_str()));
        holds.then(|| Holder { pid, name: process::name_of(pid).unwrap_or_else(|| "?".into()) })
    })
}

/// The sentence for a port that is needed and not free: `port 8081 is held by nginx (pid 12)`.
#[must_use]
pub fn taken_message(port: u16) -> String {
    match holder_of(port) {
        Some(holder) => format!("port {port} is held by {holder}"),
        None => format!("port {port} is held by a process of another user"),
    }
}

/// The inode of the socket when this line of `/proc/net/tcp` is a listener on the port.
fn listening_on(line: &str, port: u16) -> Option<String> {
    const LISTEN: &str = "0A";
    let fields: Vec<&str> = line.split_whitespace().collect();
    let (_, hex) = fields.get(1)?.rsplit_once(':')?;
    let found = u16::from_str_radix(hex, 16).ok()? == port && *fields.get(3)? == LISTEN;
    found.then(|| fields.get(9).map(|inode| (*inode).to_owned()))?
}

fn open_files(pid: u32) -> impl Iterator<Item = PathBuf> {
    fs::read_dir(format!("/proc/{pid}/fd"))
        .into_iter()
        .flatten()
        .filter_map(|entry| fs::read_link(entry.ok()?.path()).ok())
}

fn claims_folder() -> io::Result<PathBuf> {
    let folder = std::env::temp_dir().join(format!("tidings-ports-{}", process::user_id()));
    fs::create_dir_all(&folder)?;
    Ok(folder)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use std::collections::HashSet;

    use super::*;

    #[test]
    fn a_hundred_free_ports_are_all_different_and_below_the_ephemeral_range() {
        let ports: HashSet<u16> = (0..100).map(|_| free_port().unwrap()).collect();
        assert_eq!(ports.len(), 100);
        assert!(ports.iter().all(|port| *port < 32_768));
    }

    #[test]
    fn a_claimed_port_is_not_given_to_another_process() {
        let port = free_port().unwrap();
        let claim = File::create(claims_folder().unwrap().join(port.to_string())).unwrap();
        assert!(claim.try_lock().is_err());
    }

    #[test]
    fn the_holder_of_a_port_is_named_with_its_pid() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        assert!(!is_free(port));
        assert_eq!(holder_of(port).unwrap().pid, std::process::id());
        assert!(taken_message(port).contains(&format!("(pid {})", std::process::id())));
        drop(listener);
        assert_eq!(holder_of(port), None);
    }
}
