//! Replays that are under way, to their end.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use messaging::repair::{JobState, JobStatus};
use serde::Serialize;
use uuid::Uuid;

use super::desks::Desks;
use super::target::told_unknown;
use crate::output::Tone;
use crate::up::Signals;
use crate::verify::Service;
use crate::{Exit, Output};

const LOOK: Duration = Duration::from_millis(200);
/// A service looks every few seconds by itself: after this it does not run.
const NOBODY: Duration = Duration::from_secs(10);

/// The answer for machines.
#[derive(Debug, Serialize)]
pub(super) struct Jobs {
    pub(super) jobs: Vec<Job>,
    /// Ids of letters that nobody knows.
    pub(super) unknown: Vec<Uuid>,
}

/// A replay and whose it is.
#[derive(Debug, Serialize)]
pub(super) struct Job {
    pub(super) service: &'static str,
    #[serde(flatten)]
    pub(super) status: JobStatus,
}

impl Jobs {
    /// How these replays are now.
    ///
    /// # Errors
    /// When a database cannot be read.
    pub(super) async fn read(
        desks: &Desks,
        jobs: &[(Service, Uuid)],
        unknown: Vec<Uuid>,
    ) -> Result<Self, sqlx::Error> {
        let mut read = Vec::new();
        for (service, job) in jobs {
            let Some(letters) = desks.of(*service) else { continue };
            if let Some(status) = letters.status(*job).await? {
                read.push(Job { service: service.name(), status });
            }
        }
        Ok(Self { jobs: read, unknown })
    }

    fn sum(&self, of: impl Fn(&JobStatus) -> i64) -> i64 {
        self.jobs.iter().map(|job| of(&job.status)).sum()
    }

    fn is_running(&self) -> bool {
        self.jobs.iter().any(|job| job.status.state == JobState::Running)
    }

    /// Done when every letter that was asked for has gone.
    pub(super) fn exit(&self) -> Exit {
        let gone = self.sum(|status| status.replayed);
        let refused: usize = self.jobs.iter().map(|job| job.status.refused.len()).sum();
        let left = self.sum(|status| status.pending + status.cancelled);
        if refused == 0 && left == 0 && self.unknown.is_empty() {
            Exit::Done
        } else if gone == 0 && left == 0 {
            Exit::Failed
        } else {
            Exit::Partly
        }
    }
}

/// Waits until the replays have ended, or a signal comes: they go on then.
///
/// # Errors
/// When a database cannot be read.
pub(super) async fn follow(
    desks: &Desks,
    jobs: &[(Service, Uuid)],
    unknown: Vec<Uuid>,
    out: &Output,
) -> anyhow::Result<Jobs> {
    let mut signals = Signals::listen()?;
    let begun = Instant::now();
    let first = Jobs::read(desks, jobs, unknown.clone()).await?;
    let all = first.sum(|status| status.pending + status.replayed);
    let bar = out.bar(all.unsigned_abs(), "replaying");
    let mut told = BTreeMap::new();
    loop {
        let now = Jobs::read(desks, jobs, unknown.clone()).await?;
        bar.set_position(now.sum(|status| status.replayed).unsigned_abs());
        if !now.is_running() {
            bar.finish_and_clear();
            return Ok(now);
        }
        for job in &now.jobs {
            if let Some(why) = held_up(job, begun.elapsed())
                && told.insert(job.status.job, why.clone()).as_ref() != Some(&why)
            {
                bar.suspend(|| out.note(format_args!("{}: {why}", job.service)));
            }
        }
        tokio::select! {
            () = signals.next() => {
                bar.finish_and_clear();
                out.note("the service goes on without you: shop dlq replay --status JOB");
                return Ok(now);
            }
            () = tokio::time::sleep(LOOK) => {}
        }
    }
}

fn held_up(job: &Job, waited: Duration) -> Option<String> {
    let JobStatus { state, trouble, in_hand, .. } = &job.status;
    if *state != JobState::Running {
        None
    } else if let Some(trouble) = trouble {
        Some(format!("held up: {trouble}"))
    } else if !in_hand && waited > NOBODY {
        Some("nobody works on it: is the service running?".to_owned())
    } else {
        None
    }
}

pub(super) fn render(jobs: &Jobs, out: &Output) -> String {
    let rows = jobs.jobs.iter().map(|Job { service, status }| {
        let state = match status.state {
            JobState::Running => out.paint(Tone::Warning, "running"),
            JobState::Done => out.paint(Tone::Good, "done"),
            JobState::Cancelled => out.paint(Tone::Bad, "cancelled"),
        };
        let refused = status.refused.len();
        let numbers = [status.replayed, status.pending, status.cancelled];
        let mut row = vec![status.job.to_string(), (*service).to_owned(), state];
        row.extend(numbers.iter().map(i64::to_string));
        row.extend([refused.to_string(), status.parked_again.to_string()]);
        row
    });
    let headings = [
        "replay",
        "service",
        "state",
        "replayed",
        "waiting",
        "cancelled",
        "refused",
        "parked again",
    ];
    let mut text = out.table(&headings, &[3, 4, 5, 6, 7], rows);
    for Job { service, status } in &jobs.jobs {
        if let Some(trouble) = &status.trouble {
            text += &format!("{service} is held up: {trouble}\n");
        }
        text += &reasons(service, status);
    }
    text + &told_unknown(&jobs.unknown).unwrap_or_default()
}

/// Why letters were refused: each reason once, with how many and one of them.
fn reasons(service: &str, status: &JobStatus) -> String {
    let mut reasons: BTreeMap<&str, (usize, Uuid)> = BTreeMap::new();
    for one in &status.refused {
        reasons.entry(&one.reason).or_insert((0, one.id)).0 += 1;
    }
    let line = |(reason, (count, id)): (&str, (usize, Uuid))| {
        format!("{service} refused {count}: {reason} (such as {id})\n")
    };
    reasons.into_iter().map(line).collect()
}
