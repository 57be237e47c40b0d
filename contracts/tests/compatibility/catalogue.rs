//! The table of events.

use std::collections::BTreeSet;
use std::fs;

use contracts::catalogue::{AUDIT, EVENTS, find};

use crate::artefacts::{file_names, workspace};

const SERVICES: [&str; 5] = ["order", "inventory", "payment", "email", "audit"];

#[test]
fn every_type_stands_in_the_table_once_and_under_its_owner() {
    let types: BTreeSet<&str> = EVENTS.iter().map(|event| event.event_type).collect();
    assert_eq!(types.len(), EVENTS.len());
    let names: BTreeSet<&str> = EVENTS.iter().map(|event| event.name).collect();
    assert_eq!(names.len(), EVENTS.len());
    for event in EVENTS {
        let parts: Vec<&str> = event.event_type.split('.').collect();
        let [owner, what, major] = parts[..] else { panic!("{}", event.event_type) };
        assert_eq!(owner, event.owner);
        assert!(SERVICES.contains(&owner), "{owner}");
        let plain = |c: char| c.is_ascii_lowercase() || c == '_';
        assert!(!what.is_empty() && what.chars().all(plain), "{what}");
        assert!(major.strip_prefix('v').is_some_and(|n| n.parse::<u32>().is_ok_and(|n| n > 0)));
        assert_eq!(event.schema().get("title").unwrap(), event.name);
        assert_eq!(find(event.event_type).unwrap().name, event.name);
    }
    assert!(find("order.vanished.v1").is_none());
}

#[test]
fn every_event_in_the_source_stands_in_the_table() {
    let folder = workspace().join("contracts/src");
    let mut implemented = Vec::new();
    for file in file_names(&folder).unwrap() {
        let text = fs::read_to_string(folder.join(&file)).unwrap();
        let owner = file.trim_end_matches(".rs");
        for line in text.lines().filter_map(|line| line.trim().strip_prefix("impl Event for ")) {
            implemented.push((owner.to_owned(), line.trim_end_matches(" {").to_owned()));
        }
    }
    implemented.sort();
    let mut listed: Vec<(String, String)> =
        EVENTS.iter().map(|event| (event.owner.to_owned(), event.name.to_owned())).collect();
    listed.sort();
    assert_eq!(listed, implemented);
}

#[test]
fn consumers_are_other_services_and_each_is_named_once() {
    for event in EVENTS {
        let readers: Vec<&str> = event.receivers().map(|reader| reader.service).collect();
        let unique: BTreeSet<&str> = readers.iter().copied().collect();
        assert_eq!(unique.len(), readers.len(), "{}", event.event_type);
        assert!(!unique.contains(event.owner), "{} comes back", event.event_type);
        assert!(unique.iter().all(|reader| SERVICES.contains(reader)), "{}", event.event_type);
        assert!(unique.contains(AUDIT.service));
    }
}

#[test]
fn a_reader_of_products_sees_every_type_that_counts_a_products_versions() {
    let products: Vec<_> =
        EVENTS.iter().filter(|event| event.subject.starts_with("product/")).collect();
    assert_eq!(products.len(), 4);
    for event in products {
        assert!(event.receivers().any(|reader| reader.service == "order"), "{}", event.event_type);
    }
}

#[test]
fn the_field_that_fills_the_subject_is_a_required_one() {
    for event in EVENTS {
        let (kind, field) = event.subject.split_once('/').unwrap();
        let field = field.trim_start_matches('{').trim_end_matches('}');
        assert!(!kind.is_empty());
        let required = event.schema().get("required").unwrap().clone();
        assert!(required.as_array().unwrap().iter().any(|name| name == field), "{field}");
    }
}

#[test]
fn every_field_and_every_event_is_documented() {
    fn check(at: &str, schema: &serde_json::Value) {
        let described = |schema: &serde_json::Value| {
            schema["description"].as_str().is_some_and(|d| !d.is_empty())
        };
        assert!(described(schema), "{at}");
        for (name, field) in schema["properties"].as_object().into_iter().flatten() {
            assert!(described(field), "{at}: {name}");
        }
        for (name, shared) in schema["$defs"].as_object().into_iter().flatten() {
            check(name, shared);
        }
    }
    for event in EVENTS {
        check(event.event_type, &event.schema().to_value());
    }
}
