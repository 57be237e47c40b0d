//! JSON values in an order made for reading, whatever order the map type of this build keeps.

use std::error::Error;

use serde::Serialize;
use serde::ser::{SerializeMap as _, Serializer};
use serde_json::{Map, Value};

/// Well-known keys in the order in which they read best; the others follow by name.
const FIRST: &[&str] = &[
    "asyncapi",
    "$schema",
    "$id",
    "specversion",
    "id",
    "source",
    "name",
    "title",
    "summary",
    "action",
    "address",
    "is",
    "version",
    "description",
    "type",
    "subject",
    "time",
    "const",
    "enum",
    "format",
    "pattern",
    "minimum",
    "maximum",
    "items",
    "properties",
    "required",
    "oneOf",
    "anyOf",
    "allOf",
    "info",
    "defaultContentType",
    "servers",
    "channels",
    "operations",
    "channel",
    "contentType",
    "headers",
    "correlationId",
    "payload",
    "messages",
    "bindings",
    "components",
    "$defs",
    "datacontenttype",
    "dataschema",
    "aggversion",
    "partitionkey",
    "correlationid",
    "causationid",
    "traceparent",
    "tracestate",
    "data",
];

/// Serialises a value with its keys in reading order, and the fields of a schema in the order of
/// its `required` list, which is that of the Rust type.
pub(crate) struct Ordered<'a> {
    value: &'a Value,
    /// Names that go first.
    first: Vec<&'a str>,
}

/// `value` as indented JSON text.
///
/// # Errors
/// None that a value could cause.
pub(crate) fn to_json(value: &Value) -> Result<String, Box<dyn Error>> {
    Ok(serde_json::to_string_pretty(&Ordered::of(value))? + "\n")
}

impl<'a> Ordered<'a> {
    /// `value`, whose own keys are keywords.
    pub(crate) fn of(value: &'a Value) -> Self {
        Self { value, first: FIRST.to_vec() }
    }

    fn child(map: &'a Map<String, Value>, key: &str, value: &'a Value) -> Self {
        if key == "properties" { Self { value, first: field_order(map) } } else { Self::of(value) }
    }
}

/// The names of a schema's fields: the required ones as the type has them, then the others by name.
pub(crate) fn field_order(schema: &Map<String, Value>) -> Vec<&str> {
    let required = schema.get("required").and_then(Value::as_array);
    let mut order: Vec<&str> = required.into_iter().flatten().filter_map(Value::as_str).collect();
    let fields = schema.get("properties").and_then(Value::as_object);
    let mut others: Vec<&str> =
        fields.into_iter().flat_map(Map::keys).map(String::as_str).collect();
    others.retain(|name| !order.contains(name));
    others.sort_unstable();
    order.extend(others);
    order
}

impl Serialize for Ordered<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self.value {
            Value::Object(map) => {
                let rank = |key: &str| self.first.iter().position(|first| *first == key);
                let mut keys: Vec<&String> = map.keys().collect();
                keys.sort_by_key(|key| (rank(key).unwrap_or(usize::MAX), key.as_str()));
                let mut out = to.serialize_map(Some(keys.len()))?;
                for key in keys {
                    out.serialize_entry(key, &Self::child(map, key, &map[key.as_str()]))?;
                }
                out.end()
            }
            Value::Array(items) => to.collect_seq(items.iter().map(Self::of)),
            plain => plain.serialize(to),
        }
    }
}
