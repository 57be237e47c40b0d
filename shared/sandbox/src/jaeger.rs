//! The part of Jaeger's query API that Tidings uses, over a [`TraceStore`], and a small page per
//! trace for a browser.
//!
//! Of the search parameters `service`, `operation`, `tags`, `limit` and `traceID` count; the time
//! window (`lookback`, `start`, `end`) and the durations are ignored: memory is short anyway.

mod json;
mod pages;
mod parse;

use std::collections::BTreeMap;

use axum::Router;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde_json::{Value, json};

use crate::otlp::{SpanRecord, TraceStore};

pub use json::trace_to_json;
pub use parse::{ParseError, spans_from_json};

/// Jaeger's own default for `limit`.
const DEFAULT_LIMIT: usize = 100;
/// The most that Jaeger's user interface asks for.
const MAX_LIMIT: usize = 1_500;

/// The API and the pages.
pub fn router(store: TraceStore) -> Router {
    Router::new()
        .route("/api/traces/{id}", get(trace))
        .route("/api/traces", get(search))
        .route("/api/services", get(services))
        .route("/api/services/{service}/operations", get(operations))
        .route("/trace/{id}", get(pages::trace))
        .route("/", get(pages::index))
        .fallback(unknown)
        .with_state(store)
}

async fn trace(State(store): State<TraceStore>, Path(id): Path<String>) -> Response {
    let Some(id) = normal_id(&id) else {
        return failed(StatusCode::BAD_REQUEST, "a trace id is 1 to 32 hexadecimal digits");
    };
    let spans = store.trace(&id);
    if spans.is_empty() {
        return failed(StatusCode::NOT_FOUND, "trace not found");
    }
    answer(&[trace_to_json(&spans)], 0)
}

type Parameters = Result<Query<Vec<(String, String)>>, QueryRejection>;

async fn search(State(store): State<TraceStore>, parameters: Parameters) -> Response {
    match parameters.map_err(|error| error.body_text()).and_then(|Query(p)| found(&store, &p)) {
        Ok(traces) => {
            let data: Vec<Value> = traces.iter().map(|spans| trace_to_json(spans)).collect();
            answer(&data, 0)
        }
        Err(reason) => failed(StatusCode::BAD_REQUEST, &reason),
    }
}

fn found(
    store: &TraceStore,
    parameters: &[(String, String)],
) -> Result<Vec<Vec<SpanRecord>>, String> {
    let value =
        |name: &str| parameters.iter().find(|(key, _)| key == name).map(|(_, v)| v.as_str());
    let ids: Vec<_> = parameters.iter().filter(|(key, _)| key == "traceID").collect();
    if !ids.is_empty() {
        let ids = ids.into_iter().map(|(_, id)| {
            normal_id(id).ok_or_else(|| "parameter 'traceID' is not a trace id".to_owned())
        });
        let ids = ids.collect::<Result<Vec<_>, _>>()?;
        return Ok(ids.iter().map(|id| store.trace(id)).filter(|t| !t.is_empty()).collect());
    }
    let service = value("service").filter(|name| !name.is_empty());
    let service = service.ok_or("parameter 'service' is required")?;
    let limit = match value("limit") {
        None => DEFAULT_LIMIT,
        Some(text) => text.parse().map_err(|_| "parameter 'limit' is not a whole number")?,
    };
    let operation = value("operation").filter(|name| !matches!(*name, "" | "all"));
    let tags: BTreeMap<String, String> = match value("tags") {
        None | Some("") => BTreeMap::new(),
        Some(text) => serde_json::from_str(text)
            .map_err(|_| "parameter 'tags' is not a JSON object of strings")?,
    };
    Ok(store.traces_with(service, limit.min(MAX_LIMIT), |span| {
        operation.is_none_or(|name| span.name == name)
            && tags.iter().all(|(key, wanted)| json::has_tag(span, key, wanted))
    }))
}

async fn services(State(store): State<TraceStore>) -> Response {
    names(store.services())
}

async fn operations(State(store): State<TraceStore>, Path(service): Path<String>) -> Response {
    names(store.operations(&service))
}

async fn unknown(uri: Uri) -> Response {
    if uri.path().starts_with("/api/") {
        return failed(StatusCode::NOT_FOUND, "this stand-in does not answer that path");
    }
    pages::not_found("No such page.", "")
}

fn names(names: Vec<String>) -> Response {
    let data: Vec<Value> = names.into_iter().map(Value::from).collect();
    answer(&data, data.len())
}

fn answer(data: &[Value], total: usize) -> Response {
    let body = json!({ "data": data, "total": total, "limit": 0, "offset": 0, "errors": null });
    axum::Json(body).into_response()
}

fn failed(status: StatusCode, message: &str) -> Response {
    let errors = json!([{ "code": status.as_u16(), "msg": message }]);
    let body = json!({ "data": null, "total": 0, "limit": 0, "offset": 0, "errors": errors });
    (status, axum::Json(body)).into_response()
}

/// Lower case and 32 digits: Jaeger takes an id without its leading zeros as well.
fn normal_id(id: &str) -> Option<String> {
    let hexadecimal = (1..=32).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_hexdigit());
    hexadecimal.then(|| format!("{:0>32}", id.to_ascii_lowercase()))
}
