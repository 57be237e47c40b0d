//! Readers ignore what a later minor version adds.

use envelope::Envelope;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::artefacts::schemas;
use crate::golden;

/// Any JSON value, up to two levels deep.
fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(2, 8, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            prop::collection::btree_map("[a-z]{1,6}", inner, 0..3).prop_map(|map| json!(map)),
        ]
    })
}

/// Adds `fields` to every object within `value`.
fn enrich(value: &mut Value, fields: &[(String, Value)]) {
    match value {
        Value::Object(map) => {
            map.values_mut().for_each(|inner| enrich(inner, fields));
            // None of ours is spelt so.
            map.extend(fields.iter().map(|(name, value)| (format!("new_{name}"), value.clone())));
        }
        Value::Array(items) => items.iter_mut().for_each(|inner| enrich(inner, fields)),
        _ => {}
    }
}

proptest! {
    #[test]
    fn unknown_fields_at_every_level_change_nothing_that_is_read(
        fields in prop::collection::vec(("[a-z]{1,8}", any_value()), 1..4),
        pick: prop::sample::Index,
    ) {
        let samples = golden();
        let (name, text) = &samples[pick.index(samples.len())];
        let plain = Envelope::decode(text.as_bytes()).unwrap();
        let mut richer: Value = serde_json::from_str(text).unwrap();
        enrich(&mut richer, &fields);
        let rich = Envelope::decode(richer.to_string().as_bytes()).unwrap();
        prop_assert_eq!(rich.id, plain.id);
        prop_assert_eq!(&rich.event_type, &plain.event_type);
        prop_assert_eq!(rich.time, plain.time);
        prop_assert_eq!(rich.causationid, plain.causationid);

        let (event, _) = schemas::version_of(name).unwrap();
        let data: Value = rich.data().unwrap();
        let (subject, again) = event.read(&data).unwrap();
        prop_assert_eq!(again, plain.data::<Value>().unwrap());
        prop_assert_eq!(subject, plain.subject);
    }
}
