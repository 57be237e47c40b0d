//! The command line.

use std::path::PathBuf;
use std::time::Duration;

const EXAMPLES: &str = "\
Examples:
  bench                            every figure, in about 15 minutes
  bench --quick                    every figure with smaller loads, in less than 3
  bench --only relay_drain         those figures whose id begins like this
  bench --publish                  keeps the last report as docs/performance.json, and documents it
  bench --document                 only writes docs/performance.md from docs/performance.json

Exit codes: 0 everything was measured, whether a goal is met or not, 1 something could not be.";

/// Every figure that is promised, beside the raw limit of the same run.
#[derive(Debug, Clone, clap::Parser)]
#[command(name = "bench", after_help = EXAMPLES)]
pub struct Args {
    /// Smaller loads and fewer rounds
    #[arg(long)]
    pub quick: bool,
    /// Figures whose ids begin like this; again for more
    #[arg(long, value_name = "ID")]
    pub only: Vec<String>,
    /// How often everything is measured [default: 3, 1 when quick]
    #[arg(long, value_name = "N")]
    pub rounds: Option<usize>,
    /// How long an outbox is filled, drained and pruned before it is measured with old rows in it
    /// [default: 0.25, 0 when quick]
    #[arg(long, value_name = "MINUTES")]
    pub churn: Option<f64>,
    /// Where the report goes
    #[arg(long, value_name = "FILE", default_value = "target/bench/report.json")]
    pub report: PathBuf,
    /// Only keeps the report as docs/performance.json, and writes the document from it
    #[arg(long)]
    pub publish: bool,
    /// Only writes docs/performance.md and its plots from docs/performance.json
    #[arg(long)]
    pub document: bool,
    /// The program with the services [default: `shop` beside this one]
    #[arg(long, value_name = "FILE")]
    pub shop: Option<PathBuf>,
}

impl Args {
    /// How often everything is measured.
    #[must_use]
    pub fn rounds(&self) -> usize {
        self.rounds.unwrap_or(if self.quick { 1 } else { 3 }).max(1)
    }

    /// How long an outbox lives before it is measured with old rows in it.
    #[must_use]
    pub fn churn(&self) -> Duration {
        let minutes = self.churn.unwrap_or(if self.quick { 0.0 } else { 0.25 });
        Duration::try_from_secs_f64(60.0 * minutes).unwrap_or_default()
    }

    /// Whether a figure is asked for.
    #[must_use]
    pub fn wants(&self, id: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|only| id.starts_with(only.as_str()))
    }
}
