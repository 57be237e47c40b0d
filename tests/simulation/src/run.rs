//! A run: the seeds, dealt out to threads.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use messaging::crash::Bug;
use messaging::simulation::{Failed, Report};
use tokio::runtime::{Builder, Runtime};

use crate::databases::Server;
use crate::stage::Stage;

/// What to play.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The first seed; the others follow it.
    pub first: u64,
    /// How many seeds.
    pub seeds: u64,
    /// No further seed is begun after this time.
    pub within: Option<Duration>,
    /// Worlds at the same time.
    pub threads: usize,
    /// A bug for every process.
    pub bug: Option<Bug>,
}

/// What a run came to.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Of all worlds but those that failed.
    pub report: Report,
    /// At most one per thread, the smallest seed first.
    pub failed: Vec<Failed>,
    /// From the first world to the last, without making databases.
    pub took: Duration,
}

/// Hands out seeds until there are enough, the time is over, or one has failed.
struct Dealer<'a> {
    plan: &'a Plan,
    begun: Instant,
    dealt: AtomicU64,
    failed: AtomicBool,
}

impl Dealer<'_> {
    fn next(&self) -> Option<u64> {
        let over = self.plan.within.is_some_and(|within| self.begun.elapsed() >= within);
        if over || self.failed.load(Ordering::Relaxed) {
            return None;
        }
        let n = self.dealt.fetch_add(1, Ordering::Relaxed);
        (n < self.plan.seeds).then(|| self.plan.first.wrapping_add(n))
    }
}

/// Plays all worlds of a plan, on databases of `server`.
///
/// # Errors
/// When databases or servers cannot be had.
pub fn run(plan: &Plan, server: &Server) -> anyhow::Result<Outcome> {
    let threads = 0..plan.threads.max(1);
    let stages = threads.map(|n| set(n, server)).collect::<anyhow::Result<Vec<_>>>()?;
    let (begun, dealt, failed) = (Instant::now(), AtomicU64::new(0), AtomicBool::new(false));
    let dealer = Dealer { plan, begun, dealt, failed };
    let ends: Vec<_> = std::thread::scope(|scope| {
        let play = |(runtime, stage): (Runtime, Stage)| {
            let dealer = &dealer;
            scope.spawn(move || {
                let seeds = std::iter::from_fn(|| dealer.next());
                let ended = runtime.block_on(stage.play(seeds, dealer.plan.bug));
                dealer.failed.fetch_or(ended.1.is_some(), Ordering::Relaxed);
                ended
            })
        };
        let playing: Vec<_> = stages.into_iter().map(play).collect();
        playing.into_iter().map(|thread| thread.join()).collect()
    });
    let mut outcome = Outcome { took: begun.elapsed(), ..Outcome::default() };
    for end in ends {
        let (report, failed) = end.map_err(|_| anyhow::anyhow!("a thread panicked"))?;
        outcome.report = std::mem::take(&mut outcome.report).and(report);
        outcome.failed.extend(failed.map(|failed| *failed));
    }
    outcome.failed.sort_by_key(|failed| failed.seed.wrapping_sub(plan.first));
    Ok(outcome)
}

fn set(n: usize, server: &Server) -> anyhow::Result<(Runtime, Stage)> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let name = format!("{}-{n}", std::process::id());
    let stage = runtime.block_on(Stage::new(&name, server))?;
    Ok((runtime, stage))
}
