//! The table of bad input, word for word, each row with its cases.

use super::{inside, outcomes, outside};
use crate::house::{Lit, Raw};

/// What must become of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// It has its effect, once.
    Handled,
    /// It has none, is no error, and is counted under this outcome.
    Acknowledged(&'static str),
    /// It rests on the first rung, under this code.
    Retried(&'static str),
    /// It is parked under this code at its first attempt.
    Parked(&'static str),
    /// As [`Parked`](Self::Parked), at its last one.
    GivenUp(&'static str),
}

/// A message and its answer.
#[derive(Clone)]
pub struct Case {
    pub name: String,
    pub answer: Answer,
    pub raw: Raw,
}

impl Case {
    pub fn new(name: &str, answer: Answer, raw: Raw) -> Self {
        Self { name: name.to_owned(), answer, raw }
    }

    pub fn parked(name: &str, code: &'static str, raw: Raw) -> Self {
        Self::new(name, Answer::Parked(code), raw)
    }

    pub fn handled(name: &str, raw: Raw) -> Self {
        Self::new(name, Answer::Handled, raw)
    }
}

/// A row: input and answer as they stand there.
pub struct Row {
    pub input: &'static str,
    pub answer: &'static str,
    pub cases: Vec<Case>,
    /// Why there is nothing to send, or where the rest of the row is shown.
    pub but: Option<&'static str>,
}

impl Row {
    pub fn new(input: &'static str, answer: &'static str, cases: Vec<Case>) -> Self {
        Self { input, answer, cases, but: None }
    }

    pub fn but(mut self, why: &'static str) -> Self {
        self.but = Some(why);
        self
    }
}

/// A good message that a case spoils.
pub fn good(lamp: &str) -> Raw {
    Raw::of(&Lit::new(lamp, 1), 1)
}

pub fn spoiled(lamp: &str, spoil: impl FnOnce(&mut Raw)) -> Raw {
    let mut raw = good(lamp);
    spoil(&mut raw);
    raw
}

/// All rows, in the order of the checks.
pub fn all() -> Vec<Row> {
    let mut rows = outside::rows();
    rows.extend(inside::shape());
    rows.extend(inside::mirrors());
    rows.extend(inside::types());
    rows.extend(inside::times());
    rows.extend(outcomes::repeated());
    rows.extend(outcomes::ordered());
    rows.extend(outcomes::handlers());
    rows
}

#[test]
fn each_row_has_its_cases_or_says_why_not() {
    let rows = all();
    assert_eq!(rows.len(), 22);
    let mut names: Vec<&str> = Vec::new();
    for Row { input, answer, cases, but } in &rows {
        assert!(!cases.is_empty() || but.is_some(), "{input}: {answer}");
        names.extend(cases.iter().map(|case| case.name.as_str()));
    }
    let cases = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), cases, "two cases have one name");
}
