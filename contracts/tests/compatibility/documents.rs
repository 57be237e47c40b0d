//! `docs/asyncapi.yaml` and `docs/events.md`.

use std::collections::BTreeSet;
use std::fs;

use contracts::catalogue::EVENTS;
use serde_json::Value;

use crate::artefacts::{asyncapi, workspace};

fn document(name: &str) -> String {
    fs::read_to_string(workspace().join("docs").join(name)).unwrap()
}

fn parsed() -> Value {
    serde_saphyr::from_str(&document("asyncapi.yaml")).unwrap()
}

#[test]
fn the_yaml_reads_back_as_what_was_written() {
    assert_eq!(parsed(), asyncapi::tree().unwrap());
}

#[test]
fn every_reference_of_the_yaml_leads_somewhere() {
    fn collect(value: &Value, into: &mut BTreeSet<String>) {
        match value {
            Value::Object(map) => {
                into.extend(map.get("$ref").and_then(Value::as_str).map(str::to_owned));
                map.values().for_each(|inner| collect(inner, into));
            }
            Value::Array(items) => items.iter().for_each(|inner| collect(inner, into)),
            _ => {}
        }
    }
    let (tree, mut targets) = (parsed(), BTreeSet::new());
    collect(&tree, &mut targets);
    assert!(targets.len() > EVENTS.len());
    for target in targets {
        let pointer = target.strip_prefix('#').unwrap_or_else(|| panic!("{target} leads outside"));
        assert!(tree.pointer(pointer).is_some(), "{target}");
    }
}

#[test]
fn operations_name_messages_of_their_own_channel() {
    for (name, operation) in parsed()["operations"].as_object().unwrap() {
        let channel = operation["channel"]["$ref"].as_str().unwrap();
        let messages = operation["messages"].as_array().unwrap();
        assert!(!messages.is_empty(), "{name}");
        for message in messages {
            let target = message["$ref"].as_str().unwrap();
            assert!(target.starts_with(&format!("{channel}/messages/")), "{name}: {target}");
        }
    }
}

#[test]
fn owners_send_and_every_receiver_has_the_message_in_its_queue() {
    let tree = parsed();
    for event in EVENTS {
        let send = &tree["operations"][format!("{}.sends.{}", event.owner, event.name)];
        assert_eq!(send["action"], "send");
        assert_eq!(send["channel"]["$ref"], format!("#/channels/{}", event.event_type));
        let channel = &tree["channels"][event.event_type];
        assert_eq!(channel["bindings"]["amqp"]["exchange"]["name"], "events");
        for reader in event.receivers() {
            let receive = &tree["operations"][format!("{}.receives", reader.service)];
            assert_eq!(receive["action"], "receive");
            let queue = format!("{}.in", reader.service);
            let message = format!("#/channels/{queue}/messages/{}", event.name);
            let received = receive["messages"].as_array().unwrap();
            assert!(received.iter().any(|one| one["$ref"] == message), "{message}");
            assert_eq!(tree["channels"][&queue]["bindings"]["amqp"]["queue"]["name"], queue);
        }
    }
}

#[test]
fn the_page_of_events_has_a_section_for_each_and_no_dead_link() {
    let page = document("events.md");
    let anchor = |heading: &str| heading.replace(['`', '.'], "").to_lowercase();
    let anchors: BTreeSet<String> = page
        .lines()
        .filter_map(|line| line.strip_prefix("## ").or_else(|| line.strip_prefix("### ")))
        .map(anchor)
        .collect();
    for event in EVENTS {
        assert!(anchors.contains(&anchor(event.event_type)), "{}", event.event_type);
    }
    let links: Vec<&str> =
        page.split("](").skip(1).filter_map(|rest| rest.split(')').next()).collect();
    assert!(links.len() > 2 * EVENTS.len());
    for link in links {
        match link.strip_prefix('#') {
            Some(target) => assert!(anchors.contains(target), "{link}"),
            None => assert!(workspace().join("docs").join(link).exists(), "{link}"),
        }
    }
}
