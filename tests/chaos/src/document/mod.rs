//! `docs/reliability.md`: promises, faults, who tries them, and what came of it the last time.

mod table;

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Context as _;
use messaging::crash::{Bug, Point};
use serde::{Deserialize, Serialize};

use crate::faults::Kind;
use table::{FAULTS, KIT, PROMISES, SIMULATED};

/// What all seeds so far have come to, as it is kept with the documents.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Results {
    seeds: u64,
    orders: u64,
    violations: u64,
    /// By the name of the fault: how often it was done, and how often it was felt.
    faults: BTreeMap<String, (u64, u64)>,
    /// By the name of the crash point: how often a process died there.
    crashes: BTreeMap<String, u64>,
    /// By the name of the bug: seeds until it was found.
    bugs: BTreeMap<String, u64>,
}

/// A line of the history, as far as it is counted.
#[derive(Debug, Deserialize)]
struct Line {
    #[serde(default)]
    bug: Option<String>,
    orders: u64,
    violations: Vec<String>,
    faults: Vec<LineFault>,
}

#[derive(Debug, Deserialize)]
struct LineFault {
    kind: String,
    whom: String,
    felt: bool,
}

impl Results {
    /// Those of a history, a line per seed.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(crate) fn of(history: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(history)
            .with_context(|| format!("cannot read {}", history.display()))?;
        let mut results = Self::default();
        let mut tried: BTreeMap<String, u64> = BTreeMap::new();
        for line in text.lines() {
            let line: Line = serde_json::from_str(line).context("a line of the history")?;
            let broken = !line.violations.is_empty();
            match line.bug {
                None => results.add(line),
                Some(bug) => {
                    let tries = tried.entry(bug.clone()).or_default();
                    *tries += 1;
                    if broken {
                        results.bugs.entry(bug).or_insert(*tries);
                    }
                }
            }
        }
        Ok(results)
    }

    /// Takes these in, too; of a bug the last time counts.
    fn merge(&mut self, more: Self) {
        self.seeds += more.seeds;
        self.orders += more.orders;
        self.violations += more.violations;
        for (kind, (done, felt)) in more.faults {
            let counts = self.faults.entry(kind).or_default();
            *counts = (counts.0 + done, counts.1 + felt);
        }
        for (point, died) in more.crashes {
            *self.crashes.entry(point).or_default() += died;
        }
        self.bugs.extend(more.bugs);
    }

    fn add(&mut self, line: Line) {
        self.seeds += 1;
        self.orders += line.orders;
        self.violations += line.violations.len() as u64;
        for fault in line.faults {
            let counts = self.faults.entry(fault.kind).or_default();
            counts.0 += 1;
            counts.1 += u64::from(fault.felt);
            if let Some((_, point)) = fault.whom.split_once(" at ").filter(|_| fault.felt) {
                *self.crashes.entry(point.to_owned()).or_default() += 1;
            }
        }
    }

    /// The document.
    pub(crate) fn document(&self) -> String {
        let mut text = INTRODUCTION.to_owned();
        text += "\n## The last results\n\n";
        let Self { seeds, orders, violations, .. } = self;
        text += &format!(
            "`make chaos`: {seeds} seeds, {orders} orders, {violations} violations. Every fault below \
             was done so often, and felt by somebody so often.\n\n| fault | rows | done | felt |\n\
             |---|---|---|---|\n"
        );
        for kind in Kind::ALL {
            let (done, felt) = self.faults.get(&kind.name()).copied().unwrap_or_default();
            text += &format!("| `{}` | {} | {done} | {felt} |\n", kind.name(), kind.rows());
        }
        text += "\nProcesses died at these places:\n\n| point | place | deaths |\n|---|---|---|\n";
        for point in Point::ALL {
            let deaths = self.crashes.get(&point.name()).copied().unwrap_or_default();
            text += &format!("| {} | {} | {deaths} |\n", point.name(), point.place());
        }
        text += "\nBugs that are put in on purpose, and after how many seeds `make chaos` found them; those \
             without a number it has not met yet. The simulation finds each, in a test.\n\n\
             | bug | seeds | simulation |\n|---|---|---|\n";
        for (bug, test) in Bug::ALL.into_iter().zip(SIMULATED) {
            let seeds = self.bugs.get(&bug.name()).map(u64::to_string).unwrap_or_default();
            text += &format!("| `{}` | {seeds} | {} |\n", bug.name(), links(&[test]));
        }
        text += "\n## Promises of the kit\n\nEach with the tests that break it on purpose.\n\n\
             | | promise | tests |\n|---|---|---|\n";
        for promise in PROMISES {
            let tests = links(promise.tests);
            text += &format!("| {} | {} | {tests} |\n", promise.id, promise.words);
        }
        text += "\n## Faults\n\n| | fault | tests | `make chaos` | not tried |\n|---|---|---|---|---|\n";
        for row in FAULTS {
            let kinds =
                Kind::ALL.into_iter().filter(|kind| kind.rows().split(' ').any(|r| r == row.id));
            let kinds: Vec<String> = kinds.map(|kind| format!("`{}`", kind.name())).collect();
            let (tests, kinds) = (links(row.tests), kinds.join(", "));
            text +=
                &format!("| {} | {} | {tests} | {kinds} | {} |\n", row.id, row.words, row.missing);
        }
        text
    }
}

/// The results, and the document that is written from them; from the root of the project.
const RESULTS: &str = "docs/chaos.json";
const DOCUMENT: &str = "docs/reliability.md";

/// Adds a history to the results, and writes the document. The history is put aside, so that it is added
/// once.
///
/// # Errors
/// When it cannot be read, or they cannot be written.
pub(crate) fn publish(history: &Path) -> anyhow::Result<()> {
    let mut results = read()?;
    results.merge(Results::of(history)?);
    std::fs::write(RESULTS, serde_json::to_string_pretty(&results)? + "\n").context(RESULTS)?;
    std::fs::rename(history, history.with_extension("published.jsonl"))?;
    write()
}

fn read() -> anyhow::Result<Results> {
    let results = std::fs::read_to_string(RESULTS).context(RESULTS)?;
    serde_json::from_str(&results).context(RESULTS)
}

/// Writes the document from the results.
///
/// # Errors
/// When they cannot be read, or it cannot be written.
pub(crate) fn write() -> anyhow::Result<()> {
    std::fs::write(DOCUMENT, read()?.document()).context(DOCUMENT)
}

/// Tests as links to their files.
fn links(tests: &[&str]) -> String {
    let links = tests.iter().filter_map(|test| {
        let (file, name) = test.split_once("::")?;
        Some(format!("[{}](../{})", name.replace('_', " "), path_of(file)))
    });
    links.collect::<Vec<_>>().join("<br>")
}

/// Where a file is, from the root.
fn path_of(file: &str) -> String {
    let short = !file.starts_with("tests/") && !file.starts_with("services/");
    let short = short && !file.starts_with("shared/") && !file.starts_with("contracts/");
    if short { format!("{KIT}{file}") } else { file.to_owned() }
}

const INTRODUCTION: &str = "\
<!-- Written by `make reliability` from docs/chaos.json and tests/chaos/src/document/table.rs. -->
# Reliability

What is promised, what goes wrong, which test makes it go wrong, and what came of it.

Four kinds of tests stand behind this page. The tests of the kit break one promise at a time, over a
real Postgres and a real RabbitMQ. The tests of the services and of the whole shop do the same with real
processes. The simulation plays the kit's own code over a broker in memory, a real Postgres and a clock of
its own, one step at a time as a seed says, and dies wherever the seed wants; the same seed is the same
history, and users of the kit put their handlers into it. And `make chaos` lets seeds draw: two replicas of every service run under a load of all
endings while faults hit them, then everything is healed, has to come to rest, and has to fulfil every
invariant that `shop verify` knows, and these besides, which only somebody who watched can know: events
of an aggregate were first published in the order of their versions (I13), whoever asked with one key was
told of one order (I14), and there is a mail for each thing that there is to say, whose copies carry one
id (I15).

```sh
make chaos SEEDS=20                     # about four minutes
make chaos SEED=4711                    # one seed again, on a system of its own
make chaos SEEDS=50 ARGS=\"--only broker\"
make chaos SEEDS=50 ARGS=\"--bug AckBeforeCommit --until-broken\"
```

A seed draws what customers do and what breaks when. It does not make time stand still: the same seed
meets the same faults at the same moments of a run that is never the same twice.
";

#[cfg(test)]
mod tests {
    use super::*;

    fn root() -> std::path::PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
    }

    #[test]
    fn every_test_that_is_named_is_there() {
        let named = PROMISES.iter().flat_map(|one| one.tests);
        let named = named.chain(FAULTS.iter().flat_map(|row| row.tests)).chain(&SIMULATED);
        let missing: Vec<&&str> = named
            .filter(|test| {
                let (file, name) = test.split_once("::").unwrap();
                let text = std::fs::read_to_string(root().join(path_of(file))).unwrap_or_default();
                !text.contains(&format!("fn {name}("))
            })
            .collect();
        assert!(missing.is_empty(), "{missing:#?}");
    }

    #[test]
    fn all_rows_are_there_and_each_is_tried_or_says_why_not() {
        let ids: Vec<&str> = FAULTS.iter().map(|row| row.id).collect();
        assert_eq!(ids, (1..=44).map(|n| format!("F{n}")).collect::<Vec<_>>());
        for row in FAULTS {
            assert!(!row.tests.is_empty() || !row.missing.is_empty(), "{}", row.id);
        }
    }

    #[test]
    fn the_document_is_what_its_sources_say() {
        let results = std::fs::read_to_string(root().join("docs/chaos.json")).unwrap();
        let results: Results = serde_json::from_str(&results).unwrap();
        let document = std::fs::read_to_string(root().join("docs/reliability.md")).unwrap();
        assert!(document == results.document(), "run `make reliability`");
    }

    #[test]
    fn a_history_is_counted_and_bugs_apart_from_the_rest() {
        let history = std::env::temp_dir().join(format!("tidings-history-{}", std::process::id()));
        let fault = |kind: &str, whom: &str, felt: bool| serde_json::json!({ "kind": kind, "whom": whom, "felt": felt });
        let lines = [
            serde_json::json!({ "orders": 5, "violations": [], "faults": [
                fault("service-crashes", "order-1 at C3", true),
                fault("service-crashes", "order-1 at C4", false)] }),
            serde_json::json!({ "bug": "B", "orders": 5, "violations": [], "faults": [] }),
            serde_json::json!({ "bug": "B", "orders": 5, "violations": ["I2"], "faults": [] }),
        ];
        std::fs::write(&history, lines.map(|line| line.to_string()).join("\n")).unwrap();
        let results = Results::of(&history).unwrap();
        std::fs::remove_file(&history).unwrap();
        assert_eq!((results.seeds, results.orders, results.violations), (1, 5, 0));
        assert_eq!(results.faults["service-crashes"], (2, 1));
        assert_eq!(results.crashes, BTreeMap::from([("C3".to_owned(), 1)]));
        assert_eq!(results.bugs, BTreeMap::from([("B".to_owned(), 2)]));

        let mut all = results.clone();
        all.merge(results);
        assert_eq!((all.seeds, all.orders, all.violations), (2, 10, 0));
        assert_eq!(all.faults["service-crashes"], (4, 2));
        assert_eq!(all.crashes, BTreeMap::from([("C3".to_owned(), 2)]));
        assert_eq!(all.bugs, BTreeMap::from([("B".to_owned(), 2)]));
    }
}
