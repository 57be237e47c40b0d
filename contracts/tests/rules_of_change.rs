//! Which changes of a schema break a reader, change by change.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use contracts::compatibility::{Break, Change, breaks};
use serde_json::{Value, json};

/// The schema that every change below starts from.
fn base() -> Value {
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "LampLit",
        "description": "A lamp was lit.",
        "type": "object",
        "properties": {
            "lamp_id": {"type": "string", "format": "uuid", "description": "The lamp."},
            "watts": {"type": "integer", "format": "int64", "minimum": 1, "maximum": 100},
            "label": {"type": "string", "minLength": 1, "maxLength": 20, "pattern": "^[a-z]+$"},
            "note": {"type": ["string", "null"]},
            "reason": {"$ref": "#/$defs/Reason", "description": "Why."},
            "price": {"$ref": "#/$defs/Money"},
            "parts": {"type": "array", "items": {"$ref": "#/$defs/Part"}, "maxItems": 5},
            "spare": {"anyOf": [{"$ref": "#/$defs/Part"}, {"type": "null"}]}
        },
        "required": ["lamp_id", "watts", "label", "reason", "price", "parts"],
        "$defs": {
            "Reason": {"oneOf": [
                {"type": "string", "const": "dark", "description": "It was dark."},
                {"type": "string", "const": "fun"}
            ]},
            "Money": {"type": "object", "required": ["amount"], "properties": {
                "amount": {"type": "integer"}
            }},
            "Part": {"type": "object", "required": ["name"], "properties": {
                "name": {"type": "string"},
                "of": {"$ref": "#/$defs/Part"}
            }}
        }
    })
}

/// The base with one value set (made where it is missing), or taken out for `null`.
fn changed(pointer: &str, to: Value) -> Value {
    let mut schema = base();
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    let parent = schema.pointer_mut(parent).unwrap_or_else(|| panic!("{pointer}"));
    let parent = parent.as_object_mut().unwrap();
    if to.is_null() {
        parent.remove(key).unwrap_or_else(|| panic!("{pointer}"));
    } else {
        parent.insert(key.to_owned(), to);
    }
    schema
}

/// A required list without `gone` and with `added`.
fn required(gone: &str, added: Option<&str>) -> Value {
    let all = ["lamp_id", "watts", "label", "reason", "price", "parts"];
    json!(all.into_iter().filter(|name| *name != gone).chain(added).collect::<Vec<_>>())
}

/// What is found after the base was changed.
fn found(pointer: &str, to: Value) -> Vec<String> {
    breaks(&base(), &changed(pointer, to)).iter().map(ToString::to_string).collect()
}

#[test]
fn a_field_removed_retyped_or_otherwise_required_is_found() {
    let nullable = json!(["integer", "null"]);
    for (pointer, to, expected) in [
        ("/properties/note", Value::Null, "/note is removed"),
        ("/properties/watts/type", json!("string"), "/watts has another type"),
        ("/properties/watts/type", nullable, "/watts has another type"),
        ("/properties/note/type", json!("string"), "/note has another type"),
        ("/properties/reason", json!({"type": "integer"}), "/reason has another type"),
        ("/required", required("", Some("note")), "/note is newly required"),
        ("/required", required("label", None), "/label is no longer required"),
        ("/$defs/Money/required", json!([]), "/price/amount is no longer required"),
    ] {
        assert_eq!(found(pointer, to.clone()), [expected], "{pointer} := {to}");
    }
}

#[test]
fn a_value_added_to_an_enum_or_taken_from_it_is_found() {
    let reason = "/$defs/Reason/oneOf";
    let more = json!([{"const": "dark"}, {"const": "fun"}, {"const": "fog"}]);
    assert_eq!(found(reason, more), ["/reason takes the new value \"fog\""]);
    let fewer = json!([{"const": "dark"}]);
    assert_eq!(found(reason, fewer), ["/reason no longer takes the value \"fun\""]);
    let label = found("/properties/label/enum", json!(["a"]));
    assert_eq!(label, ["/label is tightened by `enum`"]);
    let open = found("/$defs/Reason", json!({"type": "string"}));
    assert_eq!(open, ["/reason has another type"]);
}

#[test]
fn a_constraint_added_dropped_or_moved_is_found() {
    let part = json!([{"$ref": "#/$defs/Part"}]);
    for (pointer, to, expected) in [
        ("watts/minimum", json!(2), "/watts is tightened by `minimum`"),
        ("watts/minimum", json!(0), "/watts is loosened by `minimum`"),
        ("watts/maximum", json!(99), "/watts is tightened by `maximum`"),
        ("watts/maximum", Value::Null, "/watts is loosened by `maximum`"),
        ("watts/multipleOf", json!(5), "/watts is tightened by `multipleOf`"),
        ("watts/format", json!("int32"), "/watts has another `format`"),
        ("watts/default", json!(7), "/watts is tightened by `default`"),
        ("lamp_id/format", json!("date-time"), "/lamp_id has another `format`"),
        ("lamp_id/format", Value::Null, "/lamp_id is loosened by `format`"),
        ("label/pattern", json!("^[a-f]+$"), "/label has another `pattern`"),
        ("label/maxLength", json!(10), "/label is tightened by `maxLength`"),
        ("note/pattern", json!("^x"), "/note is tightened by `pattern`"),
        ("parts/maxItems", json!(4), "/parts is tightened by `maxItems`"),
        ("parts/uniqueItems", json!(true), "/parts is tightened by `uniqueItems`"),
        ("spare/anyOf", part, "/spare has another `anyOf`"),
    ] {
        assert_eq!(found(&format!("/properties/{pointer}"), to.clone()), [expected], "{to}");
    }
    let closed = found("/additionalProperties", json!(false));
    assert_eq!(closed, ["the event is tightened by `additionalProperties`"]);
}

#[test]
fn a_structure_replaced_by_a_plain_value_is_found_with_all_that_it_held() {
    let price = found("/properties/price", json!({"type": "integer"}));
    assert_eq!(price, ["/price/amount is removed", "/price has another type"]);
    let items = found("/properties/parts/items", json!({"type": "string"}));
    let expected =
        ["/parts[]/name is removed", "/parts[]/of is removed", "/parts[] has another type"];
    assert_eq!(items, expected);
}

#[test]
fn a_renamed_field_is_one_removed_and_one_newly_required() {
    let mut new = changed("/properties/label", Value::Null);
    new["properties"]["caption"] = base()["properties"]["label"].clone();
    new["required"] = required("label", Some("caption"));
    let removed = Break { at: "/label".into(), change: Change::Removed };
    let required = Break { at: "/caption".into(), change: Change::NewlyRequired };
    assert_eq!(breaks(&base(), &new), [removed, required]);
}

#[test]
fn a_change_of_a_shared_type_is_found_at_every_field_that_has_it() {
    let new = changed("/$defs/Part/properties/name/type", json!("integer"));
    let at: Vec<String> = breaks(&base(), &new).into_iter().map(|found| found.at).collect();
    assert_eq!(at, ["/parts[]/name", "/spare/<anyOf 0>/name"]);
}

#[test]
fn changes_that_no_reader_notices_are_allowed() {
    let cases = [
        ("/properties/colour", json!({"type": "string", "description": "New and optional."})),
        (
            "/properties/inner",
            json!({"type": "object", "required": ["x"], "properties": {
            "x": {"type": "string"}}}),
        ),
        ("/description", json!("Other words.")),
        ("/title", Value::Null),
        ("/properties/lamp_id/description", Value::Null),
        ("/properties/watts/examples", json!([60])),
        ("/$id", json!("urn:shop:schema:lamp.lit:1.1")),
        ("/additionalProperties", json!(true)),
        ("/required", json!(["parts", "price", "reason", "label", "watts", "lamp_id"])),
        ("/properties/note/type", json!(["null", "string"])),
        ("/$defs/Reason/oneOf", json!([{"const": "fun"}, {"const": "dark"}])),
        ("/$defs/Reason", json!({"type": "string", "enum": ["dark", "fun"]})),
        (
            "/properties/price",
            json!({"type": "object", "required": ["amount"], "properties": {
            "amount": {"type": "integer"}}}),
        ),
    ];
    for (pointer, to) in cases {
        assert_eq!(breaks(&base(), &changed(pointer, to.clone())), [], "{pointer} := {to}");
    }
}

#[test]
fn an_added_field_counts_as_removed_the_other_way_round() {
    let new = changed("/properties/colour", json!({"type": "string"}));
    let removed = Break { at: "/colour".into(), change: Change::Removed };
    assert_eq!(breaks(&new, &base()), [removed]);
    let words = changed("/description", json!("Other words."));
    assert_eq!(breaks(&words, &base()), []);
}
