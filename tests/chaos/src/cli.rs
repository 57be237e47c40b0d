//! The command line.

use std::path::PathBuf;

use crate::faults::Kind;

const EXAMPLES: &str = "\
Examples:
  chaos --seeds 20
  chaos --seed 4711                 one seed again, on a system of its own
  chaos --seeds 20 --only broker    those faults whose name begins like this
  chaos --seeds 50 --bug AckBeforeCommit --until-broken

Exit codes: 0 everything held, 1 something was broken or could not be done, 2 wrong use.";

/// Real services under a drawn load and drawn faults, then every invariant.
#[derive(Debug, Clone, clap::Parser)]
#[command(name = "chaos", after_help = EXAMPLES)]
pub struct Args {
    /// How many seeds
    #[arg(long, value_name = "N", default_value_t = 10)]
    pub seeds: u64,
    /// The first seed; the others follow it [default: drawn, and told]
    #[arg(long, value_name = "SEED")]
    pub seed: Option<u64>,
    /// No further seed is begun after so many minutes
    #[arg(long, value_name = "MINUTES")]
    pub minutes: Option<u64>,
    /// Faults whose names begin like this; again for more
    #[arg(long, value_name = "FAULT")]
    pub only: Vec<String>,
    /// The most faults per seed
    #[arg(long, value_name = "N", default_value_t = 3)]
    pub faults: usize,
    /// Customers per seed
    #[arg(long, value_name = "N", default_value_t = 60)]
    pub customers: usize,
    /// Seeds until a fresh system is started
    #[arg(long, value_name = "N", default_value_t = 25)]
    pub fresh_every: u64,
    /// A bug for every service, to see that it is found
    #[arg(long, value_name = "BUG")]
    pub bug: Option<String>,
    /// Stops at the first seed that breaks something
    #[arg(long)]
    pub until_broken: bool,
    /// A line per seed, in JSON, is added to this file
    #[arg(long, value_name = "FILE", default_value = "target/chaos.jsonl")]
    pub history: PathBuf,
    /// Adds the history to the results that are kept with the documents
    #[arg(long)]
    pub publish: bool,
    /// Only writes docs/reliability.md from docs/chaos.json and the tables
    #[arg(long)]
    pub document: bool,
    /// The program with the services [default: `crashing-shop` beside this one]
    #[arg(long, value_name = "FILE")]
    pub shop: Option<PathBuf>,
}

impl Args {
    /// The faults that are drawn from; none when a name fits none.
    pub(crate) fn kinds(&self) -> Vec<Kind> {
        let wanted = |kind: &Kind| {
            self.only.is_empty() || self.only.iter().any(|only| kind.name().starts_with(only))
        };
        Kind::ALL.into_iter().filter(wanted).collect()
    }
}
