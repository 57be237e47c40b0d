//! The changes that were made, each told at once: a failure in the middle has shown what was done.

use crate::Output;

/// Collects changes.
pub(crate) struct Told<'a> {
    out: Option<&'a Output>,
    changes: Vec<String>,
}

impl<'a> Told<'a> {
    /// Writes each change: to stdout for people, and for machines, whose answer comes at the end and
    /// whole, to stderr.
    pub(super) fn aloud(out: &'a Output) -> Self {
        Self { out: Some(out), changes: Vec::new() }
    }

    /// Writes nothing.
    pub(crate) fn silently() -> Self {
        Self { out: None, changes: Vec::new() }
    }

    /// Tells of a change that has been made.
    pub(super) fn change(&mut self, change: String) {
        match self.out {
            Some(out) if out.is_json() => out.note(&change),
            Some(out) => out.line(&change),
            None => {}
        }
        self.changes.push(change);
    }

    /// All changes, in their order.
    pub(super) fn all(self) -> Vec<String> {
        self.changes
    }
}
