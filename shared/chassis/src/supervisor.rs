//! Runs the tasks of one process, stops them in order, and says honestly how it ended.
//!
//! Tasks live in phases. They all start together; on SIGTERM or SIGINT the phase that was registered
//! last stops first, and the next one is told when it has ended: register what others build on first.
//! So HTTP stops accepting, then the consumers finish, and the relay, which publishes what they
//! committed, goes last.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::process::{ExitCode, Termination};
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use crate::http::panic_text;

/// After the grace, time for `main` to flush telemetry before a hung task is left behind.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// Held back at a stop for each phase that has not been told yet, of a grace of 20 s or more; a tenth
/// of a shorter one.
const RESERVE: Duration = Duration::from_secs(2);

type TaskResult = anyhow::Result<()>;
type TaskFuture = Pin<Box<dyn Future<Output = TaskResult> + Send>>;
type Start = Box<dyn FnOnce(CancellationToken) -> TaskFuture + Send>;

/// The tasks of one process. See the [module](self) for the order in which they stop.
///
/// ```
/// use std::time::Duration;
/// use chassis::supervisor::Supervisor;
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// let outcome = Supervisor::new(Duration::from_secs(20))
///     .task("relay", |stop| async move { Ok(stop.cancelled().await) })
///     .phase()
///     .task("http", |stop| async move { Ok(stop.cancelled().await) })
///     .run_until(async {}) // `run()` waits for a signal instead
///     .await;
/// assert_eq!(outcome.code(), 0);
/// # }
/// ```
#[must_use = "a supervisor does nothing until it runs"]
pub struct Supervisor {
    grace: Duration,
    phases: Vec<Vec<(Cow<'static, str>, Start)>>,
}

impl fmt::Debug for Supervisor {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = |phase: &Vec<(Cow<'static, str>, Start)>| -> Vec<String> {
            phase.iter().map(|(name, _)| name.to_string()).collect()
        };
        let phases: Vec<_> = self.phases.iter().map(names).collect();
        out.debug_struct("Supervisor").field("grace", &self.grace).field("phases", &phases).finish()
    }
}

/// Why a task failed.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// It returned an error.
    #[error("{0:#}")]
    Error(anyhow::Error),
    /// It panicked.
    #[error("it panicked: {0}")]
    Panic(String),
    /// It returned before it was told to stop.
    #[error("it ended before it was told to stop")]
    EndedEarly,
}

/// How the process ended; return it from `main`, or take its [`code`](Outcome::code).
#[derive(Debug, Default)]
#[must_use = "the outcome is the exit code of the process"]
pub struct Outcome {
    /// Tasks that failed, in the order in which they did.
    pub failed: Vec<(String, Failure)>,
    /// Tasks that did not stop within the grace.
    pub hung: Vec<String>,
}

impl Outcome {
    /// True when every task stopped when it was told to, and not before.
    pub fn is_clean(&self) -> bool {
        self.failed.is_empty() && self.hung.is_empty()
    }

    /// The exit code: 0 clean, 1 when a task failed or hung.
    pub fn code(&self) -> u8 {
        u8::from(!self.is_clean())
    }
}

impl Termination for Outcome {
    fn report(self) -> ExitCode {
        ExitCode::from(self.code())
    }
}

/// The exit code for `main`: that of the outcome, or 1 after one line on stderr for an error that kept
/// the tasks from starting.
pub fn exit_code(ended: anyhow::Result<Outcome>) -> ExitCode {
    match ended {
        Ok(outcome) => outcome.report(),
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

impl Supervisor {
    /// A supervisor that gives its tasks `grace` to stop, all phases together.
    pub fn new(grace: Duration) -> Self {
        Self { grace, phases: vec![Vec::new()] }
    }

    /// Adds a task to the present phase. It runs until its token is cancelled; an error, a panic or a
    /// return before that stops the whole process.
    pub fn task<F, Fut>(mut self, name: impl Into<Cow<'static, str>>, start: F) -> Self
    where
        F: FnOnce(CancellationToken) -> Fut + Send + 'static,
        Fut: Future<Output = anyhow::Result<()>> + Send + 'static,
    {
        let start: Start = Box::new(move |stop| Box::pin(start(stop)));
        if let Some(phase) = self.phases.last_mut() {
            phase.push((name.into(), start));
        }
        self
    }

    /// Begins another phase: tasks added from here on stop before the ones added so far.
    pub fn phase(mut self) -> Self {
        self.phases.push(Vec::new());
        self
    }

    /// Runs until SIGTERM, SIGINT or the first failure, then stops the tasks. A second signal ends the
    /// process at once with 128 plus the signal's number. When a task hangs, the process ends by force
    /// 5 s after the grace, in case the task also holds up the runtime.
    pub async fn run(self) -> Outcome {
        let (mut terminate, mut interrupt) =
            match (signal(SignalKind::terminate()), signal(SignalKind::interrupt())) {
                (Ok(terminate), Ok(interrupt)) => (terminate, interrupt),
                (Err(error), _) | (_, Err(error)) => {
                    let cause = anyhow::Error::new(error).context("cannot listen to signals");
                    let failed = vec![("supervisor".to_owned(), Failure::Error(cause))];
                    return Outcome { failed, ..Outcome::default() };
                }
            };
        let shutdown = CancellationToken::new();
        let watch = async {
            let first = next_signal(&mut terminate, &mut interrupt).await;
            tracing::info!(signal = first, "stopping");
            shutdown.cancel();
            let second = next_signal(&mut terminate, &mut interrupt).await;
            tracing::warn!(signal = second, "stopped at once");
            std::process::exit(128 + second)
        };
        let outcome = tokio::select! {
            outcome = self.run_until(shutdown.cancelled()) => outcome,
            never = watch => never,
        };
        if !outcome.hung.is_empty() {
            exit_later(outcome.code());
        }
        outcome
    }

    /// As [`run`](Supervisor::run), with `shutdown` in place of the signals.
    pub async fn run_until(self, shutdown: impl Future<Output = ()>) -> Outcome {
        let mut running = Running::start(self.phases);
        tokio::select! {
            () = shutdown => {}
            () = running.next_end() => {}
        }
        running.stop(self.grace).await
    }
}

/// Must be outside the runtime: a task that hangs in blocking code hangs the runtime's end as well.
fn exit_later(code: u8) {
    std::thread::spawn(move || {
        std::thread::sleep(LAST_WORDS);
        std::process::exit(code.into());
    });
}

async fn next_signal(terminate: &mut Signal, interrupt: &mut Signal) -> i32 {
    tokio::select! {
        _ = terminate.recv() => SignalKind::terminate().as_raw_value(),
        _ = interrupt.recv() => SignalKind::interrupt().as_raw_value(),
    }
}

/// One task that has been started.
struct Started {
    name: String,
    phase: usize,
}

struct Running {
    set: JoinSet<TaskResult>,
    started: HashMap<Id, Started>,
    stops: Vec<CancellationToken>,
    outcome: Outcome,
}

impl Running {
    fn start(phases: Vec<Vec<(Cow<'static, str>, Start)>>) -> Self {
        let (mut set, mut started, mut stops) = (JoinSet::new(), HashMap::new(), Vec::new());
        for (phase, tasks) in phases.into_iter().enumerate() {
            let stop = CancellationToken::new();
            for (name, start) in tasks {
                let id = set.spawn(start(stop.clone())).id();
                started.insert(id, Started { name: name.into_owned(), phase });
            }
            stops.push(stop);
        }
        Self { set, started, stops, outcome: Outcome::default() }
    }

    /// Waits for the end of any task and notes how it ended. Never returns when none is left.
    async fn next_end(&mut self) {
        match self.set.join_next_with_id().await {
            Some(Ok((id, result))) => self.note(id, Ok(result)),
            Some(Err(error)) => self.note(error.id(), Err(error)),
            None => std::future::pending().await,
        }
    }

    fn note(&mut self, id: Id, ended: Result<TaskResult, JoinError>) {
        let Some(Started { name, phase }) = self.started.remove(&id) else { return };
        let told = self.stops[phase].is_cancelled();
        let failure = match ended {
            Ok(Ok(())) if told => {
                tracing::debug!(task = name, "stopped");
                return;
            }
            Ok(Ok(())) => Failure::EndedEarly,
            Ok(Err(error)) => Failure::Error(error),
            Err(error) => Failure::Panic(panicked(error)),
        };
        tracing::error!(task = name, %failure, "a task failed, the process stops");
        self.outcome.failed.push((name, failure));
    }

    fn is_running(&self, phase: usize) -> bool {
        self.started.values().any(|started| started.phase == phase)
    }

    /// Stops the phases from the last to the first. The one that stops may take all the time but a
    /// reserve for each after it, so that they still get to do their work when it hangs.
    async fn stop(mut self, grace: Duration) -> Outcome {
        let deadline = Instant::now() + grace;
        for phase in (0..self.stops.len()).rev() {
            self.stops[phase].cancel();
            let waiting = (0..phase).filter(|earlier| self.is_running(*earlier)).count();
            let left = deadline.saturating_duration_since(Instant::now());
            let until = Instant::now() + turn(left, grace, waiting);
            while self.is_running(phase) {
                if timeout_at(until, self.next_end()).await.is_err() {
                    break;
                }
            }
        }
        while !self.started.is_empty() {
            if timeout_at(deadline, self.next_end()).await.is_err() {
                break;
            }
        }
        self.outcome.hung = self.started.into_values().map(|started| started.name).collect();
        self.outcome.hung.sort();
        if !self.outcome.hung.is_empty() {
            let tasks = self.outcome.hung.join(", ");
            tracing::error!(tasks, ?grace, "tasks did not stop in time");
        }
        self.outcome
    }
}

/// How much of the time that is left of `grace` the next phase may take, with `waiting` others behind it.
fn turn(left: Duration, grace: Duration, waiting: usize) -> Duration {
    let waiting = u32::try_from(waiting).unwrap_or(u32::MAX);
    let equal_share = left / waiting.saturating_add(1);
    let reserve = RESERVE.min(grace / 10).min(equal_share);
    left.saturating_sub(reserve.saturating_mul(waiting))
}

fn panicked(error: JoinError) -> String {
    match error.try_into_panic() {
        Ok(panic) => panic_text(&*panic).to_owned(),
        Err(_) => "it was aborted".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_six_phases_may_take_half_the_grace_and_more_when_it_did_not() {
        let (seconds, grace) = (Duration::from_secs, Duration::from_secs(20));
        assert_eq!(turn(seconds(20), grace, 5), seconds(10));
        assert_eq!(turn(seconds(19), grace, 4), seconds(11));
        // It took all it might: what is left is shared alike, and the last may use the rest.
        assert_eq!(turn(seconds(10), grace, 4), seconds(2));
        assert_eq!(turn(seconds(3), grace, 0), seconds(3));
        assert_eq!(turn(Duration::ZERO, grace, 4), Duration::ZERO);
    }

    #[test]
    fn a_short_grace_has_a_small_reserve_and_many_phases_share_alike() {
        let millis = Duration::from_millis;
        assert_eq!(turn(millis(600), millis(600), 1), millis(540));
        assert_eq!(turn(millis(1_000), millis(1_000), 19), millis(50));
    }
}
