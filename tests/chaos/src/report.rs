//! What is said of each seed, and of all of them.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::Path;

use anyhow::Context as _;
use serde::{Serialize, Serializer};

use crate::faults::Kind;

impl Serialize for Kind {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.name())
    }
}

/// A fault that was done.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Fault {
    pub(crate) kind: Kind,
    pub(crate) words: String,
    pub(crate) whom: String,
    /// Whether anybody was hit.
    pub(crate) felt: bool,
}

/// What came of a seed.
#[derive(Debug, Serialize)]
pub(crate) struct Verdict {
    pub(crate) seed: u64,
    /// The bug that every service had.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) bug: Option<String>,
    pub(crate) faults: Vec<Fault>,
    pub(crate) orders: usize,
    /// Requests that customers repeated.
    pub(crate) repetitions: u32,
    pub(crate) endings: BTreeMap<String, usize>,
    /// Events that this system has published so far.
    pub(crate) events: usize,
    pub(crate) violations: Vec<String>,
    /// From the last fault to rest.
    pub(crate) drained_ms: u128,
    pub(crate) took_ms: u128,
}

/// All seeds of a run.
#[derive(Debug, Default)]
pub(crate) struct Report {
    verdicts: Vec<Verdict>,
}

impl Report {
    /// Notes a verdict, tells it, and adds it to `history`, a line each.
    ///
    /// # Errors
    /// When the history cannot be written.
    pub(crate) fn note(&mut self, verdict: Verdict, history: &Path) -> anyhow::Result<()> {
        println!("{}", verdict.line());
        for violation in &verdict.violations {
            println!("    {violation}");
        }
        let line = serde_json::to_string(&verdict)?;
        let file = std::fs::File::options().create(true).append(true).open(history);
        let mut file = file.with_context(|| format!("cannot write {}", history.display()))?;
        writeln!(file, "{line}")?;
        self.verdicts.push(verdict);
        Ok(())
    }

    /// The seeds that broke something.
    pub(crate) fn failed(&self) -> Vec<u64> {
        let failed = self.verdicts.iter().filter(|one| !one.violations.is_empty());
        failed.map(|one| one.seed).collect()
    }

    /// A line per kind of fault, and the sums.
    pub(crate) fn table(&self) -> String {
        let mut kinds: BTreeMap<Kind, (usize, usize)> = BTreeMap::new();
        for fault in self.verdicts.iter().flat_map(|one| &one.faults) {
            let counts = kinds.entry(fault.kind).or_default();
            counts.0 += 1;
            counts.1 += usize::from(fault.felt);
        }
        let mut text = format!("\n{:<28} {:<9} {:>5} {:>5}\n", "fault", "rows", "done", "felt");
        for (kind, (done, felt)) in kinds {
            text += &format!("{:<28} {:<9} {done:>5} {felt:>5}\n", kind.name(), kind.rows());
        }
        let sum = |of: fn(&Verdict) -> usize| self.verdicts.iter().map(of).sum::<usize>();
        let violations = sum(|one| one.violations.len());
        let (seeds, orders) = (self.verdicts.len(), sum(|one| one.orders));
        text += &format!("\n{seeds} seeds, {orders} orders, {violations} violations");
        text
    }
}

impl Verdict {
    fn line(&self) -> String {
        let seconds = |ms: u128| ms as f64 / 1_000.0;
        let faults: Vec<String> = self.faults.iter().map(Fault::line).collect();
        let endings: Vec<String> =
            self.endings.iter().map(|(ending, count)| format!("{count} {ending}")).collect();
        let verdict = if self.violations.is_empty() { "holds" } else { "BROKEN" };
        format!(
            "seed {:<20} {verdict}: {} orders ({}), at rest after {:.1} s, {:.1} s in all: {}",
            self.seed,
            self.orders,
            endings.join(", "),
            seconds(self.drained_ms),
            seconds(self.took_ms),
            faults.join("; "),
        )
    }
}

impl Fault {
    fn line(&self) -> String {
        let felt = if self.felt { "" } else { ", not felt" };
        format!("{} ({}{felt})", self.words, self.whom)
    }
}
