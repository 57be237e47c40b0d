//! `contracts/schemas/<type>.<minor>.json`: JSON Schema 2020-12 of an event's `data`.

use std::error::Error;

use contracts::catalogue::{EVENTS, EventInfo};
use envelope::Identity;
use serde_json::Value;

use super::ordered;

/// The system that the committed artefacts are written for.
pub(crate) const NAMESPACE: &str = "shop";

/// Every event's file name and text, as today's types have them.
///
/// # Errors
/// None that an event could cause.
pub(crate) fn files() -> Result<Vec<(String, String)>, Box<dyn Error>> {
    let file = |event| Ok((file_name(event, event.minor), ordered::to_json(&schema(event))?));
    EVENTS.iter().map(file).collect()
}

/// The event's schema with the id that envelopes name as their `dataschema`.
pub(crate) fn schema(event: &EventInfo) -> Value {
    let mut schema = event.schema().to_value();
    let id = Identity::new(NAMESPACE, "", event.owner).schema(event.event_type, event.minor);
    schema["$id"] = id.into();
    schema
}

/// The name of the schema file of one minor version.
pub(crate) fn file_name(event: &EventInfo, minor: u32) -> String {
    format!("{}.{minor}.json", event.event_type)
}

/// The event and the minor version that a schema's or a sample's file name tells of.
pub(crate) fn version_of(name: &str) -> Option<(&'static EventInfo, u32)> {
    EVENTS.iter().find_map(|event| {
        let rest = name.strip_prefix(event.event_type)?.strip_prefix('.')?;
        let (minor, _) = rest
            .strip_suffix(".json")?
            .split_once('.')
            .unwrap_or((rest.strip_suffix(".json")?, ""));
        Some((event, minor.parse().ok()?))
    })
}
