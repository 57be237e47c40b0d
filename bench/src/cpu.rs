//! Processor time by process, as Linux counts it.

use std::fmt;
use std::time::Instant;

use anyhow::Context as _;
use sandbox::process::with_children;

use crate::stage::Stage;

/// The unit of /proc/PID/stat, which is the same on every architecture: `man 5 proc`, USER_HZ.
const TICKS_PER_SECOND: f64 = 100.0;

/// What the three sides of everything have used since they began, in seconds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cpu {
    /// Services, relays and the load itself, which run in this process.
    bench: f64,
    postgres: f64,
    broker: f64,
    at: Instant,
}

/// What they have used of a span of time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Used {
    bench: f64,
    postgres: f64,
    broker: f64,
    seconds: f64,
}

impl Cpu {
    /// # Errors
    /// When a server is gone.
    pub(crate) fn now(stage: &Stage) -> anyhow::Result<Self> {
        Ok(Self {
            bench: of(std::process::id())?,
            postgres: of_tree(stage.postgres.pid())?,
            broker: of_tree(stage.broker.pid())?,
            at: Instant::now(),
        })
    }

    /// # Errors
    /// When a server is gone.
    pub(crate) fn used(&self, stage: &Stage) -> anyhow::Result<Used> {
        let now = Self::now(stage)?;
        Ok(Used {
            bench: now.bench - self.bench,
            postgres: now.postgres - self.postgres,
            broker: now.broker - self.broker,
            seconds: (now.at - self.at).as_secs_f64(),
        })
    }
}

impl fmt::Display for Used {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cores = |seconds: f64| seconds / self.seconds.max(f64::EPSILON);
        let (bench, postgres, broker) =
            (cores(self.bench), cores(self.postgres), cores(self.broker));
        write!(f, "cores: {bench:.2} services, {postgres:.2} Postgres, {broker:.2} RabbitMQ")
    }
}

/// A process with all its children, those that have ended and were waited for included.
fn of_tree(root: u32) -> anyhow::Result<f64> {
    let all = with_children(root).into_iter().filter(|pid| *pid != root);
    // A child may end between being listed and being read; its parent has its time then.
    let children: f64 = all.filter_map(|pid| of(pid).ok()).sum();
    Ok(of(root)? + children)
}

fn of(pid: u32) -> anyhow::Result<f64> {
    let path = format!("/proc/{pid}/stat");
    let text = std::fs::read_to_string(&path).context(path)?;
    seconds_in(&text).with_context(|| format!("no processor times of process {pid}"))
}

/// utime, stime, cutime and cstime: fields 14 to 17, the second of which is a name in brackets.
fn seconds_in(stat: &str) -> Option<f64> {
    let (_, after_name) = stat.rsplit_once(')')?;
    let ticks: Vec<f64> =
        after_name.split_whitespace().skip(11).take(4).filter_map(|t| t.parse().ok()).collect();
    (ticks.len() == 4).then(|| ticks.iter().sum::<f64>() / TICKS_PER_SECOND)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_found_behind_any_name() {
        let stat = "42 (a) b (c)) S 1 42 42 0 -1 4 100 0 0 0 150 50 200 100 20 0 1 0 9 9 9";
        assert_eq!(seconds_in(stat), Some(5.0));
        assert_eq!(seconds_in("42 (short) S 1"), None);
    }

    #[test]
    fn this_process_uses_what_it_computes() {
        let before = of(std::process::id()).unwrap();
        while of(std::process::id()).unwrap() - before < 0.02 {
            std::hint::black_box((0..100_000_u64).sum::<u64>());
        }
    }
}
