//! What a check found.

use serde::Serialize;

/// So many violations are told one by one.
const TOLD: usize = 5;

/// What a check found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Findings {
    /// How many things were looked at.
    pub checked: u64,
    /// How many of them break the statement.
    pub violations: u64,
    /// The first of these, in words, with their ids.
    pub examples: Vec<String>,
    /// How much of the statement this covers.
    #[serde(flatten)]
    pub coverage: Coverage,
}

/// How much of its statement a check covers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(tag = "coverage", content = "why", rename_all = "snake_case")]
pub enum Coverage {
    /// All of it.
    #[default]
    Whole,
    /// What stored state can tell; the rest needs a test that watches it happen.
    Partial(&'static str),
    /// Something that had to be asked did not answer: nobody knows.
    Unknown(String),
}

impl Findings {
    /// Nothing looked at, nothing found.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Notes that so many more things were looked at.
    pub fn looked_at(&mut self, count: u64) {
        self.checked += count;
    }

    /// Notes a violation.
    pub fn violation(&mut self, words: impl FnOnce() -> String) {
        self.violations += 1;
        if self.examples.len() < TOLD {
            self.examples.push(words());
        }
    }

    /// Notes `count` violations, of which `examples` are told.
    pub fn violations(&mut self, count: u64, examples: impl IntoIterator<Item = String>) {
        self.violations += count;
        let room = TOLD - self.examples.len();
        self.examples.extend(examples.into_iter().take(room));
    }

    /// Notes that what had to be asked did not answer.
    pub fn unknown(&mut self, why: &str) {
        self.coverage = Coverage::Unknown(why.to_owned());
    }

    /// Adds what another look found.
    pub fn add(&mut self, other: Self) {
        self.checked += other.checked;
        self.violations(other.violations, other.examples);
        if self.coverage == Coverage::Whole {
            self.coverage = other.coverage;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_violations_are_counted_and_the_first_are_told() {
        let mut findings = Findings::new();
        for n in 0..3 {
            findings.violation(|| format!("one {n}"));
        }
        let mut other = Findings::new();
        other.violations(9, (0..4).map(|n| format!("other {n}")));
        findings.add(other);
        assert_eq!(findings.violations, 12);
        assert_eq!(findings.examples, ["one 0", "one 1", "one 2", "other 0", "other 1"]);
    }

    #[test]
    fn what_could_not_be_asked_is_not_forgotten_in_a_sum() {
        let mut findings = Findings::new();
        let mut other = Findings::new();
        other.unknown("away");
        findings.add(other);
        findings.add(Findings::new());
        assert_eq!(findings.coverage, Coverage::Unknown("away".into()));
    }
}
