//! The files that follow from the event types, and how they are written and checked.

pub(crate) mod asyncapi;
pub(crate) mod golden;
pub(crate) mod markdown;
pub(crate) mod ordered;
pub(crate) mod schemas;

use std::collections::BTreeSet;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::{fs, io};

use contracts::compatibility::breaks;
use serde_json::Value;

/// What a run does with what it finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Writes what is missing or differs; leaves golden samples that exist alone.
    Write,
    /// Writes nothing.
    Check,
    /// As `Write`, and rewrites golden samples of today's minor versions. Right only before their
    /// minor version is released: a sample is what was on the wire.
    Regolden,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Schema,
    Golden,
    Document,
}

/// One generated file.
struct Artefact {
    kind: Kind,
    /// Under the root of the workspace.
    path: String,
    text: String,
}

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// The root of the workspace.
pub(crate) fn workspace() -> &'static Path {
    let contracts = Path::new(env!("CARGO_MANIFEST_DIR"));
    contracts.parent().unwrap_or(contracts)
}

/// Compares every artefact with its file under `root`, and writes as `mode` says: one line per
/// difference. A schema of today's minor version is rewritten only for other words, a golden sample
/// only on demand.
///
/// # Errors
/// A file that cannot be read or written.
pub(crate) fn run(root: &Path, mode: Mode) -> Result<Vec<String>> {
    let wanted = artefacts()?;
    let mut lines = Vec::new();
    for artefact in &wanted {
        lines.extend(settle(root, artefact, mode)?);
    }
    lines.extend(strays(root, &wanted)?);
    Ok(lines)
}

fn artefacts() -> Result<Vec<Artefact>> {
    let of = |kind, path: String, text| Artefact { kind, path, text };
    let mut wanted = Vec::new();
    for (name, text) in schemas::files()? {
        wanted.push(of(Kind::Schema, format!("contracts/schemas/{name}"), text));
    }
    for sample in golden::samples()? {
        let name = sample.file_name();
        wanted.push(of(Kind::Golden, format!("contracts/golden/{name}"), sample.text));
    }
    wanted.push(of(Kind::Document, "docs/events.md".into(), markdown::document()?));
    wanted.push(of(Kind::Document, "docs/asyncapi.yaml".into(), asyncapi::document()?));
    Ok(wanted)
}

fn settle(root: &Path, artefact: &Artefact, mode: Mode) -> Result<Option<String>> {
    let Artefact { kind, path, text } = artefact;
    let file = root.join(path);
    let found = read(&file)?;
    if found.as_ref() == Some(text) {
        return Ok(None);
    }
    if let (Some(found), Kind::Schema) = (&found, kind)
        && !differs_in_words_only(found, text)?
    {
        let advice = "raise MINOR; delete the file only if this minor was never released";
        return Ok(Some(format!("{path}: the type no longer has this schema: {advice}")));
    }
    if found.is_some() && *kind == Kind::Golden && mode != Mode::Regolden {
        let advice = "--regolden rewrites it, if this minor was never released";
        return Ok(Some(format!("{path}: the sample is not the generated one: {advice}")));
    }
    let state = if found.is_some() { "differs" } else { "is missing" };
    if mode == Mode::Check {
        return Ok(Some(format!("{path}: {state}")));
    }
    if let Some(folder) = file.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::write(&file, text)?;
    Ok(Some(format!("{path}: {state}: written")))
}

fn differs_in_words_only(found: &str, wanted: &str) -> Result<bool> {
    let (found, wanted): (Value, Value) =
        (serde_json::from_str(found)?, serde_json::from_str(wanted)?);
    Ok(breaks(&found, &wanted).is_empty() && breaks(&wanted, &found).is_empty())
}

/// Files beside the artefacts that belong to no minor version of any event. Those of older minors
/// are kept: what was once on the wire must stay readable.
fn strays(root: &Path, wanted: &[Artefact]) -> Result<Vec<String>> {
    let paths: BTreeSet<&str> = wanted.iter().map(|artefact| artefact.path.as_str()).collect();
    let mut lines = Vec::new();
    for folder in ["contracts/schemas", "contracts/golden"] {
        for name in file_names(&root.join(folder))? {
            let path = format!("{folder}/{name}");
            let older =
                schemas::version_of(&name).is_some_and(|(event, minor)| minor < event.minor);
            if !older && !paths.contains(path.as_str()) {
                lines.push(format!("{path}: belongs to no event"));
            }
        }
    }
    Ok(lines)
}

/// The names of the files in `folder`, sorted; none if there is no such folder.
///
/// # Errors
/// A folder that cannot be read.
pub(crate) fn file_names(folder: &Path) -> io::Result<Vec<String>> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let paths: io::Result<Vec<PathBuf>> = entries.map(|entry| entry.map(|e| e.path())).collect();
    let name = |path: &PathBuf| Some(path.file_name()?.to_string_lossy().into_owned());
    let mut names: Vec<String> = paths?.iter().filter_map(name).collect();
    names.sort();
    Ok(names)
}

fn read(file: &Path) -> io::Result<Option<String>> {
    match fs::read_to_string(file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        text => text.map(Some),
    }
}
