//! Released minor versions.

use contracts::catalogue::EVENTS;
use contracts::compatibility::breaks;
use envelope::{Envelope, Identity};
use serde_json::Value;

use crate::artefacts::{asyncapi, file_names, schemas, workspace};
use crate::{golden, json};

fn committed(file: &str) -> Option<Value> {
    let path = workspace().join("contracts/schemas").join(file);
    std::fs::read_to_string(path).ok().map(|text| json(&text))
}

#[test]
fn no_minor_version_of_an_event_breaks_an_earlier_one() {
    for event in EVENTS {
        let today = schemas::schema(event);
        let versions: Vec<Value> = (0..=event.minor)
            .map(|minor| {
                let file = schemas::file_name(event, minor);
                committed(&file).unwrap_or_else(|| panic!("contracts/schemas/{file} is missing"))
            })
            .collect();
        for (minor, old) in versions.iter().enumerate() {
            for new in versions[minor..].iter().chain([&today]) {
                let found: Vec<String> = breaks(old, new).iter().map(ToString::to_string).collect();
                assert!(
                    found.is_empty(),
                    "{}.{minor}: {found:?}; this needs a new major version",
                    event.event_type
                );
            }
        }
    }
}

#[test]
fn no_event_that_was_released_has_gone() {
    for folder in ["schemas", "golden"] {
        for name in file_names(&workspace().join("contracts").join(folder)).unwrap() {
            let known = schemas::version_of(&name);
            assert!(
                known.is_some_and(|(event, minor)| minor <= event.minor),
                "contracts/{folder}/{name} belongs to no version of any event"
            );
        }
    }
}

#[test]
fn every_minor_version_has_a_sample() {
    for event in EVENTS {
        for minor in 0..=event.minor {
            let name = schemas::file_name(event, minor);
            assert!(golden().iter().any(|(file, _)| *file == name), "contracts/golden/{name}");
        }
    }
}

#[test]
fn every_sample_is_read_by_todays_type_and_written_again_as_it_was() {
    let samples = golden();
    assert!(samples.len() >= EVENTS.len());
    for (name, text) in samples {
        let (event, minor) = schemas::version_of(&name).unwrap();
        let envelope = Envelope::decode(text.as_bytes()).unwrap_or_else(|e| panic!("{name}: {e}"));
        let publisher = Identity::new(schemas::NAMESPACE, "golden", event.owner);
        assert_eq!(envelope.event_type, publisher.full_type(event.event_type), "{name}");
        assert_eq!(envelope.dataschema, publisher.schema(event.event_type, minor), "{name}");
        assert_eq!(envelope.source, publisher.source(), "{name}");
        assert_eq!(envelope.partitionkey, envelope.subject.as_str(), "{name}");

        let data: Value = envelope.data().unwrap();
        let (subject, again) = event.read(&data).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!(again, data, "{name}");
        assert_eq!(subject, envelope.subject, "{name}");
        // The whole envelope, too: no attribute is lost and times keep their microseconds.
        assert_eq!(serde_json::to_value(&envelope).unwrap(), json(&text), "{name}");
    }
}

#[test]
fn every_sample_has_the_attributes_that_the_envelopes_schema_promises() {
    let schema = asyncapi::envelope();
    let known = schema["properties"].as_object().unwrap();
    let mut seen = std::collections::BTreeSet::new();
    for (name, text) in golden() {
        let envelope = json(&text);
        let present = envelope.as_object().unwrap();
        for attribute in schema["required"].as_array().unwrap() {
            assert!(present.contains_key(attribute.as_str().unwrap()), "{name}: {attribute}");
        }
        assert!(present.keys().all(|key| known.contains_key(key)), "{name}");
        seen.extend(present.keys().cloned());
    }
    assert_eq!(seen.len(), known.len(), "each attribute, optional ones too, is in some sample");
}

/// The fields of `data` that are enums, with their values.
fn enums(schema: &Value) -> Vec<(String, Vec<String>)> {
    let resolve = |field: &Value| -> Option<Vec<String>> {
        let target = field["$ref"].as_str()?.strip_prefix('#')?.to_owned();
        let choices = schema.pointer(&target)?["oneOf"].as_array()?.clone();
        choices.iter().map(|one| Some(one["const"].as_str()?.to_owned())).collect()
    };
    let fields = schema["properties"].as_object().unwrap();
    fields.iter().filter_map(|(name, field)| Some((name.clone(), resolve(field)?))).collect()
}

#[test]
fn every_way_to_cancel_and_every_mail_has_a_sample() {
    for event_type in ["order.cancelled.v1", "email.sent.v1"] {
        let event = contracts::catalogue::find(event_type).unwrap();
        let samples: Vec<Value> = golden()
            .into_iter()
            .filter(|(name, _)| schemas::version_of(name).unwrap().0.event_type == event_type)
            .map(|(_, text)| json(&text))
            .collect();
        let enums = enums(&schemas::schema(event));
        assert_eq!(enums.len(), 1, "{event_type}");
        for (field, values) in enums {
            for value in values {
                let shown = samples.iter().any(|sample| sample["data"][&field] == *value);
                assert!(shown, "no sample of {event_type} has {field} = {value}");
            }
        }
    }
}
