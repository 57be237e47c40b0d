//! The command line.

use std::time::Duration;

use messaging::crash::Bug;

use crate::report::drawn;
use crate::run::Plan;

const EXAMPLES: &str = "\
Examples:
  simulate --seeds 1000
  simulate --seed 4711                              one seed again, with its history if it fails
  simulate --seeds 5000 --bug InboxApart            how many seeds a bug lasts

Exit codes: 0 everything held (with --bug: it was found), 1 otherwise, 2 wrong use.";

/// One order through all five services, stepped from a seed through everything that goes wrong.
#[derive(Debug, Clone, clap::Parser)]
#[command(name = "simulate", after_help = EXAMPLES)]
pub struct Args {
    /// How many seeds [default: 1000, with --seed 1]
    #[arg(long, value_name = "N")]
    pub seeds: Option<u64>,
    /// The first seed; the others follow it [default: drawn, and told]
    #[arg(long, value_name = "SEED")]
    pub seed: Option<u64>,
    /// No further seed is begun after so many seconds
    #[arg(long, value_name = "SECONDS")]
    pub seconds: Option<u64>,
    /// Worlds that are played at the same time, each with databases of its own
    #[arg(long, value_name = "N", default_value_t = 4)]
    pub threads: usize,
    /// A bug for every process, to see that it is found
    #[arg(long, value_name = "BUG", value_parser = bug)]
    pub bug: Option<Bug>,
}

impl Args {
    /// What they ask for.
    #[must_use]
    pub fn plan(&self) -> Plan {
        let usual = if self.seed.is_some() { 1 } else { 1_000 };
        Plan {
            first: self.seed.unwrap_or_else(drawn),
            seeds: self.seeds.unwrap_or(usual),
            within: self.seconds.map(Duration::from_secs),
            threads: self.threads,
            bug: self.bug,
        }
    }
}

fn bug(name: &str) -> Result<Bug, String> {
    let found = Bug::ALL.into_iter().find(|bug| bug.name() == name);
    found.ok_or_else(|| format!("the bugs are {}", Bug::ALL.map(Bug::name).join(", ")))
}
