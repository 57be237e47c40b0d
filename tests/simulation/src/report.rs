//! What is said of a run.

use std::fmt::Write as _;

use crate::run::{Outcome, Plan};

/// A seed that is short enough to type, with room behind it.
#[must_use]
pub fn drawn() -> u64 {
    (envelope::Clock::system().unit() * 1e9) as u64 * 1_000
}

/// The table of a run, and how to repeat what failed in it.
#[must_use]
pub fn tell(plan: &Plan, outcome: &Outcome) -> String {
    let mut text = String::new();
    for failed in &outcome.failed {
        let _ = writeln!(text, "{failed}");
        let bug = plan.bug.map(|bug| format!(" ARGS=\"--bug {}\"", bug.name()));
        let bug = bug.unwrap_or_default();
        let _ = writeln!(text, "    the same again: make simulate SEED={}{bug}\n", failed.seed);
    }
    let report = &outcome.report;
    for (what, times) in &report.happened {
        let _ = writeln!(text, "{what:<40} {times:>8}");
    }
    let (seeds, seconds) = (report.seeds, outcome.took.as_secs_f64());
    let per_minute = 60.0 * seeds as f64 / seconds.max(f64::MIN_POSITIVE);
    let (entries, violations) = (report.entries, outcome.failed.len());
    let _ = write!(
        text,
        "\n{seeds} seeds from {}, {entries} steps, {violations} violations; {seconds:.1} s, \
         {per_minute:.0} seeds a minute on {} threads",
        plan.first, plan.threads,
    );
    text
}
