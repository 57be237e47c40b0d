//! A process of the shop.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use reqwest::Client;
use tokio::process::{Child, Command};
use tokio::time::{sleep, timeout};

/// How long a process may take until it is ready, and until it has ended.
const PATIENCE: Duration = Duration::from_secs(60);
/// Between two looks whether it is ready: what is measured so is known to this.
const LOOK: Duration = Duration::from_millis(2);

/// What is started.
#[derive(Debug, Clone)]
pub(crate) struct Program {
    /// `order-1`: for logs and notes.
    pub(crate) name: String,
    /// What the executable is to run.
    pub(crate) verb: &'static [&'static str],
    pub(crate) settings: Vec<(String, String)>,
    /// Where it serves HTTP.
    pub(crate) url: String,
    /// What it answers with 200 once it is ready.
    pub(crate) health: &'static str,
}

/// A running program. It ends with its handle.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) program: Program,
    executable: PathBuf,
    log: PathBuf,
    child: Child,
    started: Instant,
}

impl Process {
    /// Starts a program, whose log is in `folder`.
    ///
    /// # Errors
    /// When it cannot be run.
    pub(crate) fn start(
        program: Program,
        executable: &Path,
        folder: &Path,
    ) -> anyhow::Result<Self> {
        let log = folder.join(format!("{}.log", program.name));
        let (child, started) = spawn(&program, executable, &log)?;
        Ok(Self { program, executable: executable.to_owned(), log, child, started })
    }

    /// Its id; none when it has ended.
    pub(crate) fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// Waits until it is ready. Gives how long that took from its start on.
    ///
    /// # Errors
    /// When it ends, or is not ready in a minute, with its last words.
    pub(crate) async fn ready(&mut self, http: &Client) -> anyhow::Result<Duration> {
        let url = format!("{}{}", self.program.url, self.program.health);
        loop {
            let answer = http.get(&url).send().await;
            let took = self.started.elapsed();
            if answer.is_ok_and(|answer| answer.status().is_success()) {
                return Ok(took);
            }
            if self.child.try_wait()?.is_some() || took > PATIENCE {
                bail!("{} is not ready: {}", self.program.name, self.last_words());
            }
            sleep(LOOK).await;
        }
    }

    /// Ends it in order.
    ///
    /// # Errors
    /// When it still runs after a minute.
    pub(crate) async fn stop(&mut self) -> anyhow::Result<()> {
        let Some(pid) = self.pid() else { return Ok(()) };
        sandbox::process::terminate(pid)?;
        let ended = timeout(PATIENCE, self.child.wait()).await;
        ended.with_context(|| format!("{} does not stop", self.program.name))??;
        Ok(())
    }

    /// Starts it again, with these settings instead of those of the same name.
    ///
    /// # Errors
    /// When it does not end or cannot be run.
    pub(crate) async fn restart(&mut self, settings: &[(&str, String)]) -> anyhow::Result<()> {
        self.stop().await?;
        for (name, value) in settings {
            self.program.settings.retain(|(known, _)| known != name);
            self.program.settings.push(((*name).to_owned(), value.clone()));
        }
        (self.child, self.started) = spawn(&self.program, &self.executable, &self.log)?;
        Ok(())
    }

    /// Whether some line of its log holds this.
    pub(crate) fn has_logged(&self, text: &str) -> bool {
        std::fs::read_to_string(&self.log).is_ok_and(|log| log.contains(text))
    }

    fn last_words(&self) -> String {
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        let last: Vec<&str> = log.lines().rev().take(5).collect();
        last.into_iter().rev().collect::<Vec<_>>().join("\n")
    }
}

fn spawn(program: &Program, executable: &Path, log: &Path) -> anyhow::Result<(Child, Instant)> {
    let log = File::options().create(true).append(true).open(log)?;
    let mut command = Command::new(executable);
    command
        .args(program.verb)
        .env_clear()
        .envs(program.settings.iter().cloned())
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .kill_on_drop(true);
    let started = Instant::now();
    let child = command.spawn();
    let child = child.with_context(|| format!("cannot run {}", executable.display()))?;
    Ok((child, started))
}
