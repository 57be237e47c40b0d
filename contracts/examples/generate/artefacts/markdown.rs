//! `docs/events.md`: the events for people.

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt::{self, Write as _};

use contracts::catalogue::{AUDIT, Consumer, EVENTS, EventInfo};
use serde_json::{Map, Value};

use super::ordered::field_order;
use super::{golden, schemas};

const HEAD: &str = "\
# Events

<!-- Generated from contracts/src by `cargo run -p contracts --example generate`; edits are lost. -->

Every integration event of the system, in the order of an order's way through it. Each has one owner, which
alone publishes it. An event is delivered **at least once**, in any order across subjects, and may come again
months later from a replay; events of one subject leave in the order of `aggversion`. A consumer therefore
decides from its stored state. Readers ignore fields that they do not know.

The body is a CloudEvents 1.0 envelope (structured mode, `application/cloudevents+json`, at most 64 KiB) whose
`data` is described here; envelope, headers and topology stand in [asyncapi.yaml](asyncapi.yaml). Ids are UUIDs,
times RFC 3339 in UTC, money whole minor units with its currency. How events change:
[contracts/README.md](../contracts/README.md).
";

/// The document.
///
/// # Errors
/// None that an event could cause.
pub(crate) fn document() -> Result<String, Box<dyn Error>> {
    let samples = golden::samples()?;
    let mut shared = BTreeMap::new();
    let mut out = format!("{HEAD}\n");
    table(&mut out)?;
    for event in EVENTS {
        let schema = schemas::schema(event);
        section(&mut out, event, &schema)?;
        if let Some(sample) = samples.iter().find(|sample| sample.event_type == event.event_type) {
            let text = &sample.text;
            write!(
                out,
                "\n<details><summary>Sample</summary>\n\n```json\n{text}```\n\n</details>\n"
            )?;
        }
        if let Some(Value::Object(definitions)) = schema.get("$defs") {
            shared.extend(definitions.clone());
        }
    }
    writeln!(out, "\n## Shared types")?;
    for (name, schema) in &shared {
        definition(&mut out, name, schema)?;
    }
    Ok(out)
}

fn table(out: &mut String) -> fmt::Result {
    writeln!(out, "| event | published by | consumed by, and what for | subject |")?;
    writeln!(out, "|---|---|---|---|")?;
    for EventInfo { event_type, owner, consumers, subject, .. } in EVENTS {
        let anchor = event_type.replace('.', "");
        let readers = match list(consumers) {
            none if none.is_empty() => "audit only".to_owned(),
            readers => readers,
        };
        writeln!(out, "| [`{event_type}`](#{anchor}) | {owner} | {readers} | `{subject}` |")?;
    }
    writeln!(out, "\n`audit` receives every event, to {}.", AUDIT.purpose)
}

fn list(consumers: &[Consumer]) -> String {
    let each = consumers.iter().map(|one| format!("{}: {}", one.service, one.purpose));
    each.collect::<Vec<_>>().join("; ")
}

fn section(out: &mut String, event: &EventInfo, schema: &Value) -> fmt::Result {
    let EventInfo { event_type, owner, name, minor, subject, consumers, .. } = event;
    let file = schemas::file_name(event, *minor);
    let readers = list(&[consumers, [AUDIT].as_slice()].concat());
    writeln!(out, "\n## `{event_type}`\n\n{}\n", words(schema))?;
    writeln!(out, "- Published by: {owner}\n- Consumed by: {readers}\n- Subject: `{subject}`")?;
    writeln!(out, "- Rust type: `contracts::{owner}::{name}`, minor version {minor}")?;
    writeln!(out, "- Schema: [{file}](../contracts/schemas/{file})\n")?;
    fields(out, schema)
}

fn definition(out: &mut String, name: &str, schema: &Value) -> fmt::Result {
    writeln!(out, "\n### {name}\n\n{}\n", words(schema))?;
    if let Some(Value::Array(choices)) = schema.get("oneOf") {
        writeln!(out, "| value | meaning |\n|---|---|")?;
        for choice in choices {
            let value = choice.get("const").and_then(Value::as_str).unwrap_or_default();
            writeln!(out, "| `{value}` | {} |", words(choice).replace('\n', " "))?;
        }
        return Ok(());
    }
    if schema.get("properties").is_some() {
        return fields(out, schema);
    }
    writeln!(out, "On the wire: {}.", type_of(schema))
}

fn fields(out: &mut String, schema: &Value) -> fmt::Result {
    let none = Map::new();
    let schema = schema.as_object().unwrap_or(&none);
    let required = schema.get("required").and_then(Value::as_array);
    writeln!(out, "| field | type | meaning |\n|---|---|---|")?;
    for name in field_order(schema) {
        let field = &schema["properties"][name];
        let must = required.is_some_and(|names| names.iter().any(|one| one == name));
        let optional = if must { "" } else { ", optional" };
        let meaning = words(field).replace('\n', " ");
        writeln!(out, "| `{name}` | {}{optional} | {meaning} |", type_of(field))?;
    }
    Ok(())
}

/// What the Rust type's documentation says.
pub(crate) fn words(schema: &Value) -> &str {
    schema.get("description").and_then(Value::as_str).unwrap_or_default()
}

/// Its first paragraph, on one line.
pub(crate) fn summary(schema: &Value) -> String {
    words(schema).split("\n\n").next().unwrap_or_default().replace('\n', " ")
}

fn type_of(schema: &Value) -> String {
    let text = |keyword: &str| schema.get(keyword).and_then(Value::as_str).unwrap_or_default();
    if let Some(name) = text("$ref").strip_prefix("#/$defs/") {
        return format!("[{name}](#{})", name.to_lowercase());
    }
    if let Some(Value::Array(choices)) = schema.get("anyOf").or_else(|| schema.get("oneOf")) {
        return choices.iter().map(type_of).collect::<Vec<_>>().join(" or ");
    }
    match schema.get("type") {
        Some(Value::Array(many)) => {
            let single = |one: &Value| {
                let mut schema = schema.clone();
                schema["type"] = one.clone();
                type_of(&schema)
            };
            many.iter().map(single).collect::<Vec<_>>().join(" or ")
        }
        Some(Value::String(one)) => match (one.as_str(), text("format")) {
            ("array", _) => format!("list of {}", type_of(&schema["items"])),
            ("string", "uuid") => "UUID".to_owned(),
            ("string", "date-time") => "time".to_owned(),
            ("string", _) if schema.get("pattern").is_some() => {
                format!("text matching `{}`", text("pattern"))
            }
            ("string", _) => "text".to_owned(),
            (plain, "") => plain.to_owned(),
            (plain, format) => format!("{plain} ({format})"),
        },
        _ => "any".to_owned(),
    }
}
