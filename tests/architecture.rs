//! The arrows: who may import whom. Reads the manifests and the paths in the sources, and fails on any
//! other.
#![allow(clippy::unwrap_used)]

#[path = "architecture/imports.rs"]
mod imports;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use imports::{ROOT, imports};

const SERVICES: [&str; 5] = ["order", "inventory", "payment", "email", "audit"];

/// What each of our crates may depend on, among our crates, outside of tests.
fn allowed(package: &str) -> Option<BTreeSet<&'static str>> {
    let of = |names: &[&'static str]| Some(names.iter().copied().collect());
    match package {
        "envelope" | "chassis" | "sandbox" => of(&[]),
        "contracts" | "messaging" => of(&["envelope"]),
        "host" => of(&["chassis", "envelope", "messaging"]),
        "feed" => of(&["messaging"]),
        "testkit" => of(&["envelope", "sandbox"]),
        "shop" => of(&[
            "audit",
            "chassis",
            "contracts",
            "email",
            "envelope",
            "host",
            "inventory",
            "messaging",
            "order",
            "payment",
            "sandbox",
        ]),
        "bench" => of(&["contracts", "envelope", "messaging", "sandbox", "shop", "testkit"]),
        "chaos" => of(&["envelope", "messaging", "sandbox", "shop", "testkit"]),
        "simulation" => of(&[
            "audit",
            "email",
            "envelope",
            "inventory",
            "messaging",
            "order",
            "payment",
            "sandbox",
            "shop",
            "testkit",
        ]),
        "compose" => of(&["sandbox"]),
        "tests" => of(&[]),
        service if SERVICES.contains(&service) => {
            of(&["chassis", "contracts", "envelope", "feed", "host", "messaging"])
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
    let allowed = [
        "bench/src/raw/",
        "shared/messaging/src/transport/rabbitmq/",
        "shared/sandbox/",
        "shared/testkit/",
        "tests/chaos/",
        // Raw limits are measured without the kit.
        "bench/",
    ];
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

const ROOMS: [&str; 4] = ["domain", "application", "infrastructure", "presentation"];
/// Our crates that a service is built on.
const CRATES: [&str; 6] = ["chassis", "contracts", "envelope", "feed", "host", "messaging"];

/// Within a service: which other rooms and which of our crates each room may name. What is in no room,
/// such as `lib.rs`, may name all.
fn may_name(room: &str) -> &'static [&'static str] {
    match room {
        "domain" => &[],
        "application" => &["domain", "envelope"],
        "infrastructure" => {
            &["application", "domain", "contracts", "envelope", "feed", "messaging"]
        }
        _ => &["application", "domain", "chassis", "contracts", "envelope", "feed", "messaging"],
    }
}

/// What a source file of a service names and may not. `path` is from `src/`.
fn forbidden(path: &str, text: &str) -> Vec<String> {
    let Some((room, _)) = path.split_once('/') else { return Vec::new() };
    let ours = |name: &str| [ROOT].iter().chain(&ROOMS).chain(&CRATES).any(|one| *one == name);
    let mut found: Vec<String> = imports(path, text).into_iter().collect();
    found.retain(|name| ours(name) && name != room && !may_name(room).contains(&name.as_str()));
    found
}

/// The sources of every service: its name, the path from `src/`, the text.
fn service_sources() -> impl Iterator<Item = (&'static str, String, String)> {
    SERVICES.into_iter().flat_map(|service| {
        let src = root().join("services").join(service).join("src");
        sources(&src).into_iter().map(move |(path, text)| (service, path, text))
    })
}

#[test]
fn rooms_of_a_service_import_only_inwards() {
    let wrong: Vec<String> = service_sources()
        .flat_map(|(service, path, text)| {
            let names = forbidden(&path, &text).into_iter();
            names.map(move |name| format!("services/{service}/src/{path} imports {name}"))
        })
        .collect();
    assert!(wrong.is_empty(), "forbidden arrows inside services:\n{}", wrong.join("\n"));
}

#[test]
fn every_forbidden_arrow_is_seen_and_no_other() {
    for room in ROOMS {
        let path = format!("{room}/thing.rs");
        for name in ROOMS {
            let text = format!("use crate::{{{name}::A}};\nfn f(x: super::super::{name}::B) {{}}");
            let allowed = name == room || may_name(room).contains(&name);
            assert_eq!(forbidden(&path, &text).is_empty(), allowed, "{room} -> {name}");
        }
        for name in CRATES {
            let text = format!("use {name};\nfn f(x: {name}::B) {{}}");
            let allowed = may_name(room).contains(&name);
            assert_eq!(forbidden(&path, &text).is_empty(), allowed, "{room} -> {name}");
        }
        assert_eq!(forbidden(&path, "use crate::*;"), [ROOT], "{room} -> all");
    }
    assert_eq!(forbidden("domain/a.rs", "use crate::application;"), ["application"]);
    assert_eq!(forbidden("domain/a.rs", "use envelope::Clock;"), ["envelope"]);
    assert_eq!(forbidden("application/a.rs", "use crate::infrastructure;"), ["infrastructure"]);
    assert_eq!(forbidden("application/a.rs", "use messaging::Tx;"), ["messaging"]);
    assert_eq!(forbidden("infrastructure/a.rs", "use crate::presentation;"), ["presentation"]);
    assert_eq!(forbidden("infrastructure/a.rs", "use chassis::http::Api;"), ["chassis"]);
    assert_eq!(forbidden("presentation/a.rs", "use crate::infrastructure;"), ["infrastructure"]);
    assert!(forbidden("lib.rs", "use crate::infrastructure; use host::Host;").is_empty());
}

/// True when the text names the kit's outbox table: events leave through `messaging::Tx` only.
fn names_the_outbox(text: &str) -> bool {
    let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
    let code = code.collect::<String>().to_lowercase().replace(['"', '\\', ' '], "");
    code.contains("messaging.outbox")
}

#[test]
fn no_service_names_the_table_of_the_outbox() {
    let wrong: Vec<String> = service_sources()
        .filter(|(_, _, text)| names_the_outbox(text))
        .map(|(service, path, _)| format!("services/{service}/src/{path}"))
        .collect();
    assert!(wrong.is_empty(), "the outbox is the kit's: {wrong:?}");
    assert!(names_the_outbox("sqlx::query!(\"insert into Messaging.outbox (id) values ($1)\")"));
    assert!(names_the_outbox(r#"query("delete from \"messaging\" . \"outbox\"")"#));
    assert!(!names_the_outbox("// messaging.outbox\nmessaging.live_instances()"));
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
