//! What holds the contracts to their word: every minor version ever released against today's types,
//! and everything generated against its file.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../../examples/generate/artefacts/mod.rs"]
mod artefacts;

mod catalogue;
mod documents;
mod generator;
mod open_readers;
mod released;

use std::fs;

use serde_json::Value;

/// A golden sample on disk: its file's name and its text.
fn golden() -> Vec<(String, String)> {
    let folder = artefacts::workspace().join("contracts/golden");
    let names = artefacts::file_names(&folder).unwrap();
    names
        .into_iter()
        .map(|name| (name.clone(), fs::read_to_string(folder.join(name)).unwrap()))
        .collect()
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}
