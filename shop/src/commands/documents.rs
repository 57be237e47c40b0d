//! `shop openapi`, `shop asyncapi`: what the services take and what they tell each other.

use clap::builder::PossibleValuesParser;
use serde_json::{Map, Value, json};

use crate::ports::Ports;
use crate::services::{self, SERVICES, Service};
use crate::{Exit, Output};

const ASYNCAPI: &str = include_str!("../../../docs/asyncapi.yaml");
const DESCRIPTION: &str = "All services in one document. Each route says which server it is on; each \
                           service also serves its own part at `/openapi.json`, and at `/docs` for \
                           people.";

const EXAMPLES: &str = "\
Examples:
  shop openapi                     all services in one document
  shop openapi order               as the order service serves it at /openapi.json";

/// Prints the AsyncAPI document of all events.
pub fn asyncapi(out: &Output) -> Exit {
    out.line(ASYNCAPI.trim_end());
    Exit::Done
}

/// Which service.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct OpenApiArgs {
    /// Only this service, as it serves the document itself
    #[arg(value_parser = PossibleValuesParser::new(SERVICES.iter().map(|service| service.name)))]
    service: Option<String>,
    /// Where the services are
    #[command(flatten)]
    ports: Ports,
}

/// Prints the OpenAPI document of one service or of all.
///
/// # Errors
/// None at present.
pub fn openapi(args: &OpenApiArgs, out: &Output) -> anyhow::Result<Exit> {
    let document = match args.service.as_deref().and_then(services::service) {
        Some(service) => serde_json::to_value((service.openapi)())?,
        None => of_all(&args.ports)?,
    };
    out.line(&serde_json::to_string_pretty(&document)?);
    Ok(Exit::Done)
}

/// One document of all services: what stands in several of them carries the service's name here.
///
/// # Errors
/// When a part cannot be written as JSON.
pub fn of_all(ports: &Ports) -> anyhow::Result<Value> {
    let mut all = json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Tidings",
            "description": DESCRIPTION,
            "version": env!("CARGO_PKG_VERSION"),
        },
        "tags": SERVICES.iter().map(|service| json!({ "name": service.name })).collect::<Vec<_>>(),
        "paths": {},
        "components": { "schemas": {}, "responses": {} },
    });
    for service in SERVICES {
        add(&mut all, service, &Ports::http((service.port)(ports)))?;
    }
    Ok(all)
}

fn add(all: &mut Value, service: &Service, server: &str) -> anyhow::Result<()> {
    let name = service.name;
    let mut text = serde_json::to_string(&(service.openapi)())?;
    for kind in ["schemas", "responses"] {
        let reference = format!("#/components/{kind}/");
        text = text.replace(&reference, &format!("{reference}{name}."));
    }
    let mut part: Value = serde_json::from_str(&text)?;
    for kind in ["schemas", "responses"] {
        let components = members(&mut part["components"][kind]);
        let named = components.into_iter().map(|(key, value)| (format!("{name}.{key}"), value));
        if let Value::Object(there) = &mut all["components"][kind] {
            there.extend(named);
        }
    }
    for (path, mut item) in members(&mut part["paths"]) {
        for (method, mut operation) in members(&mut item) {
            let slot = &mut all["paths"][&path][&method];
            // The probes are on every server.
            if slot.is_null() {
                operation["tags"] = match &operation["tags"] {
                    Value::Array(tags) => Value::Array(tags.clone()),
                    _ => json!([name]),
                };
                operation["servers"] = json!([]);
                *slot = operation;
            }
            if let Value::Array(servers) = &mut slot["servers"] {
                servers.push(json!({ "url": server, "description": name }));
            }
        }
    }
    Ok(())
}

fn members(value: &mut Value) -> Map<String, Value> {
    match value.take() {
        Value::Object(members) => members,
        _ => Map::new(),
    }
}
