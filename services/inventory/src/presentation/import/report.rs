//! What became of the rows.

use std::collections::BTreeMap;

use chassis::problem::{FieldError, Problem, code};
use schemars::JsonSchema;
use serde::Serialize;

use super::Mode;
use crate::application::import_products::Imported;
use crate::domain::product::ProductError;

/// Rejected rows that are named; more are only counted.
const NAMED: usize = 1_000;

/// Counts all rows, and remembers the first of those that were rejected.
#[derive(Debug, Default)]
pub(super) struct Report {
    listed: u64,
    changed: u64,
    unchanged: u64,
    rejected: u64,
    /// By line.
    first: BTreeMap<u32, Vec<FieldError>>,
}

/// What became of the rows of an import.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "ImportReport")]
pub(crate) struct ReportBody {
    mode: Mode,
    rows: u64,
    accepted: u64,
    rejected: u64,
    /// Accepted rows of new products.
    listed: u64,
    /// Accepted rows that changed a product.
    changed: u64,
    /// Accepted rows that told nothing new.
    unchanged: u64,
    /// The first 1,000 of them.
    rejected_rows: Vec<RejectedRow>,
    /// How many more were rejected than `rejected_rows` names.
    rejected_rows_left_out: u64,
}

/// A row that was not taken.
#[derive(Debug, Serialize, JsonSchema)]
struct RejectedRow {
    /// Its first line; the header is on line 1.
    line: u32,
    /// Each pointer is a column.
    errors: Vec<FieldError>,
}

impl Report {
    /// The row on this line was dealt with.
    pub(super) fn count(&mut self, line: u32, outcome: Imported) {
        let rule = match outcome {
            Imported::Listed => return self.listed += 1,
            Imported::Changed => return self.changed += 1,
            Imported::Unchanged => return self.unchanged += 1,
            Imported::Refused(ProductError::BelowReserved) => "below_reserved",
            Imported::Refused(ProductError::Overflow) => code::RANGE,
        };
        self.reject(line, vec![FieldError::new("/on_hand", rule)]);
    }

    /// The row on this line is not taken. Rows come in any order of lines.
    pub(super) fn reject(&mut self, line: u32, errors: Vec<FieldError>) {
        self.rejected += 1;
        self.first.insert(line, errors);
        if self.first.len() > NAMED {
            self.first.pop_last();
        }
    }

    /// How many rows were rejected.
    pub(super) fn rejected(&self) -> u64 {
        self.rejected
    }

    fn left_out(&self) -> u64 {
        self.rejected - self.first.len() as u64
    }

    /// The answer when the good rows were taken.
    pub(super) fn into_body(self, mode: Mode) -> ReportBody {
        let rejected_rows_left_out = self.left_out();
        let Self { listed, changed, unchanged, rejected, first } = self;
        let accepted = listed + changed + unchanged;
        let rejected_rows = first.into_iter().map(|(line, errors)| RejectedRow { line, errors });
        ReportBody {
            mode,
            rows: accepted + rejected,
            accepted,
            rejected,
            listed,
            changed,
            unchanged,
            rejected_rows: rejected_rows.collect(),
            rejected_rows_left_out,
        }
    }

    /// The answer when none was taken because of the bad ones: each pointer is a line and a column.
    pub(super) fn into_problem(self) -> Problem {
        let (rejected, left_out) = (self.rejected, self.left_out());
        let rows = rejected + self.listed + self.changed + self.unchanged;
        let errors = self.first.into_iter().flat_map(|(line, errors)| {
            errors.into_iter().map(move |error| {
                FieldError::new(format!("/{line}{}", error.pointer()), error.code().to_owned())
            })
        });
        Problem::validation_failed(errors).with_detail(format!(
            "Nothing was imported: {rejected} of {rows} rows are rejected, {left_out} of them beyond \
             those in errors, where each pointer is /line/column.",
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_rejected_lines_are_named_whatever_the_order_in_which_they_come() {
        let mut report = Report::default();
        for line in (2..=2_001).rev() {
            report.reject(line, vec![FieldError::new("/sku", code::FORMAT)]);
        }
        report.count(2_002, Imported::Refused(ProductError::BelowReserved));
        report.count(2_003, Imported::Listed);
        let body = report.into_body(Mode::GoodRows);
        assert_eq!((body.rows, body.accepted, body.rejected), (2_002, 1, 2_001));
        let lines: Vec<u32> = body.rejected_rows.iter().map(|row| row.line).collect();
        assert_eq!(lines, (2..=1_001).collect::<Vec<_>>());
        assert_eq!(body.rejected_rows_left_out, 1_001);
    }
}
