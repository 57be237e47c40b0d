//! What may change within a major version of an event: nothing but one more optional field.
//!
//! Producers and consumers are deployed apart and old messages are replayed, so today's reader must
//! read all that older producers wrote, and older readers must read what today's producer writes.
//! [`breaks`] judges two schemas by that. What loosens the promise (a field that need not be there
//! any longer, a wider range, one more enum value) breaks readers that relied on it, and counts as
//! much as what tightens it. Titles, descriptions and examples are free.

use std::collections::BTreeSet;
use std::fmt;

use serde_json::{Map, Value};

/// A difference between two schemas that some reader would not survive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Break {
    /// Where: field names from the root, `[]` for the items of a list, empty for the root.
    pub at: String,
    /// What changed there.
    pub change: Change,
}

/// The kinds of breaking change. A renamed field is one removed and, where it is required, one
/// newly required.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// The field is gone.
    Removed,
    /// Messages of older producers do not hold the field.
    NewlyRequired,
    /// Older readers rely on the field.
    NoLongerRequired,
    /// The field has another JSON type.
    Retyped,
    /// Older messages hold this value, and today's reader refuses it.
    ValueRemoved(String),
    /// Older readers refuse this value.
    ValueAdded(String),
    /// The constraint of this keyword is new or narrower.
    Tightened(String),
    /// The constraint of this keyword is gone or wider.
    Loosened(String),
    /// The constraint of this keyword is another one.
    Altered(String),
}

impl fmt::Display for Break {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = if self.at.is_empty() { "the event" } else { &self.at };
        match &self.change {
            Change::Removed => write!(f, "{at} is removed"),
            Change::NewlyRequired => write!(f, "{at} is newly required"),
            Change::NoLongerRequired => write!(f, "{at} is no longer required"),
            Change::Retyped => write!(f, "{at} has another type"),
            Change::ValueRemoved(value) => write!(f, "{at} no longer takes the value {value}"),
            Change::ValueAdded(value) => write!(f, "{at} takes the new value {value}"),
            Change::Tightened(keyword) => write!(f, "{at} is tightened by `{keyword}`"),
            Change::Loosened(keyword) => write!(f, "{at} is loosened by `{keyword}`"),
            Change::Altered(keyword) => write!(f, "{at} has another `{keyword}`"),
        }
    }
}

/// Everything in `new` that breaks what `old`, an earlier JSON Schema of the same major version,
/// promised. Empty for schemas that differ in nothing but optional fields added by `new`; empty
/// both ways round for schemas that differ in words only.
pub fn breaks(old: &Value, new: &Value) -> Vec<Break> {
    let mut walk = Walk { old, new, open: Vec::new(), found: Vec::new() };
    walk.schema("", old, new);
    walk.found
}

/// Keywords that say nothing about which values are valid.
const ANNOTATIONS: &[&str] = &[
    "$comment",
    "$defs",
    "$id",
    "$ref",
    "$schema",
    "deprecated",
    "description",
    "examples",
    "title",
];
/// Keywords compared by a method of their own.
const STRUCTURE: &[&str] = &["properties", "required"];
/// Keywords that together name a type or the values of an enum.
const VALUES: &[&str] = &["anyOf", "const", "enum", "oneOf", "type"];
/// Keywords that hold one schema.
const ONE_SCHEMA: &[&str] =
    &["additionalProperties", "contains", "items", "not", "propertyNames", "unevaluatedProperties"];
/// Keywords that hold a list of schemas.
const MANY_SCHEMAS: &[&str] = &["allOf", "anyOf", "oneOf", "prefixItems"];
/// Bounds that are tighter when greater.
const LOWER: &[&str] =
    &["exclusiveMinimum", "minContains", "minItems", "minLength", "minProperties", "minimum"];
/// Bounds that are tighter when less.
const UPPER: &[&str] =
    &["exclusiveMaximum", "maxContains", "maxItems", "maxLength", "maxProperties", "maximum"];

struct Walk<'a> {
    old: &'a Value,
    new: &'a Value,
    /// The pairs of references being followed: a recursive type is walked once.
    open: Vec<(String, String)>,
    found: Vec<Break>,
}

impl Walk<'_> {
    fn report(&mut self, at: &str, change: Change) {
        self.found.push(Break { at: at.to_owned(), change });
    }

    fn schema(&mut self, at: &str, old: &Value, new: &Value) {
        let pair = (reference(old), reference(new));
        if !pair.0.is_empty() && self.open.contains(&pair) {
            return;
        }
        self.open.push(pair);
        let (old, new) = (resolve(self.old, old), resolve(self.new, new));
        self.properties(at, &old, &new);
        let enumerated = self.values(at, &old, &new);
        let keywords: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
        for keyword in keywords {
            let name = keyword.as_str();
            let skip = ANNOTATIONS.contains(&name)
                || STRUCTURE.contains(&name)
                || (enumerated && VALUES.contains(&name));
            if !skip {
                self.keyword(at, name, old.get(name), new.get(name));
            }
        }
        self.open.pop();
    }

    fn properties(&mut self, at: &str, old: &Map<String, Value>, new: &Map<String, Value>) {
        let (old_fields, new_fields) = (object(old, "properties"), object(new, "properties"));
        let (old_required, new_required) = (names(old), names(new));
        for (name, was) in old_fields {
            let field = format!("{at}/{name}");
            let Some(is) = new_fields.get(name) else {
                self.report(&field, Change::Removed);
                continue;
            };
            if old_required.contains(name) && !new_required.contains(name) {
                self.report(&field, Change::NoLongerRequired);
            }
            self.schema(&field, was, is);
        }
        for name in new_required.difference(&old_required) {
            self.report(&format!("{at}/{name}"), Change::NewlyRequired);
        }
    }

    /// Compares enums, in whichever of its spellings each is; false when neither is one.
    fn values(&mut self, at: &str, old: &Map<String, Value>, new: &Map<String, Value>) -> bool {
        match (values_of(old), values_of(new)) {
            (None, None) => return false,
            (None, Some(_)) if old.get("type") == new.get("type") => {
                self.report(at, Change::Tightened("enum".into()));
            }
            (Some(_), None) if old.get("type") == new.get("type") => {
                self.report(at, Change::Loosened("enum".into()));
            }
            (None, Some(_)) | (Some(_), None) => self.report(at, Change::Retyped),
            (Some(was), Some(is)) => {
                for gone in was.difference(&is) {
                    self.report(at, Change::ValueRemoved(gone.clone()));
                }
                for added in is.difference(&was) {
                    self.report(at, Change::ValueAdded(added.clone()));
                }
            }
        }
        true
    }

    fn keyword(&mut self, at: &str, name: &str, old: Option<&Value>, new: Option<&Value>) {
        let (old, new) =
            (old.filter(|v| !is_default(name, v)), new.filter(|v| !is_default(name, v)));
        match (old, new) {
            (None, None) => {}
            (Some(was), Some(is)) if was == is && !is.is_object() && !is.is_array() => {}
            (Some(was), Some(is)) if name == "type" => {
                if types(was) != types(is) {
                    self.report(at, Change::Retyped);
                }
            }
            (Some(was), Some(is)) if ONE_SCHEMA.contains(&name) => {
                let inner = if name == "items" { "[]".into() } else { format!("/<{name}>") };
                self.schema(&format!("{at}{inner}"), was, is);
            }
            (Some(Value::Array(was)), Some(Value::Array(is)))
                if MANY_SCHEMAS.contains(&name) && was.len() == is.len() =>
            {
                for (index, (was, is)) in was.iter().zip(is).enumerate() {
                    self.schema(&format!("{at}/<{name} {index}>"), was, is);
                }
            }
            (Some(was), Some(is)) if was == is => {}
            (was, is) => self.report(at, classify(name, was, is)),
        }
    }
}

fn classify(name: &str, old: Option<&Value>, new: Option<&Value>) -> Change {
    let keyword = name.to_owned();
    match (old, new) {
        (None, _) => Change::Tightened(keyword),
        (_, None) => Change::Loosened(keyword),
        (Some(was), Some(is)) => match (was.as_f64(), is.as_f64()) {
            (Some(was), Some(is)) if LOWER.contains(&name) && is > was => {
                Change::Tightened(keyword)
            }
            (Some(was), Some(is)) if UPPER.contains(&name) && is < was => {
                Change::Tightened(keyword)
            }
            (Some(_), Some(_)) if LOWER.contains(&name) || UPPER.contains(&name) => {
                Change::Loosened(keyword)
            }
            _ => Change::Altered(keyword),
        },
    }
}

/// Whether `keyword: value` says the same as leaving it out.
fn is_default(keyword: &str, value: &Value) -> bool {
    match keyword {
        "additionalProperties" | "unevaluatedProperties" | "items" => *value == Value::Bool(true),
        "uniqueItems" => *value == Value::Bool(false),
        _ => false,
    }
}

fn reference(schema: &Value) -> String {
    schema.get("$ref").and_then(Value::as_str).unwrap_or_default().to_owned()
}

/// The schema with what it refers to; its own keywords go before those of the target.
fn resolve(root: &Value, schema: &Value) -> Map<String, Value> {
    let mut merged = match schema {
        Value::Object(map) => map.clone(),
        Value::Bool(false) => Map::from_iter([("not".to_owned(), Value::Object(Map::new()))]),
        _ => Map::new(),
    };
    let mut followed = BTreeSet::new();
    while let Some(Value::String(target)) = merged.remove("$ref") {
        let found = target.strip_prefix('#').and_then(|pointer| root.pointer(pointer));
        if let (true, Some(Value::Object(map))) = (followed.insert(target), found) {
            for (keyword, value) in map {
                merged.entry(keyword).or_insert_with(|| value.clone());
            }
        }
    }
    merged
}

fn object<'a>(schema: &'a Map<String, Value>, keyword: &str) -> &'a Map<String, Value> {
    static NONE: std::sync::LazyLock<Map<String, Value>> = std::sync::LazyLock::new(Map::new);
    schema.get(keyword).and_then(Value::as_object).unwrap_or(&NONE)
}

fn names(schema: &Map<String, Value>) -> BTreeSet<String> {
    types(schema.get("required").unwrap_or(&Value::Null))
}

/// A string, or a list of strings, as a set.
fn types(value: &Value) -> BTreeSet<String> {
    match value {
        Value::String(one) => BTreeSet::from([one.clone()]),
        Value::Array(many) => many.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        _ => BTreeSet::new(),
    }
}

/// The values of an enum as JSON text, whether spelt `enum`, `const` or a choice of these.
fn values_of(schema: &Map<String, Value>) -> Option<BTreeSet<String>> {
    if let Some(one) = schema.get("const") {
        return Some(BTreeSet::from([one.to_string()]));
    }
    if let Some(Value::Array(many)) = schema.get("enum") {
        return Some(many.iter().map(Value::to_string).collect());
    }
    let choices = schema.get("oneOf").or_else(|| schema.get("anyOf"))?.as_array()?;
    let each: Option<Vec<_>> = choices.iter().map(|one| values_of(one.as_object()?)).collect();
    Some(each?.into_iter().flatten().collect())
}
