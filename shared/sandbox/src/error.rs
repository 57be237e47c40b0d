//! Why a private server did not start, each with the fix.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::ports;

/// Why a private Postgres or RabbitMQ could not be started or stopped.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// Its programs are not on this machine.
    #[error("{what} {needed} or later is not installed; {fix}")]
    NotInstalled {
        /// The name of the server.
        what: &'static str,
        /// The oldest version that will do.
        needed: &'static str,
        /// The command that installs it.
        fix: String,
    },
    /// Only versions that are too old were found.
    #[error("{what} {found} is too old, {needed} or later is needed; {fix}")]
    TooOld {
        /// The name of the server.
        what: &'static str,
        /// The newest version that was found.
        found: String,
        /// The oldest version that will do.
        needed: &'static str,
        /// Where a newer one is.
        fix: String,
    },
    /// The folder holds the data of another major version.
    #[error(
        "the data in {} is of Postgres {found}, whose programs are not installed (found: {installed}); \
         install them, or forget the data", folder.display()
    )]
    OtherVersion {
        /// The folder of the data.
        folder: PathBuf,
        /// The version in the data's PG_VERSION.
        found: String,
        /// The versions of the programs on this machine.
        installed: String,
    },
    /// The account that must own the data may not enter a parent folder.
    #[error(
        "{} is closed to the user {account}, who must own the data in {}; \
         choose another folder, or open it with chmod o+x", closed.display(), folder.display()
    )]
    ClosedFolder {
        /// The first folder on the path that is closed.
        closed: PathBuf,
        /// The account that the server runs as.
        account: String,
        /// The folder that was asked for.
        folder: PathBuf,
    },
    /// The server may not run as root, and the account that it should run as does not exist.
    #[error(
        "{what} does not run as root and there is no user {account} on this machine; \
         fix: useradd --system {account}"
    )]
    NoAccount {
        /// The name of the server.
        what: &'static str,
        /// The account that is missing.
        account: String,
    },
    /// Another process listens on the port.
    #[error("{what} cannot start: {}", ports::taken_message(*port))]
    PortTaken {
        /// The name of the server.
        what: &'static str,
        /// The port.
        port: u16,
    },
    /// The server ended while it was starting.
    #[error("{what} ended while starting; the end of {}:\n{tail}", log.display())]
    Ended {
        /// The name of the server, or the program that prepares its data.
        what: &'static str,
        /// Its log.
        log: PathBuf,
        /// The last lines of the log.
        tail: String,
    },
    /// The server runs but does not answer.
    #[error("{what} did not answer within {} s ({last}); its log is {}", after.as_secs(), log.display())]
    NotReady {
        /// The name of the server.
        what: &'static str,
        /// How long it was given.
        after: Duration,
        /// The last answer.
        last: String,
        /// Its log.
        log: PathBuf,
    },
    /// The server did not end after it was told to.
    #[error("{what} (pid {pid}) did not end within {} s", after.as_secs())]
    NotStopped {
        /// The name of the server.
        what: &'static str,
        /// Its process id.
        pid: u32,
        /// How long it was given.
        after: Duration,
    },
    /// A file or process operation failed.
    #[error("{doing}: {source}")]
    Io {
        /// What was being done.
        doing: String,
        /// Why it failed.
        source: io::Error,
    },
}

/// Says what was being done when an I/O operation failed.
pub(crate) trait Doing<T> {
    fn doing(self, what: &str, path: &Path) -> Result<T, ServerError>;
}

impl<T> Doing<T> for io::Result<T> {
    fn doing(self, what: &str, path: &Path) -> Result<T, ServerError> {
        self.map_err(|source| ServerError::Io {
            doing: format!("{what} {}", path.display()),
            source,
        })
    }
}

/// The last lines of a log, for a message about why a server ended.
pub(crate) fn tail(log: &Path, lines: usize) -> String {
    let text = std::fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let all: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}

/// The command that installs a Debian package, or the other system's own.
pub(crate) fn install_fix(apt: &str, brew: &str) -> String {
    if cfg!(target_os = "macos") {
        format!("fix: brew install {brew}")
    } else if rustix::process::geteuid().is_root() {
        format!("fix: apt-get install -y {apt}")
    } else {
        format!("fix: sudo apt-get install -y {apt}")
    }
}
