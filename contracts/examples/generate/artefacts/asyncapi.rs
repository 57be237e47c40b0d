//! `docs/asyncapi.yaml`: the events and their ways for machines, AsyncAPI 3.1 with AMQP bindings.

use std::collections::BTreeMap;
use std::error::Error;

use contracts::catalogue::{EVENTS, EventInfo};
use envelope::signature::SUITE;
use envelope::{CONTENT_TYPE, Identity};
use serde_json::{Map, Value, json};

use super::ordered::Ordered;
use super::schemas::NAMESPACE;
use super::{golden, markdown};

const HEAD: &str = "\
# Generated from contracts/src by `cargo run -p contracts --example generate`; edits are lost.
";
const BINDING: &str = "0.3.0";

/// The document as YAML.
///
/// # Errors
/// None that an event could cause.
pub(crate) fn document() -> Result<String, Box<dyn Error>> {
    let yaml = serde_saphyr::to_string(&Ordered::of(&tree()?))?;
    // The writer indents the empty lines of a text, too.
    let lines = yaml.lines().map(|line| format!("{}\n", line.trim_end()));
    Ok(HEAD.to_owned() + &lines.collect::<String>())
}

/// The document.
///
/// # Errors
/// None that an event could cause.
pub(crate) fn tree() -> Result<Value, Box<dyn Error>> {
    Ok(json!({
        "asyncapi": "3.1.0",
        "info": {
            "title": "Tidings: the shop's events",
            "version": "1.0.0",
            "description": "Every event has one owner and is delivered at least once. Its major version is part \
                of its type, its minor version stands in `dataschema`; within a major version only optional \
                fields are added. The same for people: events.md.",
            "license": {"name": "MIT OR Apache-2.0"},
        },
        "defaultContentType": CONTENT_TYPE,
        "servers": {"local": {
            "host": "127.0.0.1:15673",
            "protocol": "amqp",
            "protocolVersion": "0-9-1",
            "description": "RabbitMQ as `make up` starts it.",
        }},
        "channels": channels(),
        "operations": operations(),
        "components": {
            "messages": messages()?,
            "schemas": components()?,
            "correlationIds": {"chain": {
                "description": "Shared by everything that one request set in motion.",
                "location": "$message.payload#/correlationid",
            }},
        },
    }))
}

/// The queues, each with what arrives in it.
fn queues() -> BTreeMap<&'static str, Vec<&'static EventInfo>> {
    let mut queues: BTreeMap<&str, Vec<&EventInfo>> = BTreeMap::new();
    for event in EVENTS {
        for consumer in event.receivers() {
            queues.entry(consumer.service).or_default().push(event);
        }
    }
    queues
}

fn reference(to: &str) -> Value {
    json!({"$ref": to})
}

fn channels() -> Map<String, Value> {
    let message = |event: &EventInfo| {
        (event.name.to_owned(), reference(&format!("#/components/messages/{}", event.name)))
    };
    let mut channels = Map::new();
    for event in EVENTS {
        let exchange =
            json!({"name": "events", "type": "topic", "durable": true, "autoDelete": false});
        let channel = json!({
            "address": event.event_type,
            "title": format!("{}, as it is published", event.name),
            "messages": Map::from_iter([message(event)]),
            "bindings": {"amqp": {"is": "routingKey", "exchange": exchange,
                "bindingVersion": BINDING}},
        });
        channels.insert(event.event_type.to_owned(), channel);
    }
    for (service, events) in queues() {
        let name = format!("{service}.in");
        let bound = if service == "audit" {
            "Bound to every routing key (`#`)."
        } else {
            "Bound to the routing key of each of its messages."
        };
        let queue = json!({"name": name, "durable": true, "exclusive": false, "autoDelete": false});
        let channel = json!({
            "address": name,
            "title": format!("The work queue of {service}"),
            "description": format!("A quorum queue. {bound}"),
            "messages": events.into_iter().map(message).collect::<Map<_, _>>(),
            "bindings": {"amqp": {"is": "queue", "queue": queue, "bindingVersion": BINDING}},
        });
        channels.insert(name, channel);
    }
    channels
}

fn operations() -> Map<String, Value> {
    let mut operations = Map::new();
    let message = |channel: &str, event: &EventInfo| {
        reference(&format!("#/channels/{channel}/messages/{}", event.name))
    };
    for event in EVENTS {
        let EventInfo { owner, name, event_type, .. } = event;
        let amqp = json!({"deliveryMode": 2, "mandatory": true, "timestamp": true,
            "bindingVersion": BINDING});
        operations.insert(
            format!("{owner}.sends.{name}"),
            json!({
                "action": "send",
                "title": format!("{owner} publishes {event_type}"),
                "channel": reference(&format!("#/channels/{event_type}")),
                "messages": [message(event_type, event)],
                "tags": [{"name": owner}],
                "bindings": {"amqp": amqp},
            }),
        );
    }
    for (service, events) in queues() {
        let channel = format!("{service}.in");
        let purposes = events.iter().flat_map(|event| {
            let own = event.receivers().filter(|consumer| consumer.service == service);
            own.map(|consumer| format!("- `{}`: {}", event.event_type, consumer.purpose))
        });
        operations.insert(
            format!("{service}.receives"),
            json!({
                "action": "receive",
                "title": format!("{service} handles what arrives in its queue"),
                "description": purposes.collect::<Vec<_>>().join("\n"),
                "channel": reference(&format!("#/channels/{channel}")),
                "messages": events.iter().map(|event| message(&channel, event)).collect::<Vec<_>>(),
                "tags": [{"name": service}],
                "bindings": {"amqp": {"ack": true, "bindingVersion": BINDING}},
            }),
        );
    }
    operations
}

fn messages() -> Result<Map<String, Value>, Box<dyn Error>> {
    let samples = golden::samples()?;
    let mut messages = Map::new();
    for event in EVENTS {
        let identity = Identity::new(NAMESPACE, "", event.owner);
        let full_type = identity.full_type(event.event_type);
        let words = event.schema().to_value();
        let mut examples = Vec::new();
        for sample in samples.iter().filter(|sample| sample.event_type == event.event_type) {
            examples.push(json!({"payload": serde_json::from_str::<Value>(&sample.text)?}));
        }
        examples.truncate(1);
        let specific = json!({
            "type": "object",
            "properties": {
                "type": {"const": full_type},
                "subject": {"pattern": subject_pattern(event.subject)},
                "dataschema": {"const": identity.schema(event.event_type, event.minor)},
                "data": reference(&format!("#/components/schemas/{}", event.name)),
            },
        });
        let mut message = json!({
            "name": event.event_type,
            "title": event.name,
            "summary": markdown::summary(&words),
            "contentType": CONTENT_TYPE,
            "headers": reference("#/components/schemas/Headers"),
            "correlationId": reference("#/components/correlationIds/chain"),
            "payload": {"allOf": [reference("#/components/schemas/Envelope"), specific]},
            "bindings": {"amqp": {"messageType": full_type, "bindingVersion": BINDING}},
            "examples": examples,
        });
        if let Some((_, more)) = markdown::words(&words).split_once("\n\n") {
            message["description"] = more.into();
        }
        messages.insert(event.name.to_owned(), message);
    }
    Ok(messages)
}

/// `order/{order_id}` as a pattern: the kind as it is, any id.
fn subject_pattern(subject: &str) -> String {
    format!("^{}/.+$", subject.split('/').next().unwrap_or_default())
}

/// The schemas of all events, with the types that they share side by side. Their keywords mean the
/// same in the schema dialect of AsyncAPI, which is older than that of the committed schemas.
fn components() -> Result<Map<String, Value>, Box<dyn Error>> {
    let mut all = Map::new();
    all.insert("Envelope".into(), envelope());
    all.insert("Headers".into(), headers());
    for event in EVENTS {
        let mut schema = event.schema().to_value();
        relocate(&mut schema);
        let Value::Object(mut schema) = schema else { continue };
        schema.remove("$schema");
        let shared = schema.remove("$defs");
        let shared = shared.as_ref().and_then(Value::as_object).into_iter().flatten();
        let own = (event.name.to_owned(), Value::Object(schema));
        for (name, schema) in shared.map(|(k, v)| (k.clone(), v.clone())).chain([own]) {
            if all.get(&name).is_some_and(|known| *known != schema) {
                return Err(format!("two types are called {name}").into());
            }
            all.insert(name, schema);
        }
    }
    Ok(all)
}

/// Points references at the components of this document.
fn relocate(schema: &mut Value) {
    match schema {
        Value::Object(map) => {
            if let Some(Value::String(target)) = map.get_mut("$ref") {
                *target = target.replace("#/$defs/", "#/components/schemas/");
            }
            map.values_mut().for_each(relocate);
        }
        Value::Array(items) => items.iter_mut().for_each(relocate),
        _ => {}
    }
}

fn text(description: &str) -> Value {
    json!({"type": "string", "description": description})
}

/// The schema of every envelope, open to attributes of a later version.
pub(crate) fn envelope() -> Value {
    let uuid = |words: &str| json!({"type": "string", "format": "uuid", "description": words});
    json!({
        "description": "CloudEvents 1.0 in structured mode, at most 64 KiB.",
        "type": "object",
        "required": ["specversion", "id", "source", "type", "subject", "time", "datacontenttype",
            "dataschema", "aggversion", "partitionkey", "correlationid", "data"],
        "properties": {
            "specversion": {"type": "string", "const": "1.0"},
            "id": uuid("UUIDv7, the same on every delivery."),
            "source": text("The publisher: `urn:<namespace>:<environment>:<service>`."),
            "type": text("The full type with its major version."),
            "subject": text("The aggregate: `<kind>/<id>`."),
            "time": {"type": "string", "format": "date-time", "description": "Business time, UTC."},
            "datacontenttype": {"type": "string", "const": "application/json"},
            "dataschema": text("The `$id` of the schema of `data`."),
            "aggversion": {"type": "integer", "minimum": 1, "maximum": i32::MAX,
                "description": "The number of this event among those of its subject, without a gap."},
            "partitionkey": text("The subject."),
            "correlationid": uuid("Shared by everything that one request set in motion."),
            "causationid": uuid("The event that this one answers."),
            "traceparent": text("W3C trace context of the span that created the event."),
            "tracestate": text("W3C vendor trace context."),
            "data": {"type": "object", "description": "The event itself."},
        },
    })
}

fn headers() -> Value {
    let header = |what: &str| format!("x-{NAMESPACE}-{what}");
    let (sig, kid, sigver) = (header("sig"), header("kid"), header("sigver"));
    let mut properties = Map::new();
    properties.insert(sig.clone(), json!({"type": "string", "pattern": "^[A-Za-z0-9_-]{86}$",
        "description": "Ed25519 signature of the exact body bytes in the DSSE pre-authentication encoding, \
            base64url without padding."}));
    properties.insert(kid.clone(), text("Id of the signing key."));
    properties.insert(
        sigver.clone(),
        json!({"type": "string", "const": SUITE,
        "description": "The signature suite."}),
    );
    properties.insert("traceparent".into(), text("W3C trace context of the publish."));
    properties.insert("tracestate".into(), text("W3C vendor trace context."));
    json!({
        "description": "AMQP headers. A message without its three signature headers is not handled.",
        "type": "object",
        "required": [sig, kid, sigver],
        "properties": properties,
    })
}
