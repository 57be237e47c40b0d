//! Where the data of servers for tests lives.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};
use sandbox::data_root;

use crate::guard::Guard;
use crate::unique;

/// A file system in memory, on every Linux; in containers often too small for anything.
const IN_MEMORY: &str = "/dev/shm";
/// What all servers of a run may write there together, in KiB.
const ROOM: u64 = 4 << 20;
/// What has to be left for everything else, in KiB.
const SPARE: u64 = 4 << 20;

/// A new folder that the servers' accounts can reach and that ends with this process. In memory where
/// there is room: what tests write is thrown away, and each of their databases is some 300 files, whose
/// making and removal would be a good part of all that they do.
pub(crate) fn private_folder() -> Result<Guard> {
    let parent = if fits() { PathBuf::from(IN_MEMORY) } else { std::env::temp_dir() };
    guarded(&parent)
}

/// As [`private_folder`], but always where data lives that has to be kept.
pub(crate) fn folder_on_disk() -> Result<Guard> {
    guarded(&std::env::temp_dir())
}

fn guarded(parent: &Path) -> Result<Guard> {
    let root = data_root(&parent.join(unique("tidings-test-")));
    root.create().with_context(|| format!("cannot create {}", root.path.display()))?;
    Guard::new(&root.path).context("cannot guard the folder of private servers")
}

fn fits() -> bool {
    let free = Command::new("df").args(["-kP", IN_MEMORY]).output().ok();
    let free = free.and_then(|df| free_of(&String::from_utf8_lossy(&df.stdout)));
    let memory = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    free.is_some_and(|kib| kib >= ROOM)
        && available_of(&memory).is_some_and(|kib| kib >= ROOM + SPARE)
}

/// The fourth column of the second line that `df -kP` writes.
fn free_of(df: &str) -> Option<u64> {
    df.lines().nth(1)?.split_whitespace().nth(3)?.parse().ok()
}

fn available_of(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find(|line| line.starts_with("MemAvailable:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn free_space_and_memory_are_read_and_nonsense_is_none() {
        let df = "Filesystem 1024-blocks Used Available Capacity Mounted on\n\
            tmpfs 12345 1 9876543 1% /dev/shm\n";
        assert_eq!((free_of(df), free_of("df: no such file")), (Some(9_876_543), None));
        let memory = "MemTotal: 10 kB\nMemAvailable:   8388608 kB\n";
        assert_eq!((available_of(memory), available_of("")), (Some(8_388_608), None));
    }

    #[test]
    fn a_private_folder_can_be_written_and_ends_with_its_guard() {
        let guard = private_folder().unwrap();
        let file = guard.folder().join("file");
        std::fs::write(&file, "x").unwrap();
        drop(guard);
        assert!(!file.exists());
    }
}
