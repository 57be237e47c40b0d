//! `.tidings`: the folder of everything that a running shop keeps on this machine.

use std::fs::{self, File};
use std::io::{Read as _, Seek as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};
use sandbox::DataRoot;

/// Marks the folder as ours, so that nothing else is ever deleted by `shop reset`. Backup programs
/// know the name and leave the folder out.
const MARKER: &str = "CACHEDIR.TAG";
const MARKER_TEXT: &str = "Signature: 8a477f597d28d172789f06886806bc55\n\
                           # Data of `shop up` (Tidings). `shop reset` deletes it.\n";
/// All that we make in it.
const PARTS: [&str; 6] = ["postgres", "rabbitmq", "gateway", "keys", "logs", "run"];

/// Where the data of `shop up` is.
#[derive(Debug, Clone, clap::Args)]
pub struct FolderArgs {
    /// Folder of the data
    #[arg(long, env = "TIDINGS_DATA", value_name = "FOLDER", default_value = ".tidings")]
    data: PathBuf,
}

impl FolderArgs {
    /// The folder, which need not exist.
    ///
    /// # Errors
    /// When the current folder is gone.
    pub fn folder(&self) -> anyhow::Result<Folder> {
        let path = std::path::absolute(&self.data)
            .with_context(|| format!("cannot find {}", self.data.display()))?;
        Ok(Folder { path })
    }
}

/// The folder of the data.
#[derive(Debug, Clone)]
pub struct Folder {
    path: PathBuf,
}

/// Held for as long as a `shop up` runs in the folder; the system lets it go with the process.
#[derive(Debug)]
pub(crate) struct Lock(#[expect(dead_code, reason = "held, not used")] File);

impl Folder {
    /// Its path, absolute.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A part of it.
    pub(crate) fn part(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// The log of a process.
    pub(crate) fn log(&self, name: &str) -> PathBuf {
        self.part("logs").join(format!("{name}.log"))
    }

    /// Where the servers' data is: elsewhere when their accounts cannot reach this folder.
    pub(crate) fn servers(&self) -> DataRoot {
        sandbox::data_root(&self.path)
    }

    /// Makes the folder and its parts.
    ///
    /// # Errors
    /// When it cannot be made, or something else is in it.
    pub(crate) fn prepare(&self) -> anyhow::Result<()> {
        let shown = self.path.display();
        ensure!(
            self.is_usable(),
            "{shown} holds something else; choose another folder with --data"
        );
        for folder in [self.path.clone(), self.part("logs"), self.part("run"), self.part("gateway")]
        {
            fs::create_dir_all(&folder)
                .with_context(|| format!("cannot create {}", folder.display()))?;
        }
        // The servers' own accounts pass through it, whatever the umask is.
        fs::set_permissions(&self.path, fs::Permissions::from_mode(0o755))?;
        let keys = self.part("keys");
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&keys)?;
        fs::write(self.part(MARKER), MARKER_TEXT)
            .with_context(|| format!("cannot write to {shown}"))
    }

    /// Takes the folder for this process.
    ///
    /// # Errors
    /// When a `shop up` runs in it, with its process id.
    pub(crate) fn lock(&self) -> anyhow::Result<Lock> {
        let path = self.part("run").join("up.lock");
        let mut file =
            File::options().read(true).write(true).create(true).truncate(false).open(&path)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(fs::TryLockError::WouldBlock) => {
                let mut holder = String::new();
                let _ = file.read_to_string(&mut holder);
                let (pid, shown) = (holder.trim(), self.path.display());
                bail!("shop up is already running with {shown} (pid {pid})");
            }
            Err(fs::TryLockError::Error(error)) => {
                return Err(error).context("cannot lock the folder");
            }
        }
        file.rewind()?;
        file.set_len(0)?;
        file.write_all(std::process::id().to_string().as_bytes())?;
        Ok(Lock(file))
    }

    /// The process id of the `shop up` that runs in the folder.
    pub(crate) fn runs(&self) -> Option<u32> {
        let path = self.part("run").join("up.lock");
        let mut file = File::open(path).ok()?;
        let taken = matches!(file.try_lock_shared(), Err(fs::TryLockError::WouldBlock));
        let mut holder = String::new();
        file.read_to_string(&mut holder).ok()?;
        if taken { holder.trim().parse().ok() } else { None }
    }

    /// Whether `shop up` has made it.
    pub(crate) fn is_ours(&self) -> bool {
        fs::read_to_string(self.part(MARKER)).is_ok_and(|text| text == MARKER_TEXT)
    }

    /// Whether it is ours, or empty, or not there.
    pub(crate) fn is_usable(&self) -> bool {
        self.is_ours() || self.is_vacant()
    }

    fn is_vacant(&self) -> bool {
        fs::read_dir(&self.path).map_or(!self.path.exists(), |mut entries| entries.next().is_none())
    }

    /// Deletes the data, and nothing that we have not made.
    ///
    /// # Errors
    /// When something of it cannot be deleted.
    pub(crate) fn delete(&self) -> anyhow::Result<()> {
        let servers = self.servers().path;
        if servers != self.path {
            remove(&servers)?;
        }
        for part in PARTS {
            remove(&self.part(part))?;
        }
        fs::remove_file(self.part(MARKER)).context("cannot delete the marker")?;
        // Whatever else somebody has put there stays, and its folder with it.
        let _ = fs::remove_dir(&self.path);
        Ok(())
    }
}

fn remove(folder: &Path) -> anyhow::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot delete {}", folder.display()))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;

    fn folder(name: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("tidings-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        Folder { path }
    }

    #[test]
    fn a_folder_with_something_else_in_it_is_left_alone() {
        let foreign = folder("foreign");
        fs::create_dir_all(foreign.part("logs")).unwrap();
        let refusal = foreign.prepare().unwrap_err().to_string();
        assert!(refusal.contains("holds something else"), "{refusal}");
        assert!(!foreign.is_ours());
        fs::remove_dir_all(foreign.path()).unwrap();
    }

    #[test]
    fn a_second_start_is_told_who_runs() {
        let folder = folder("twice");
        folder.prepare().unwrap();
        assert_eq!(folder.runs(), None);
        let lock = folder.lock().unwrap();
        let me = std::process::id();
        assert_eq!(folder.runs(), Some(me));
        let refusal = folder.lock().unwrap_err().to_string();
        assert!(refusal.contains(&format!("already running with {}", folder.path().display())));
        assert!(refusal.ends_with(&format!("(pid {me})")), "{refusal}");
        drop(lock);
        assert_eq!(folder.runs(), None);
        folder.delete().unwrap();
        assert!(!folder.path().exists());
    }

    #[test]
    fn deleting_leaves_what_somebody_else_has_put_there() {
        let folder = folder("shared");
        folder.prepare().unwrap();
        fs::write(folder.part("notes.txt"), "mine").unwrap();
        folder.delete().unwrap();
        assert!(!folder.part("logs").exists());
        assert_eq!(fs::read_to_string(folder.part("notes.txt")).unwrap(), "mine");
        fs::remove_dir_all(folder.path()).unwrap();
    }
}
