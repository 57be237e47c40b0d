//! The generator: nothing has drifted, and it overwrites nothing that was released.

use std::fs;
use std::path::{Path, PathBuf};

use crate::artefacts::{Mode, file_names, run, workspace};
use crate::json;

#[test]
fn every_generated_file_is_what_the_types_say() {
    assert_eq!(run(workspace(), Mode::Check).unwrap(), [""; 0]);
}

/// A copy of the generated files that a test may spoil.
struct Copy(PathBuf);

impl Copy {
    fn new(test: &str) -> Self {
        let root = Path::new(env!("CARGO_TARGET_TMPDIR")).join("contracts").join(test);
        let _ = fs::remove_dir_all(&root);
        for folder in ["contracts/schemas", "contracts/golden", "docs"] {
            fs::create_dir_all(root.join(folder)).unwrap();
            let from = workspace().join(folder);
            for name in file_names(&from).unwrap() {
                if from.join(&name).is_file() {
                    fs::copy(from.join(&name), root.join(folder).join(&name)).unwrap();
                }
            }
        }
        Self(root)
    }

    fn text(&self, path: &str) -> String {
        fs::read_to_string(self.0.join(path)).unwrap()
    }

    /// Replaces text in a file, and returns what the file holds then.
    fn spoil(&self, path: &str, from: &str, to: &str) -> String {
        let text = self.text(path);
        assert!(text.contains(from), "{path} has no {from}");
        let spoilt = text.replace(from, to);
        fs::write(self.0.join(path), &spoilt).unwrap();
        spoilt
    }

    fn run(&self, mode: Mode) -> Vec<String> {
        run(&self.0, mode).unwrap()
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

const SCHEMA: &str = "contracts/schemas/order.placed.v1.0.json";
const SAMPLE: &str = "contracts/golden/order.placed.v1.0.json";
const PAGE: &str = "docs/events.md";

fn one(lines: &[String], path: &str) {
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(lines[0].starts_with(path), "{lines:?}");
}

#[test]
fn a_missing_file_is_reported_by_a_check_and_written_otherwise() {
    let copy = Copy::new("missing");
    for path in [SCHEMA, SAMPLE, PAGE] {
        let before = copy.text(path);
        fs::remove_file(copy.0.join(path)).unwrap();
        one(&copy.run(Mode::Check), path);
        assert!(!copy.0.join(path).exists());
        one(&copy.run(Mode::Write), path);
        assert_eq!(copy.text(path), before);
        assert_eq!(copy.run(Mode::Check), [""; 0]);
    }
}

#[test]
fn a_schema_is_rewritten_for_other_words_and_for_nothing_else() {
    let copy = Copy::new("schema");
    let right = copy.text(SCHEMA);
    let spoilt = copy.spoil(SCHEMA, "What was ordered", "What was asked for");
    one(&copy.run(Mode::Check), SCHEMA);
    assert_eq!(copy.text(SCHEMA), spoilt);
    one(&copy.run(Mode::Write), SCHEMA);
    assert_eq!(copy.text(SCHEMA), right);

    // As if `payment_method` had been added to the type without a new minor version.
    let mut released = json(&right);
    released["properties"].as_object_mut().unwrap().remove("payment_method");
    let released = released.to_string();
    fs::write(copy.0.join(SCHEMA), &released).unwrap();
    for mode in [Mode::Check, Mode::Write, Mode::Regolden] {
        let lines = copy.run(mode);
        one(&lines, SCHEMA);
        assert!(lines[0].contains("raise MINOR"), "{lines:?}");
        assert_eq!(copy.text(SCHEMA), released);
    }
}

#[test]
fn a_sample_is_rewritten_on_demand_only() {
    let copy = Copy::new("sample");
    let right = copy.text(SAMPLE);
    let spoilt = copy.spoil(SAMPLE, "pm_ok", "pm_other");
    for mode in [Mode::Check, Mode::Write] {
        one(&copy.run(mode), SAMPLE);
        assert_eq!(copy.text(SAMPLE), spoilt);
    }
    one(&copy.run(Mode::Regolden), SAMPLE);
    assert_eq!(copy.text(SAMPLE), right);
}

#[test]
fn an_edited_document_is_put_right() {
    let copy = Copy::new("document");
    let right = copy.text(PAGE);
    copy.spoil(PAGE, "# Events", "# My events");
    one(&copy.run(Mode::Check), PAGE);
    one(&copy.run(Mode::Write), PAGE);
    assert_eq!(copy.text(PAGE), right);
}

#[test]
fn a_file_that_belongs_to_no_event_is_reported_and_left_alone() {
    let copy = Copy::new("stray");
    for path in
        ["contracts/schemas/order.vanished.v1.0.json", "contracts/golden/order.placed.v1.7.json"]
    {
        fs::write(copy.0.join(path), "{}").unwrap();
        one(&copy.run(Mode::Write), path);
        assert_eq!(copy.text(path), "{}");
        fs::remove_file(copy.0.join(path)).unwrap();
    }
}
