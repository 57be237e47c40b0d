//! The documents name only what is there: every relative link, and every path in code marks.
#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().unwrap()
}

/// Everything in the repository that is no build and no data, from the root.
fn files() -> Vec<PathBuf> {
    let (root, mut found) = (root(), Vec::new());
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if name.starts_with('.') || name == "target" {
                continue;
            }
            if path.is_dir() {
                folders.push(path.clone());
            }
            found.push(path.strip_prefix(&root).unwrap().to_owned());
        }
    }
    found
}

/// The documents whose paths are for readers of this repository.
fn documents(files: &[PathBuf]) -> impl Iterator<Item = (&Path, String)> {
    let is_one = |path: &&PathBuf| {
        path.extension().is_some_and(|kind| kind == "md")
            && (path.starts_with("docs") || path.components().count() == 1)
    };
    files.iter().filter(is_one).map(|path| {
        let text = std::fs::read_to_string(root().join(path)).unwrap();
        (path.as_path(), without_blocks(&text))
    })
}

/// The text without its fenced blocks.
fn without_blocks(text: &str) -> String {
    let mut inside = false;
    let outside = text.lines().filter(|line| {
        let fence = line.trim_start().starts_with("```");
        inside ^= fence;
        !inside && !fence
    });
    outside.flat_map(|line| [line, "\n"]).collect()
}

/// The links of a document, each with its text.
fn links(text: &str) -> Vec<(&str, &str)> {
    let mut found = Vec::new();
    for (at, _) in text.match_indices("](") {
        let (before, after) = (&text[..at], &text[at + 2..]);
        let label = &before[before.rfind('[').map_or(0, |open| open + 1)..];
        let target = &after[..after.find(')').unwrap_or(after.len())];
        found.push((label, target.split([' ', '#']).next().unwrap_or_default()));
    }
    found.retain(|(_, target)| !target.is_empty() && !target.contains("://"));
    found
}

/// What stands in code marks and can only be a path of this repository. A path with a first dot is made
/// by a command; one with a first slash belongs to HTTP.
fn paths(text: &str) -> Vec<&str> {
    let code = text.split('`').skip(1).step_by(2);
    code.filter(|code| {
        let allowed = |c: char| c.is_ascii_alphanumeric() || "_-./".contains(c);
        let is_file = [".rs", ".toml", ".md", ".yaml"].iter().any(|end| code.ends_with(end));
        code.chars().all(allowed)
            && !code.starts_with(['.', '/'])
            && (is_file || code.contains('/'))
    })
    .collect()
}

/// Links that lead nowhere or elsewhere than they say, and paths that are no end of any path.
fn broken(document: &Path, text: &str, files: &[PathBuf]) -> Vec<String> {
    let folder = root().join(document).parent().unwrap().to_owned();
    let links = links(text);
    let missing = links.iter().filter(|(_, target)| !folder.join(target).exists());
    let mut wrong: Vec<String> = missing.map(|(_, target)| format!("({target})")).collect();
    for (label, target) in &links {
        // A link may go to the file that tells of the folder it names.
        let leads = |path: &&str| Path::new(target).ancestors().any(|part| part.ends_with(path));
        let elsewhere = paths(label).into_iter().filter(|path| !leads(path));
        wrong.extend(elsewhere.map(|path| format!("[`{path}`]({target})")));
    }
    let unknown = paths(text).into_iter().filter(|path| !files.iter().any(|f| f.ends_with(path)));
    wrong.extend(unknown.map(|path| format!("`{path}`")));
    wrong.into_iter().map(|what| format!("{}: {what}", document.display())).collect()
}

#[test]
fn every_link_and_every_path_in_the_documents_exists() {
    let files = files();
    let documents: Vec<_> = documents(&files).collect();
    for wanted in ["README.md", "CONTRIBUTING.md", "docs/events.md"] {
        assert!(documents.iter().any(|(path, _)| *path == Path::new(wanted)), "{wanted}");
    }
    let wrong: Vec<String> =
        documents.iter().flat_map(|(path, text)| broken(path, text, &files)).collect();
    assert!(wrong.is_empty(), "not there:\n{}", wrong.join("\n"));
}

#[test]
fn what_is_not_there_is_seen() {
    let files = files();
    let broken = |text: &str| broken(Path::new("docs/events.md"), text, &files);
    for text in [
        "[a](gone.md)",
        "[a](../README.md#here) [b](gone.rs#here)",
        "[`money.rs`](../contracts/src/order.rs)",
        "`src/gone.rs`",
        "`gone.toml`",
    ] {
        assert_eq!(broken(text).len(), 1, "{text}: {:?}", broken(text));
    }
    let good = "[a](../README.md) [b](https://example.org/x) [c](#here) [`src/order.rs`]\
        (../contracts/src/order.rs) `contracts/src/order.rs` `lib.rs` `docs/` `.sqlx/` `GET /orders` `a`";
    assert_eq!(broken(good), Vec::<String>::new());
    assert_eq!(without_blocks("a\n```\n[b](c)\n```\nd\n"), "a\nd\n");
}
