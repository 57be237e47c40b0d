//! The arrows: who may import whom. Reads the manifests and the `use` lines, and fails on any other.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

const SERVICES: [&str; 5] = ["order", "inventory", "payment", "email", "audit"];

/// What each of our crates may depend on, among our crates, outside of tests.
fn allowed(package: &str) -> Option<BTreeSet<&'static str>> {
    let of = |names: &[&'static str]| Some(names.iter().copied().collect());
    match package {
        "envelope" | "chassis" | "sandbox" => of(&[]),
        "contracts" | "messaging" => of(&["envelope"]),
        "testkit" => of(&["envelope", "sandbox"]),
        "shop" => of(&[
            "audit",
            "chassis",
            "contracts",
            "email",
            "envelope",
            "inventory",
            "messaging",
            "order",
            "payment",
            "sandbox",
        ]),
        "tests" => of(&[]),
        service if SERVICES.contains(&service) => {
            of(&["chassis", "contracts", "envelope", "messaging"])
        }
        _ => None,
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn metadata() -> serde_json::Value {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn crates_depend_only_along_the_arrows() {
    let metadata = metadata();
    let packages = metadata["packages"].as_array().unwrap();
    let ours: BTreeSet<&str> = packages.iter().map(|p| p["name"].as_str().unwrap()).collect();
    let mut wrong = Vec::new();
    for package in packages {
        let name = package["name"].as_str().unwrap();
        let Some(allowed) = allowed(name) else {
            wrong.push(format!("{name} stands in no arrow: add it to tests/architecture.rs"));
            continue;
        };
        for dependency in package["dependencies"].as_array().unwrap() {
            let on = dependency["name"].as_str().unwrap();
            // Dev-dependencies are free, but the testkit is nothing else.
            let is_dev = dependency["kind"].as_str() == Some("dev");
            if !is_dev && ours.contains(on) && !allowed.contains(on) {
                wrong.push(format!("{name} -> {on}"));
            }
        }
    }
    assert!(wrong.is_empty(), "forbidden arrows between crates:\n{}", wrong.join("\n"));
}

#[test]
fn only_the_transport_knows_the_broker_client() {
    let allowed =
        ["shared/messaging/src/transport/rabbitmq/", "shared/sandbox/", "shared/testkit/"];
    let wrong: Vec<String> = sources(&root())
        .into_iter()
        .filter(|(path, text)| {
            !path.contains("/tests/")
                && !allowed.iter().any(|home| path.starts_with(home))
                && text.lines().any(|line| mentions(line, "lapin"))
        })
        .map(|(path, _)| path)
        .collect();
    assert!(wrong.is_empty(), "lapin outside the RabbitMQ transport: {wrong:?}");
}

/// Within a service: which rooms each room may name.
fn rooms(room: &str) -> &'static [&'static str] {
    match room {
        "domain" => &[],
        "application" => &["domain"],
        "infrastructure" => &["application", "domain"],
        "presentation" => &["application", "domain"],
        _ => &["application", "domain", "infrastructure", "presentation"],
    }
}

/// And which of our crates.
fn crates(room: &str) -> &'static [&'static str] {
    match room {
        "domain" => &[],
        "application" => &["envelope"],
        "infrastructure" => &["contracts", "envelope", "messaging"],
        _ => &["chassis", "contracts", "envelope", "messaging"],
    }
}

#[test]
fn rooms_of_a_service_import_only_inwards() {
    let mut wrong = Vec::new();
    for service in SERVICES {
        let src = root().join("services").join(service).join("src");
        for (path, text) in sources(&src) {
            let Some((room, _)) = path.split_once('/') else { continue };
            for found in imports(&text) {
                let names = |list: &[&str]| list.contains(&found.as_str());
                let is_room = names(rooms("all"));
                let is_crate = names(crates("all"));
                let inside = is_room && (found == room || names(rooms(room)));
                if (is_room && !inside) || (is_crate && !names(crates(room))) {
                    wrong.push(format!("services/{service}/src/{path} imports {found}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "forbidden arrows inside services:\n{}", wrong.join("\n"));
}

#[test]
fn files_and_entry_points_stay_small() {
    let long: BTreeMap<String, usize> = sources(&root())
        .into_iter()
        .map(|(path, text)| (path, text.lines().count()))
        .filter(|(path, lines)| *lines > if path.ends_with("src/main.rs") { 40 } else { 400 })
        .collect();
    assert!(long.is_empty(), "files over their limit: {long:#?}");
}

/// The first path segment after `crate::` or of an import of one of our crates.
fn imports(text: &str) -> Vec<String> {
    text.lines()
        .map(str::trim)
        .filter(|line| !line.starts_with("//"))
        .flat_map(|line| {
            let segments = line.split(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':'));
            segments.filter_map(|path| {
                let path = path.strip_prefix("crate::").unwrap_or(path);
                path.split_once("::").map(|(first, _)| first.to_owned())
            })
        })
        .collect()
}

fn mentions(line: &str, name: &str) -> bool {
    let line = line.trim();
    !line.starts_with("//") && line.contains(&format!("{name}::"))
}

/// All Rust files below a folder, with their path from it.
fn sources(from: &Path) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut folders = vec![from.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if path.is_dir() {
                if name != "target" && !name.starts_with('.') {
                    folders.push(path);
                }
            } else if name.ends_with(".rs") {
                let text = std::fs::read_to_string(&path).unwrap();
                let relative = path.strip_prefix(from).unwrap().to_string_lossy().into_owned();
                found.push((relative, text));
            }
        }
    }
    found
}

#[test]
fn the_reader_of_imports_sees_through_groups_and_ignores_comments() {
    let text =
        "use crate::infrastructure::Store;\n// use messaging::Tx;\nlet x = contracts::A::b();";
    assert_eq!(imports(text), ["infrastructure", "contracts"]);
}
