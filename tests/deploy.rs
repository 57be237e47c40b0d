//! What the compose file promises, without an engine: nothing but 127.0.0.1 is published, on the ports
//! of `shop up`; nothing needs a variable; every container is bounded and without rights; the image is
//! built with our toolchain.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::path::Path;

use clap::Parser;
use serde_json::Value;
use shop::ports::Ports;

/// Containers that do their work and end, or are run by hand.
const ONE_SHOTS: [&str; 3] = ["migrate", "shop", "load"];

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    ports: Ports,
}

fn read(path: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    std::fs::read_to_string(root.join(path)).unwrap()
}

fn services() -> BTreeMap<String, Value> {
    let mut file: Value = serde_saphyr::from_str(&read("docker-compose.yml")).unwrap();
    serde_json::from_value(file["services"].take()).unwrap()
}

#[test]
fn only_loopback_is_published_and_on_the_ports_of_shop_up() {
    let known: BTreeMap<&str, u16> = Cli::parse_from(["shop"]).ports.all().into_iter().collect();
    let mut published = BTreeMap::new();
    for (name, service) in services() {
        for port in service["ports"].as_array().into_iter().flatten() {
            let text = port.as_str().unwrap();
            let rest = text.strip_prefix("127.0.0.1:${");
            let rest = rest.unwrap_or_else(|| panic!("{name} publishes {text}"));
            let (variable, rest) = rest.split_once(":-").unwrap();
            let (default, _) = rest.split_once("}:").unwrap();
            published.insert(variable.to_owned(), default.parse::<u16>().unwrap());
        }
    }
    for (variable, port) in &known {
        assert_eq!(published.get(*variable), Some(port), "{variable}");
    }
    let further: Vec<_> = published.keys().filter(|v| !known.contains_key(v.as_str())).collect();
    assert_eq!(further, ["GRAFANA_PORT", "PROMETHEUS_PORT"]);
}

#[test]
fn no_variable_is_needed() {
    for file in ["docker-compose.yml", "deploy/compose.replicas.yml"] {
        let text = read(file);
        for (at, _) in text.match_indices("${") {
            let variable = &text[at..text.len().min(at + 60)];
            // In comments the form is explained.
            let name = variable.trim_start_matches("${").split([':', '}']).next().unwrap();
            let has_default = variable[2 + name.len()..].starts_with(":-");
            assert!(has_default, "{file}: {variable}");
        }
    }
}

#[test]
fn every_container_is_bounded_and_without_rights() {
    for (name, service) in services() {
        assert_eq!(service["read_only"], true, "{name}");
        assert_eq!(service["cap_drop"][0], "ALL", "{name}");
        assert_eq!(service["security_opt"][0], "no-new-privileges:true", "{name}");
        assert!(service["mem_limit"].is_string(), "{name}: memory");
        assert_eq!(service["logging"]["options"]["max-size"], "10m", "{name}");
        let image = service["image"].as_str().unwrap();
        // Nobody's registry may answer for an image that is made here.
        let is_ours = image.contains("SHOP_IMAGE");
        assert_eq!(is_ours, service["pull_policy"] == "never", "{name}: pulled");
        // Ours says itself who it runs as.
        assert!(service["user"].is_string() || is_ours, "{name}: user");
        let one_shot = ONE_SHOTS.contains(&name.as_str());
        assert!(one_shot || service["healthcheck"]["test"].is_array(), "{name}: health");
    }
}

#[test]
fn the_image_is_built_with_our_toolchain() {
    let toolchain = read("rust-toolchain.toml");
    let channel = toolchain.lines().find_map(|line| line.strip_prefix("channel = ")).unwrap();
    let channel = channel.trim_matches('"');
    let dockerfile = read("deploy/Dockerfile");
    assert!(dockerfile.contains(&format!("ARG RUST_VERSION={channel}\n")));
    let (minor, _) = channel.rsplit_once('.').unwrap();
    assert!(dockerfile.contains(&format!("FROM rust:{minor}-bookworm ")));
}

#[test]
fn every_alert_has_its_section_in_the_runbooks() {
    let rules: Value =
        serde_saphyr::from_str(&read("deploy/observability/prometheus/alerts.yml")).unwrap();
    let sections: Vec<String> = read("docs/runbooks.md")
        .lines()
        .filter_map(|line| line.strip_prefix("### "))
        .map(str::to_lowercase)
        .collect();
    let mut alerts = 0;
    for rule in
        rules["groups"].as_array().unwrap().iter().flat_map(|g| g["rules"].as_array().unwrap())
    {
        let Some(alert) = rule["alert"].as_str() else { continue };
        let runbook = rule["annotations"]["runbook"].as_str().unwrap();
        assert_eq!(runbook, format!("docs/runbooks.md#{}", alert.to_lowercase()));
        assert!(sections.contains(&alert.to_lowercase()), "{alert} has no section");
        alerts += 1;
    }
    assert_eq!(alerts, sections.len(), "a section of the runbooks is of no alert");
}

#[test]
fn every_dashboard_can_be_read_and_asks_something() {
    for name in ["orders", "messaging", "outbox", "broker"] {
        let text = read(&format!("deploy/observability/grafana/dashboards/{name}.json"));
        let dashboard: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(dashboard["uid"], format!("tidings-{name}"));
        let panels = dashboard["panels"].as_array().unwrap();
        let targets = panels.iter().filter_map(|panel| panel["targets"].as_array()).flatten();
        let asked = targets.filter(|target| target["expr"].as_str().is_some_and(|e| !e.is_empty()));
        assert!(asked.count() > 5, "{name} asks nothing");
    }
}
