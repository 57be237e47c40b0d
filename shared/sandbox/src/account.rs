//! The account that a server runs as, and folders that this account can reach.

use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::error::{Doing as _, ServerError};

/// Where the data of private servers may live.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DataRoot {
    /// The folder; it need not exist yet.
    pub path: PathBuf,
    /// Why it is not the preferred one, to be told to the user.
    pub reason: Option<String>,
}

impl DataRoot {
    /// Makes the folder, which the servers' own accounts may enter whatever the umask is.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn create(&self) -> io::Result<()> {
        create_open(&self.path)
    }
}

/// The folder for the data of private servers: `preferred`, except for root in a checkout below a
/// closed folder (`/root`, say), where the servers' own accounts could not reach it. Then it is a
/// folder under `/var/lib`, or the temporary folder where that is not writable, with a name derived
/// from `preferred`, so that two checkouts do not share data.
#[must_use]
pub fn data_root(preferred: &Path) -> DataRoot {
    let account = match Account::of_server("Postgres", "postgres", preferred) {
        Ok(Some(account)) => account,
        _ => return DataRoot { path: preferred.to_owned(), reason: None },
    };
    let absolute = std::path::absolute(preferred).unwrap_or_else(|_| preferred.to_owned());
    // The servers' folders lie below it, so it must be open itself.
    let Some(closed) = account.first_closed(&absolute.join("server")) else {
        return DataRoot { path: preferred.to_owned(), reason: None };
    };
    let name = format!("tidings-{:016x}", fnv1a(absolute.as_os_str().as_bytes()));
    let path = [PathBuf::from("/var/lib"), std::env::temp_dir()]
        .into_iter()
        .map(|parent| parent.join(&name))
        .find(|path| create_open(path).is_ok())
        .unwrap_or(absolute);
    let reason = format!("{} is closed to the user {}", closed.display(), account.name);
    DataRoot { path, reason: Some(reason) }
}

/// The account that a server runs as when we are root.
#[derive(Debug, Clone)]
pub(crate) struct Account {
    pub(crate) name: String,
    uid: u32,
    gid: u32,
}

impl Account {
    /// None when we are not root: then the server runs as we do. Data that an ordinary user made stays
    /// that user's, also when root starts the server.
    pub(crate) fn of_server(
        what: &'static str,
        name: &str,
        data: &Path,
    ) -> Result<Option<Self>, ServerError> {
        if !rustix::process::geteuid().is_root() {
            return Ok(None);
        }
        if let Some(owner) = fs::metadata(data).ok().filter(|data| data.uid() != 0) {
            let name = format!("{name} (uid {})", owner.uid());
            return Ok(Some(Self { name, uid: owner.uid(), gid: owner.gid() }));
        }
        let missing = || ServerError::NoAccount { what, account: name.to_owned() };
        let uid = id("-u", name).ok_or_else(missing)?;
        let gid = id("-g", name).ok_or_else(missing)?;
        Ok(Some(Self { name: name.to_owned(), uid, gid }))
    }

    /// Makes a command run as this account, with none of our supplementary groups.
    pub(crate) fn apply(&self, command: &mut Command) {
        command.uid(self.uid).gid(self.gid);
    }

    /// Gives a file or folder to this account.
    pub(crate) fn own(&self, path: &Path) -> io::Result<()> {
        std::os::unix::fs::chown(path, Some(self.uid), Some(self.gid))
    }

    /// The first existing folder on the way to `path` that this account may not enter.
    fn first_closed(&self, path: &Path) -> Option<PathBuf> {
        let mut parents: Vec<&Path> = path.ancestors().skip(1).filter(|p| p.is_dir()).collect();
        parents.reverse();
        parents.into_iter().find(|parent| !self.may_enter(parent)).map(Path::to_owned)
    }

    /// Asks the system, which knows of access lists and read-only mounts, by trying.
    fn may_enter(&self, folder: &Path) -> bool {
        let mut test = Command::new("test");
        test.arg("-x").arg(folder).current_dir("/").stdin(Stdio::null());
        self.apply(&mut test);
        test.status().is_ok_and(|status| status.success())
    }
}

/// Creates a folder for a server and gives it to the account that the server runs as.
pub(crate) fn prepare_folder(folder: &Path, account: Option<&Account>) -> Result<(), ServerError> {
    create_open(folder).doing("create", folder)?;
    let Some(account) = account else { return Ok(()) };
    if let Some(closed) = account.first_closed(folder) {
        return Err(ServerError::ClosedFolder {
            closed,
            account: account.name.clone(),
            folder: folder.to_owned(),
        });
    }
    account.own(folder).doing("change the owner of", folder)
}

/// Makes a folder and its missing parents; for root, so that other accounts may pass through them.
fn create_open(folder: &Path) -> io::Result<()> {
    let missing: Vec<&Path> = folder.ancestors().take_while(|path| !path.exists()).collect();
    fs::create_dir_all(folder)?;
    if rustix::process::geteuid().is_root() {
        for path in missing.into_iter().filter(|path| path.is_dir()) {
            fs::set_permissions(path, fs::Permissions::from_mode(0o755))?;
        }
    }
    Ok(())
}

fn id(flag: &str, name: &str) -> Option<u32> {
    let output = Command::new("id").args([flag, name]).stderr(Stdio::null()).output().ok()?;
    String::from_utf8(output.stdout).ok()?.trim().parse().ok()
}

/// A hash that stays the same over compilers and runs, for names of folders.
pub(crate) fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;

    #[test]
    fn a_folder_that_the_server_can_reach_is_kept() {
        let folder = std::env::temp_dir().join("open-folder").join("data");
        assert_eq!(data_root(&folder), DataRoot { path: folder, reason: None });
    }

    #[test]
    fn root_gets_another_folder_below_a_closed_one_and_learns_why() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let closed = std::env::temp_dir().join(format!("closed-{}", std::process::id()));
        fs::create_dir_all(&closed).unwrap();
        fs::set_permissions(&closed, fs::Permissions::from_mode(0o700)).unwrap();
        let root = data_root(&closed.join("checkout/data"));
        let same = data_root(&closed.join("checkout/data"));
        fs::remove_dir_all(&closed).unwrap();
        fs::remove_dir_all(&root.path).unwrap();
        assert!(!root.path.starts_with(&closed));
        assert!(root.reason.as_ref().unwrap().contains(closed.to_str().unwrap()));
        assert_eq!(root, same);
    }
}
