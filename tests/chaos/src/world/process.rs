//! A process of the system, which may die, be frozen and be started again.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use sandbox::process;

/// Between two looks whether a process has ended.
const LOOK: Duration = Duration::from_millis(20);

/// How long a program may take until it listens to signals.
const BEGUN_WITHIN: Duration = Duration::from_secs(10);
/// SIGTERM's bit among the signals that a process catches: the first signal has the lowest.
const SIGTERM: u64 = 1 << 14;

/// What is started.
#[derive(Debug, Clone)]
pub(crate) struct Program {
    /// `order-1`: for logs and reports.
    pub(crate) name: String,
    /// The service, or `gateway`.
    pub(crate) verb: &'static str,
    pub(crate) arguments: Vec<String>,
    pub(crate) settings: Vec<(String, String)>,
    /// Where it serves HTTP.
    pub(crate) url: String,
}

/// A program and the process that runs it, if one does.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) program: Program,
    executable: PathBuf,
    log: PathBuf,
    running: Mutex<Running>,
    /// Held by whoever does something to it, so that nobody else does.
    pub(crate) in_use: Arc<tokio::sync::Mutex<()>>,
}

#[derive(Debug, Default)]
struct Running {
    child: Option<Child>,
    /// Somebody meant it to end.
    meant: bool,
    starts: u32,
}

/// Whether a process catches SIGTERM; where the system does not tell, it is taken to.
fn listens_to_sigterm(pid: u32) -> bool {
    let Ok(status) = std::fs::read_to_string(format!("/proc/{pid}/status")) else { return true };
    let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
    let caught = caught.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    caught.is_none_or(|mask| mask & SIGTERM != 0)
}

impl Process {
    /// A process that does not run yet, whose log is in `folder`.
    pub(crate) fn of(program: Program, executable: &Path, folder: &Path) -> Self {
        let log = folder.join(format!("{}.log", program.name));
        let (executable, running) = (executable.to_owned(), Mutex::default());
        Self { program, executable, log, running, in_use: Arc::default() }
    }

    fn running(&self) -> MutexGuard<'_, Running> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts it, with more settings than its own.
    ///
    /// # Errors
    /// When the program cannot be run.
    pub(crate) fn start(&self, more: &[(&str, &str)]) -> anyhow::Result<()> {
        let log = File::options().create(true).append(true).open(&self.log);
        let log = log.with_context(|| format!("cannot write {}", self.log.display()))?;
        let child = Command::new(&self.executable)
            .arg(self.program.verb)
            .args(&self.program.arguments)
            .env_clear()
            .envs(self.program.settings.iter().cloned())
            .envs(more.iter().copied())
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("cannot run {}", self.executable.display()))?;
        let mut running = self.running();
        running.child = Some(child);
        running.meant = false;
        running.starts += 1;
        Ok(())
    }

    /// Its id, while it runs.
    pub(crate) fn pid(&self) -> Option<u32> {
        self.running().child.as_ref().map(Child::id)
    }

    /// SIGKILL, and its end.
    ///
    /// # Errors
    /// When it does not run.
    pub(crate) fn kill(&self) -> anyhow::Result<()> {
        let mut running = self.running();
        running.meant = true;
        let mut child = running.child.take().context("it does not run")?;
        child.kill()?;
        child.wait()?;
        Ok(())
    }

    /// From now on its end is no surprise.
    pub(crate) fn expect_end(&self) {
        self.running().meant = true;
    }

    /// SIGTERM; gives how it ended.
    ///
    /// # Errors
    /// When it still runs after `within`.
    pub(crate) async fn terminate(&self, within: Duration) -> anyhow::Result<ExitStatus> {
        self.expect_end();
        let pid = self.pid().context("it does not run")?;
        let begun = std::time::Instant::now();
        // One that has only begun would end by the signal itself.
        while !listens_to_sigterm(pid) && begun.elapsed() < BEGUN_WITHIN {
            tokio::time::sleep(LOOK).await;
        }
        process::terminate(pid)?;
        self.ended(within).await?.with_context(|| format!("it still runs {within:?} after SIGTERM"))
    }

    /// Waits for its end; none when it still runs after `within`.
    ///
    /// # Errors
    /// When it cannot be waited for.
    pub(crate) async fn ended(&self, within: Duration) -> anyhow::Result<Option<ExitStatus>> {
        let until = std::time::Instant::now() + within;
        loop {
            if let Some((status, _)) = self.reap()? {
                return Ok(Some(status));
            }
            if std::time::Instant::now() >= until {
                return Ok(None);
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// How it ended, if it has just been found to have, and whether somebody meant it to.
    ///
    /// # Errors
    /// When it cannot be waited for.
    pub(crate) fn reap(&self) -> anyhow::Result<Option<(ExitStatus, bool)>> {
        let mut running = self.running();
        let Some(child) = running.child.as_mut() else { return Ok(None) };
        let Some(status) = child.try_wait()? else { return Ok(None) };
        running.child = None;
        Ok(Some((status, running.meant)))
    }

    /// Whether nothing runs.
    pub(crate) fn is_down(&self) -> bool {
        self.running().child.is_none()
    }

    /// Whether its log holds a line.
    pub(crate) fn has_logged(&self, line: &str) -> bool {
        std::fs::read_to_string(&self.log).is_ok_and(|log| log.lines().any(|one| one == line))
    }

    /// The end of its log.
    pub(crate) fn last_words(&self) -> String {
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        let last: Vec<&str> = log.lines().rev().take(5).collect();
        last.into_iter().rev().collect::<Vec<_>>().join("\n")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Also one that is frozen.
        let _ = self.kill();
    }
}
