//! Who was started here: a file per process, so that a start after a crash finds what the one before
//! has left running.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::Context as _;
use sandbox::process;

/// How long a leftover service may take to end in order.
const END_WITHIN: Duration = Duration::from_secs(22);
/// How long the system may take to end a killed process.
const KILLED_WITHIN: Duration = Duration::from_secs(5);

/// The files of one folder.
#[derive(Debug, Clone)]
pub(super) struct Pids {
    folder: PathBuf,
}

impl Pids {
    pub(super) fn of(folder: &Path) -> Self {
        Self { folder: folder.to_owned() }
    }

    /// Notes a process by its id and birth: the id alone may belong to anyone after a while.
    pub(super) fn note(&self, name: &str, pid: u32) {
        let birth = birth_of(pid).unwrap_or_default();
        // Without the file a crash of ours would leave the process to the user; no reason to stop.
        let _ = fs::write(self.file(name), format!("{pid}\n{birth}\n"));
    }

    pub(super) fn forget(&self, name: &str) {
        let _ = fs::remove_file(self.file(name));
    }

    /// The process of that name, if it still runs and is the one that was noted.
    pub(super) fn running(&self, name: &str) -> Option<u32> {
        let text = fs::read_to_string(self.file(name)).ok()?;
        let (pid, birth) = text.trim_end().split_once('\n')?;
        let pid = pid.parse().ok().filter(|pid| process::is_alive(*pid))?;
        (birth_of(pid)? == birth).then_some(pid)
    }

    /// Ends a process that an earlier start left running. True when there was one.
    pub(super) async fn end(&self, name: &str) -> anyhow::Result<bool> {
        let Some(pid) = self.running(name) else {
            self.forget(name);
            return Ok(false);
        };
        let context = || format!("cannot end the {name} of an earlier start (pid {pid})");
        process::terminate(pid).with_context(context)?;
        if !process::wait_gone(pid, END_WITHIN).await {
            process::kill(pid).with_context(context)?;
            anyhow::ensure!(process::wait_gone(pid, KILLED_WITHIN).await, context());
        }
        self.forget(name);
        Ok(true)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}.pid"))
    }
}

/// When a process began, in the words of its system. None when it is gone.
fn birth_of(pid: u32) -> Option<String> {
    const BOOT: &str = "/proc/sys/kernel/random/boot_id";
    let Ok(boot) = fs::read_to_string(BOOT) else { return birth_by_ps(pid) };
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // Field 22; the name in brackets is field 2 and may hold blanks, so counting begins after it.
    let (_, rest) = stat.rsplit_once(')')?;
    let ticks = rest.split_whitespace().nth(19)?;
    Some(format!("{} {ticks}", boot.trim()))
}

fn birth_by_ps(pid: u32) -> Option<String> {
    let output =
        Command::new("ps").args(["-o", "lstart=", "-p", &pid.to_string()]).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    (!text.is_empty()).then_some(text)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;

    fn pids(name: &str) -> Pids {
        let folder = std::env::temp_dir().join(format!("tidings-{name}-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        Pids::of(&folder)
    }

    #[tokio::test]
    async fn a_leftover_is_ended_once() {
        let pids = pids("leftover");
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        pids.note("order", child.id());
        assert_eq!(pids.running("order"), Some(child.id()));
        assert!(pids.end("order").await.unwrap());
        assert!(!pids.end("order").await.unwrap());
        child.wait().unwrap();
        fs::remove_dir_all(&pids.folder).unwrap();
    }

    #[tokio::test]
    async fn a_process_that_got_the_number_of_an_old_one_is_left_alone() {
        let pids = pids("recycled");
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        fs::write(pids.file("order"), format!("{}\nanother birth\n", child.id())).unwrap();
        assert!(!pids.end("order").await.unwrap());
        assert!(process::is_alive(child.id()));
        child.kill().unwrap();
        child.wait().unwrap();
        fs::remove_dir_all(&pids.folder).unwrap();
    }
}
