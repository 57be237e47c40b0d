//! Our own programs as child processes: services, gateway, sinks.

use std::fs::{self, File};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use sandbox::process::{kill, terminate};
use tokio::process::{Child, Command};
use tokio::time::{sleep, timeout};

use super::unit::{Backoff, Control, House, Unit};

/// A child may take a little longer than a service's own grace of 20 s.
const END_WITHIN: Duration = Duration::from_secs(22);
/// A log that is longer gives way to a new one when its process starts again.
const LOG_BYTES: u64 = 16 * 1024 * 1024;
/// Variables of the user's shell that must not reach a child: what we set ourselves by another name,
/// and proxies, which have no business between processes of one machine.
const NOT_INHERITED: [&str; 16] = [
    "DATABASE_URL_FILE",
    "AMQP_URL_FILE",
    "SIGNING_KEY",
    "EVENT_KEYS",
    "HTTP_PROXY",
    "http_proxy",
    "HTTPS_PROXY",
    "https_proxy",
    "ALL_PROXY",
    "all_proxy",
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
    "OTEL_EXPORTER_OTLP_HEADERS",
    "OTEL_EXPORTER_OTLP_COMPRESSION",
    "OTEL_EXPORTER_OTLP_PROTOCOL",
    "OTEL_SDK_DISABLED",
    "SHUTDOWN_GRACE",
];

/// A child process to be: this program with a verb.
#[derive(Debug, Clone)]
pub(super) struct Program {
    /// What it is called in messages, in its log and its pid file.
    pub(super) name: &'static str,
    pub(super) executable: PathBuf,
    pub(super) verb: Vec<&'static str>,
    pub(super) environment: Vec<(&'static str, String)>,
    /// The address that answers with success when it is ready.
    pub(super) ready: String,
}

impl Program {
    /// Starts it as a unit.
    pub(super) fn start(self, house: &Arc<House>) -> Unit {
        Unit::start(self.name, house, |house, control| run(self, house, control))
    }

    fn spawn(&self, house: &House) -> anyhow::Result<Child> {
        let log = open_log(&house.folder.log(self.name))?;
        let mut command = Command::new(&self.executable);
        for name in NOT_INHERITED {
            command.env_remove(name);
        }
        // In a group of its own, so that a Ctrl-C in the terminal reaches it only through us.
        let child = command
            .args(&self.verb)
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .env("NO_COLOR", "1")
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .process_group(0)
            .spawn()
            .with_context(|| format!("cannot start {}", self.executable.display()))?;
        house.pids.note(self.name, child.id().unwrap_or_default());
        Ok(child)
    }
}

async fn run(program: Program, house: Arc<House>, control: Control) -> anyhow::Result<()> {
    let name = program.name;
    rotate(&house.folder.log(name));
    let mut backoff = Backoff::new();
    let mut child = program.spawn(&house)?;
    control.up();
    let mut born = Instant::now();
    loop {
        let pid = child.id().unwrap_or_default();
        let status = tokio::select! {
            status = child.wait() => status?,
            () = control.stop.cancelled() => return end(name, child, &house).await,
        };
        house.pids.forget(name);
        let how = how(status);
        if !house.is_settled() {
            let log = house.folder.log(name);
            bail!(
                "{name} ended while starting ({how}); the end of {}:\n{}",
                log.display(),
                tail(&log)
            );
        }
        let Some((next, pause)) =
            again(&program, &house, &control, &mut backoff, born.elapsed()).await
        else {
            return Ok(());
        };
        child = next;
        born = Instant::now();
        let new = child.id().unwrap_or_default();
        house.tell(&format!(
            "{name} (pid {pid}) ended: {how}; started again as {new} after {pause:?}"
        ));
    }
}

/// Starts it again after a pause, as often as that takes. None when it is told to stop meanwhile.
async fn again(
    program: &Program,
    house: &House,
    control: &Control,
    backoff: &mut Backoff,
    mut life: Duration,
) -> Option<(Child, Duration)> {
    loop {
        let pause = backoff.after(life);
        tokio::select! {
            () = sleep(pause) => {}
            () = control.stop.cancelled() => return None,
        }
        match program.spawn(house) {
            Ok(child) => return Some((child, pause)),
            // A build may be replacing our program at this moment.
            Err(error) => house.tell(&format!("{}: {error:#}; trying again", program.name)),
        }
        life = Duration::ZERO;
    }
}

/// SIGTERM, and SIGKILL for a child that does not heed it.
async fn end(name: &'static str, mut child: Child, house: &House) -> anyhow::Result<()> {
    let Some(pid) = child.id() else { return Ok(()) };
    terminate(pid).with_context(|| format!("cannot stop {name}"))?;
    let in_time = tokio::select! {
        ended = timeout(END_WITHIN, child.wait()) => ended.is_ok(),
        () = house.hurry.cancelled() => false,
    };
    if !in_time {
        kill(pid).with_context(|| format!("cannot kill {name}"))?;
        child.wait().await?;
    }
    house.pids.forget(name);
    if in_time || house.hurry.is_cancelled() {
        return Ok(());
    }
    bail!("{name} (pid {pid}) did not stop within {} s and was killed", END_WITHIN.as_secs())
}

fn how(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(9)) => "killed (SIGKILL)".to_owned(),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => status.to_string(),
    }
}

/// A log of its own for every start; the one before is kept.
fn rotate(log: &Path) {
    let _ = fs::rename(log, log.with_extension("log.1"));
}

fn open_log(log: &Path) -> anyhow::Result<File> {
    if fs::metadata(log).is_ok_and(|log| log.len() > LOG_BYTES) {
        rotate(log);
    }
    let file = File::options().create(true).append(true).open(log);
    file.with_context(|| format!("cannot write {}", log.display()))
}

/// The last lines of a log.
fn tail(log: &Path) -> String {
    const LINES: usize = 8;
    let text = fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    lines[lines.len().saturating_sub(LINES)..].join("\n")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;

    #[test]
    fn the_end_of_a_process_is_said_in_words() {
        assert_eq!(how(ExitStatus::from_raw(2 << 8)), "exit code 2");
        assert_eq!(how(ExitStatus::from_raw(9)), "killed (SIGKILL)");
        assert_eq!(how(ExitStatus::from_raw(11)), "signal 11");
    }

    #[test]
    fn a_long_log_gives_way_to_a_new_one() {
        let log = std::env::temp_dir().join(format!("tidings-log-{}.log", std::process::id()));
        File::create(&log).unwrap().set_len(LOG_BYTES + 1).unwrap();
        open_log(&log).unwrap();
        assert_eq!(fs::metadata(&log).unwrap().len(), 0);
        assert_eq!(fs::metadata(log.with_extension("log.1")).unwrap().len(), LOG_BYTES + 1);
        fs::remove_file(log.with_extension("log.1")).unwrap();
        fs::remove_file(log).unwrap();
    }
}
