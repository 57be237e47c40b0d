//! Real handlers over a real Postgres, with a broker and a time that follow from a seed.
//!
//! One driver takes one step at a time over all processes. What a step is, what goes wrong in it and
//! when time passes follows from the seed alone: messages are duplicated, reordered and delayed,
//! confirms are lost, connections break, calls to the broker are held while others go on, processes
//! die between any two statements and come back, routes and room are missing for a while. Then all of
//! it ends, everything is stepped until nothing is left to do, and your invariants are asked.
//!
//! The same seed gives the same history, so a seed that fails is a test that fails. What it does not
//! have: two statements at the same time. Every step has the database for itself, between two points
//! at which it can be held or die.
//!
//! See `examples/simulate.rs` for one of your own.

mod database;
mod drain;
mod driver;
mod faults;
mod process;
mod time;
mod world;

use std::collections::BTreeMap;
use std::fmt;

pub use database::{connect, empty};
pub use process::{Answering, Process};
pub use time::{Draws, VirtualTime};
pub use world::{Entry, Seat, World};

use crate::crash::Bug;
use database::Registry;
use driver::Driver;
use faults::Faults;

/// How worlds are simulated.
#[derive(Debug, Clone)]
pub struct Simulation {
    namespace: String,
    moves: usize,
    faults: usize,
    bug: Option<Bug>,
}

/// What a number of worlds came to.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// How many there were.
    pub seeds: u64,
    /// All that was done in them.
    pub entries: u64,
    /// How often what happened that not every world has: faults, and deaths by where.
    pub happened: BTreeMap<String, u64>,
}

/// A world in which something does not hold.
#[derive(Debug)]
pub struct Failed {
    /// Run it again with this one.
    pub seed: u64,
    /// What does not hold.
    pub why: anyhow::Error,
    /// How it came to that.
    pub history: Vec<Entry>,
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for entry in &self.history {
            writeln!(f, "{entry}")?;
        }
        write!(f, "seed {}: {:#}", self.seed, self.why)
    }
}

impl std::error::Error for Failed {}

/// Simulates a world for each seed: `build` says what is in it, `invariants` what holds when it has come
/// to rest. The first that fails is printed with its history, its seed last. `namespace` is that of the
/// services, for the names of headers.
///
/// # Errors
/// [`Failed`]: the first one.
pub async fn simulate(
    namespace: &str,
    seeds: impl IntoIterator<Item = u64>,
    build: impl AsyncFn(&mut World) -> anyhow::Result<()>,
    invariants: impl AsyncFn(&World) -> anyhow::Result<()>,
) -> Result<Report, Box<Failed>> {
    let failed = match Simulation::new(namespace).run(seeds, build, invariants).await {
        Ok(report) => return Ok(report),
        Err(failed) => failed,
    };
    eprintln!("{failed}");
    Err(failed)
}

impl Simulation {
    /// The usual one; `namespace` as of [`simulate`].
    pub fn new(namespace: impl Into<String>) -> Self {
        Self { namespace: namespace.into(), moves: 150, faults: 8, bug: None }
    }

    /// So many moves with faults in each world; default 150.
    #[must_use]
    pub fn moves(self, moves: usize) -> Self {
        Self { moves, ..self }
    }

    /// How likely a fault is at each move, against 12 for each step that is due; default 8, 0 for none
    /// at all.
    #[must_use]
    pub fn faults(self, weight: usize) -> Self {
        Self { faults: weight, ..self }
    }

    /// With a bug in every process, to see that the invariants find it.
    #[must_use]
    pub fn bug(self, bug: Bug) -> Self {
        Self { bug: Some(bug), ..self }
    }

    /// As [`simulate`], and prints nothing.
    ///
    /// # Errors
    /// [`Failed`]: the first one.
    pub async fn run(
        &self,
        seeds: impl IntoIterator<Item = u64>,
        build: impl AsyncFn(&mut World) -> anyhow::Result<()>,
        invariants: impl AsyncFn(&World) -> anyhow::Result<()>,
    ) -> Result<Report, Box<Failed>> {
        match self.play(seeds, build, invariants).await {
            (report, None) => Ok(report),
            (_, Some(failed)) => Err(failed),
        }
    }

    /// As [`run`](Self::run), and tells also what the worlds came to before the one that failed.
    pub async fn play(
        &self,
        seeds: impl IntoIterator<Item = u64>,
        build: impl AsyncFn(&mut World) -> anyhow::Result<()>,
        invariants: impl AsyncFn(&World) -> anyhow::Result<()>,
    ) -> (Report, Option<Box<Failed>>) {
        let (mut report, mut registry) = (Report::default(), Registry::default());
        for seed in seeds {
            let (world, outcome) = self.one(seed, &mut registry, &build).await;
            let outcome = match outcome {
                Ok(()) => invariants(&world).await,
                broken => broken,
            };
            report.add(&world);
            if let Err(why) = outcome {
                return (report, Some(Box::new(Failed { seed, why, history: world.history })));
            }
        }
        (report, None)
    }

    /// The history of one world, to compare or to read.
    ///
    /// # Errors
    /// [`Failed`] when it does not come to rest.
    pub async fn history(
        &self,
        seed: u64,
        build: impl AsyncFn(&mut World) -> anyhow::Result<()>,
    ) -> Result<Vec<Entry>, Box<Failed>> {
        let (world, outcome) = self.one(seed, &mut Registry::default(), &build).await;
        let history = world.history;
        match outcome {
            Ok(()) => Ok(history),
            Err(why) => Err(Box::new(Failed { seed, why, history })),
        }
    }

    async fn one(
        &self,
        seed: u64,
        registry: &mut Registry,
        build: &impl AsyncFn(&mut World) -> anyhow::Result<()>,
    ) -> (World, anyhow::Result<()>) {
        let world = World::new(seed, &self.namespace, self.bug);
        let (faults, moves) = (Faults::new(self.faults), self.moves);
        let mut driver = Driver { world, registry, faults, moves };
        let outcome = async {
            driver.registry.clear().await?;
            build(&mut driver.world).await?;
            driver.run().await?;
            driver.drain().await
        };
        let outcome = outcome.await;
        (driver.world, outcome)
    }
}

impl Report {
    /// Both together: worlds can be simulated on several threads, over databases of their own.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.seeds += other.seeds;
        self.entries += other.entries;
        for (what, times) in other.happened {
            *self.happened.entry(what).or_default() += times;
        }
        self
    }

    fn add(&mut self, world: &World) {
        self.seeds += 1;
        self.entries += world.history.len() as u64;
        for (what, times) in &world.happened {
            *self.happened.entry(what.clone()).or_default() += times;
        }
    }
}
