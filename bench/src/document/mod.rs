//! `docs/performance.md`: what was measured the last time, how, and what did not help.

mod plots;

use std::path::Path;

use anyhow::{Context as _, ensure};
use serde::{Deserialize, Serialize};

use crate::figure::Measured;
use crate::report::{Report, number};

/// The report, the counts, and the document that is written from them; from the root of the project.
const REPORT: &str = "docs/performance.json";
pub(crate) const COUNTS: &str = "docs/micro.json";
const DOCUMENT: &str = "docs/performance.md";
const PLOTS: &str = "docs/performance";

/// The part that people write; `@figures@` and the like stand where the measured parts go.
const TEXT: &str = include_str!("../../text/performance.md");

/// What one operation costs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Count {
    pub(crate) operation: String,
    /// Instructions, by callgrind.
    pub(crate) instructions: u64,
}

/// Keeps a report with the documents, and writes them.
///
/// # Errors
/// When it is of smaller loads or of some figures only, or nothing can be written.
pub(crate) fn publish(report: &Path, all: &[&str]) -> anyhow::Result<()> {
    let report = Report::read(report)?;
    ensure!(!report.quick, "a quick run is no figure to publish");
    let missing: Vec<_> =
        all.iter().filter(|id| report.figures.iter().all(|one| one.id != **id)).collect();
    ensure!(missing.is_empty(), "these figures are not in the report: {missing:?}");
    report.write(Path::new(REPORT))?;
    write()
}

/// Writes the document and its plots from the kept report.
///
/// # Errors
/// When it cannot be read, or they cannot be written.
pub(crate) fn write() -> anyhow::Result<()> {
    for (path, text) in all(Path::new("."))? {
        if let Some(folder) = Path::new(&path).parent() {
            std::fs::create_dir_all(folder)?;
        }
        std::fs::write(&path, text).context(path)?;
    }
    Ok(())
}

/// The document and its plots, each with its path from the root of the project.
fn all(root: &Path) -> anyhow::Result<Vec<(String, String)>> {
    let report = Report::read(&root.join(REPORT))?;
    let counts = std::fs::read_to_string(root.join(COUNTS)).context(COUNTS)?;
    let counts: Vec<Count> = serde_json::from_str(&counts).context(COUNTS)?;
    let mut files = vec![(DOCUMENT.to_owned(), document(&report, &counts))];
    files.push((format!("{PLOTS}/of-raw.svg"), plots::of_raw(&report.figures)?));
    for figure in report.figures.iter().filter(|figure| !figure.curves.is_empty()) {
        files.push((format!("{PLOTS}/{}.svg", figure.id), plots::curves(figure)?));
    }
    Ok(files)
}

fn document(report: &Report, counts: &[Count]) -> String {
    TEXT.replace("@machine@", &machine(report))
        .replace("@figures@", &figures(report))
        .replace("@curves@", &curves(report))
        .replace("@counts@", &instructions(counts))
        .replace("@notes@", &notes(report))
}

fn machine(report: &Report) -> String {
    let machine = &report.machine;
    let quick = if report.quick { "**With smaller loads, for a first look only.** " } else { "" };
    format!(
        "{quick}{}, {} cores, {} MiB of memory; {}. The whole run took {} s.",
        machine.processor, machine.cores, machine.memory_mib, report.versions, report.seconds
    )
}

fn figures(report: &Report) -> String {
    let mut text = "| figure | value | least to most | beside it | ratio | goal | |\n\
        |---|---|---|---|---|---|---|\n"
        .to_owned();
    for figure in &report.figures {
        let (least, most) = figure.spread();
        let raw = figure.raw.map_or_else(String::new, number);
        let ratio = figure.ratio.map_or_else(String::new, |ratio| format!("{ratio:.2}"));
        text += &format!(
            "| `{}` | {} {} | {} to {} | {raw} | {ratio} | {} | {} |\n",
            figure.id,
            number(figure.value),
            figure.unit,
            number(least),
            number(most),
            figure.goal,
            if figure.met { "met" } else { "**missed**" },
        );
    }
    text + "\n" + &report.figures.iter().map(meaning).collect::<String>()
}

fn meaning(figure: &Measured) -> String {
    let beside = match figure.beside.as_str() {
        "" => String::new(),
        beside => format!("; beside it: {beside}"),
    };
    format!("- `{}`: {}{beside}.\n", figure.id, figure.what)
}

fn curves(report: &Report) -> String {
    let drawn = report.figures.iter().filter(|figure| !figure.curves.is_empty());
    drawn.map(|figure| format!("![{}](performance/{}.svg)\n", figure.what, figure.id)).collect()
}

fn instructions(counts: &[Count]) -> String {
    let mut text = "| operation | instructions |\n|---|---:|\n".to_owned();
    for Count { operation, instructions } in counts {
        text += &format!("| {operation} | {instructions} |\n");
    }
    text
}

fn notes(report: &Report) -> String {
    let mut text = String::new();
    for figure in report.figures.iter().filter(|figure| !figure.notes.is_empty()) {
        text += &format!("`{}`:\n\n", figure.id);
        text.extend(figure.notes.iter().map(|note| format!("- {note}\n")));
        text += "\n";
    }
    text.trim_end().to_owned() + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_and_its_plots_are_what_their_sources_say() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        for (path, text) in all(&root).unwrap() {
            let there = std::fs::read_to_string(root.join(&path)).unwrap_or_default();
            assert!(there == text, "{path}: run `make performance`");
        }
    }

    #[test]
    fn every_measured_part_has_its_place_in_the_text() {
        for part in ["machine", "figures", "curves", "counts", "notes"] {
            assert_eq!(TEXT.matches(&format!("@{part}@")).count(), 1, "{part}");
        }
    }
}
