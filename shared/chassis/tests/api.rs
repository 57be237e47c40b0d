//! What the routes of an API answer to good and bad input, and the spans that they make.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::sync::{Arc, Mutex, OnceLock};

use axum::Router;
use axum::routing::{get, post};
use chassis::http::{Api, ApiRouter, Json, KeyedCsv, KeyedJson, Path, Query, RequestContext};
use chassis::problem::Problem;
use chassis::telemetry::{trace_id, trace_id_of};
use opentelemetry::trace::{SpanKind, Status};
use opentelemetry::{Value as Attribute, global};
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{SdkTracerProvider, SpanData, SpanExporter};
use serde::{Deserialize, Serialize};
use serde_json::json;
use uuid::Uuid;

use support::{Running, get as fetch, post_json, request, start};

const ID: &str = "0198c0de-0000-7000-8000-000000000001";

#[derive(Clone, Debug, Default)]
struct Collected(Arc<Mutex<Vec<SpanData>>>);

impl SpanExporter for Collected {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        self.0.lock().unwrap().extend(batch);
        Ok(())
    }
}

fn spans() -> &'static Collected {
    static SPANS: OnceLock<Collected> = OnceLock::new();
    SPANS.get_or_init(|| {
        let collected = Collected::default();
        let provider = SdkTracerProvider::builder().with_simple_exporter(collected.clone()).build();
        global::set_tracer_provider(provider);
        collected
    })
}

/// The SERVER span of a trace.
fn server_span(trace_id: &str) -> SpanData {
    let mut spans = spans().0.lock().unwrap().clone();
    spans.retain(|span| span.span_context.trace_id().to_string() == trace_id);
    assert_eq!(spans.len(), 1, "one request is one span");
    spans.remove(0)
}

fn attribute(span: &SpanData, name: &str) -> Option<Attribute> {
    let found = span.attributes.iter().find(|attribute| attribute.key.as_str() == name);
    found.map(|attribute| attribute.value.clone())
}

#[derive(Debug, Deserialize, Serialize)]
struct Order {
    customer_id: Uuid,
    quantity: u16,
}

#[derive(Deserialize)]
struct Page {
    limit: Option<u16>,
}

async fn place(order: KeyedJson<Order>) -> Result<Json<serde_json::Value>, Problem> {
    let KeyedJson { key, body, bytes } = order;
    let quantity = body?.quantity;
    Ok(Json(json!({"key": key.as_str(), "quantity": quantity, "bytes": bytes.len()})))
}

async fn import(KeyedCsv { key, bytes }: KeyedCsv) -> Json<serde_json::Value> {
    Json(json!({"key": key.as_str(), "bytes": bytes.len()}))
}

async fn whose(RequestContext(context): RequestContext) -> String {
    assert_eq!(trace_id(), trace_id_of(&context));
    trace_id().unwrap()
}

async fn fail() -> Result<(), Problem> {
    Err(Problem::unavailable(anyhow::anyhow!("password=hunter2").context("no connection")))
}

async fn give_up() -> &'static str {
    panic!("secret {}", "token")
}

async fn server() -> Running {
    spans();
    let routes = ApiRouter::new()
        .route(
            "/orders",
            post(place).get(|Query(page): Query<Page>| async move {
                page.limit.unwrap_or(50).to_string()
            }),
        )
        .route("/orders/{id}", get(|Path(id): Path<Uuid>| async move { id.to_string() }))
        .route("/plain", post(|_: axum::Json<Order>| async { "taken" }))
        .route("/import", post(import))
        .route("/whose", get(whose))
        .route("/fail", get(fail))
        .route("/panic", get(give_up))
        .route("/stream", get(|| async { "data: 1\n\n" }));
    let documents = Router::new().route("/page", get(whose_outside));
    start(Api::new(routes).untraced(documents).produces("/stream", "text/event-stream")).await
}

async fn whose_outside() -> &'static str {
    if trace_id().is_some() { "traced" } else { "untraced" }
}

fn order(fields: &str) -> String {
    format!("{{\"customer_id\":\"{ID}\",{fields}}}")
}

const KEYED: [&str; 2] = ["Content-Type: application/json", "Idempotency-Key: 0123456789abcdef"];

#[tokio::test]
async fn a_good_request_is_answered_in_json() {
    let server = server().await;
    let body = order("\"quantity\":2");
    let answer = request(server.addr, "POST", "/orders", &KEYED, &body).await;
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/json")));
    let expected = json!({"key": "0123456789abcdef", "quantity": 2, "bytes": body.len()});
    assert_eq!(serde_json::from_str::<serde_json::Value>(&answer.body).unwrap(), expected);
}

#[tokio::test]
async fn malformed_json_is_a_400_and_a_wrong_schema_a_422() {
    let server = server().await;
    let send = async |body: &str| request(server.addr, "POST", "/orders", &KEYED, body).await;
    let twice = order("\"quantity\":1,\"quantity\":1");
    for bad in [twice.as_str(), "{", "\u{feff}{}", "{} x", &"[".repeat(33), "{\"a\":NaN}"] {
        let answer = send(bad).await;
        assert_eq!((answer.status, answer.code().as_str()), (400, "malformed_json"), "{bad}");
    }
    let answer = send(&order("\"quantity\":1.0,\"<script>\":true")).await;
    assert_eq!((answer.status, answer.code().as_str()), (422, "validation_failed"));
    let expected = json!([
        {"pointer": "/quantity", "code": "type"},
    ]);
    assert_eq!(answer.problem()["errors"], expected);
    let answer = send(&order("\"<script>\":true")).await;
    let expected = json!([
        {"pointer": "", "code": "unknown_field"},
        {"pointer": "/quantity", "code": "required"},
    ]);
    assert_eq!(answer.problem()["errors"], expected);
    assert!(!answer.body.contains("script"));
}

#[tokio::test]
async fn the_checks_come_in_the_order_of_the_contract() {
    let server = server().await;
    let send = async |headers: &[&str], body: &str| {
        request(server.addr, "POST", "/orders", headers, body).await.code()
    };
    let (json, key) = (KEYED[0], KEYED[1]);
    assert_eq!(send(&[], &"x".repeat(70_000)).await, "payload_too_large");
    assert_eq!(send(&[], "{").await, "unsupported_media_type");
    assert_eq!(send(&[json], "{").await, "idempotency_key_missing");
    assert_eq!(send(&[json, "Idempotency-Key: short"], "{").await, "idempotency_key_malformed");
    assert_eq!(send(&[json, key], "{").await, "malformed_json");
    assert_eq!(send(&[json, key], "{}").await, "validation_failed");
    let missing = request(server.addr, "POST", "/orders", &[json], "{}").await;
    assert!(missing.header("link").unwrap().contains("rel=\"help\""));
}

#[tokio::test]
async fn a_csv_body_is_checked_in_the_same_order() {
    let server = server().await;
    let send = async |headers: &[&str], body: &str| {
        request(server.addr, "POST", "/import", headers, body).await
    };
    let (csv, key) = ("Content-Type: text/csv; charset=utf-8", KEYED[1]);
    let code = async |headers: &[&str], body: &str| send(headers, body).await.code();
    assert_eq!(code(&[], &"x".repeat(70_000)).await, "payload_too_large");
    assert_eq!(code(&[KEYED[0]], "a").await, "unsupported_media_type");
    assert_eq!(
        code(&["Content-Type: text/csv; charset=latin1"], "a").await,
        "unsupported_media_type"
    );
    assert_eq!(code(&[csv], "a").await, "idempotency_key_missing");
    assert_eq!(code(&[csv, "Idempotency-Key: short"], "a").await, "idempotency_key_malformed");
    let taken = send(&[csv, key], "a,b\n").await;
    let expected = json!({"key": "0123456789abcdef", "bytes": 4});
    assert_eq!(serde_json::from_str::<serde_json::Value>(&taken.body).unwrap(), expected);
}

#[tokio::test]
async fn an_address_or_method_that_does_not_exist_is_a_problem() {
    let server = server().await;
    let unknown = fetch(server.addr, "/nothing?secret=1").await;
    assert_eq!((unknown.status, unknown.code().as_str()), (404, "not_found"));
    assert!(unknown.problem()["trace_id"].is_string());
    let wrong = request(server.addr, "DELETE", "/orders", &[], "").await;
    assert_eq!((wrong.status, wrong.code().as_str()), (405, "method_not_allowed"));
    let allow = wrong.header("allow").unwrap();
    assert!(allow.contains("GET") && allow.contains("POST"), "{allow}");
    let wrong = request(server.addr, "PUT", "/page", &[], "").await;
    assert_eq!((wrong.status, wrong.code().as_str()), (405, "method_not_allowed"));
}

#[tokio::test]
async fn a_media_type_that_a_route_does_not_produce_is_a_406() {
    let server = server().await;
    let accept = async |path: &str, accept: &str| {
        request(server.addr, "GET", path, &[&format!("Accept: {accept}")], "").await
    };
    let refused = accept("/orders", "text/html").await;
    assert_eq!((refused.status, refused.code().as_str()), (406, "not_acceptable"));
    assert_eq!(accept("/orders", "text/html, */*;q=0.1").await.status, 200);
    assert_eq!(accept("/stream", "text/event-stream").await.status, 200);
    assert_eq!(accept("/stream", "application/json").await.status, 406);
    assert_eq!(accept("/page", "text/html").await.status, 200);
    assert_eq!(accept("/nothing", "text/html").await.status, 404);
}

#[tokio::test]
async fn ids_and_query_parameters_are_checked() {
    let server = server().await;
    assert_eq!(fetch(server.addr, &format!("/orders/{ID}")).await.body, ID);
    for bad in ["7", "%00", "%ff", "0198c0de-0000-7000-8000-00000000000g"] {
        let answer = fetch(server.addr, &format!("/orders/{bad}")).await;
        assert_eq!((answer.status, answer.code().as_str()), (400, "invalid_id"), "{bad}");
    }
    assert_eq!(fetch(server.addr, "/orders?limit=7").await.body, "7");
    let bad = fetch(server.addr, "/orders?limit=seven").await;
    assert_eq!(bad.problem()["errors"], json!([{"pointer": "/limit", "code": "type"}]));
}

#[tokio::test]
async fn a_rejection_of_axum_itself_does_not_echo_the_input() {
    let server = server().await;
    let answer = post_json(server.addr, "/plain", &order("\"quantity\":\"<script>\"")).await;
    assert_eq!((answer.status, answer.code().as_str()), (422, "validation_failed"));
    assert!(!answer.body.contains("script"));
}

#[tokio::test]
async fn a_failure_inside_tells_the_client_when_to_come_back_and_nothing_else() {
    let server = server().await;
    let answer = fetch(server.addr, "/fail").await;
    assert_eq!((answer.status, answer.code().as_str()), (503, "unavailable"));
    assert_eq!(answer.header("retry-after"), Some("5"));
    assert!(!answer.body.contains("hunter2") && !answer.body.contains("connection"));
}

#[tokio::test]
async fn a_panic_is_a_500_without_its_message_and_the_server_lives_on() {
    let server = server().await;
    let answer = fetch(server.addr, "/panic").await;
    assert_eq!((answer.status, answer.code().as_str()), (500, "internal_error"));
    assert!(!answer.body.contains("token"));
    let problem = answer.problem();
    let span = server_span(problem["trace_id"].as_str().unwrap());
    assert_eq!(span.status, Status::error("internal_error"));
    assert_eq!(fetch(server.addr, "/whose").await.status, 200);
}

#[tokio::test]
async fn a_request_makes_one_server_span_with_the_route_in_its_name() {
    let server = server().await;
    let answer = fetch(server.addr, "/orders/not-an-id?secret=1").await;
    let span = server_span(answer.problem()["trace_id"].as_str().unwrap());
    assert_eq!((span.name.as_ref(), &span.span_kind), ("GET /orders/{id}", &SpanKind::Server));
    assert_eq!(span.status, Status::Unset, "a 4xx is the client's fault");
    for (name, value) in [
        ("http.request.method", Attribute::from("GET")),
        ("http.route", "/orders/{id}".into()),
        ("http.response.status_code", 400.into()),
        ("url.path", "/orders/not-an-id".into()),
        ("url.scheme", "http".into()),
        ("server.address", "shop.test".into()),
        ("server.port", 80.into()),
    ] {
        assert_eq!(attribute(&span, name), Some(value), "{name}");
    }
    assert!(!format!("{span:?}").contains("secret"));
}

#[tokio::test]
async fn a_made_up_method_does_not_become_a_span_name() {
    let server = server().await;
    let answer = request(server.addr, "BREW", "/orders", &[], "").await;
    let span = server_span(answer.problem()["trace_id"].as_str().unwrap());
    assert_eq!(span.name, "HTTP /orders");
    assert_eq!(attribute(&span, "http.request.method"), Some("_OTHER".into()));
}

#[tokio::test]
async fn a_clients_trace_is_continued_and_an_invalid_one_is_ignored() {
    let server = server().await;
    let whose =
        async |headers: &[&str]| request(server.addr, "GET", "/whose", headers, "").await.body;
    let theirs = "5e1f7651916cd43dd8448eb211c80301".to_owned();
    let parent = format!("traceparent: 00-{theirs}-b7ad6b7169203331-01");
    assert_eq!(whose(&[&parent]).await, theirs);
    let span = server_span(&theirs);
    assert_eq!(span.parent_span_id.to_string(), "b7ad6b7169203331");
    assert!(span.parent_span_is_remote);
    let other = "5e1f7651916cd43dd8448eb211c80302".to_owned();
    for bad in [format!("00-{other}-0000000000000000-01"), format!("00-{other}-b7ad-01")] {
        assert_ne!(whose(&[&format!("traceparent: {bad}")]).await, other, "{bad}");
    }
    let twice = format!("traceparent: 00-{other}-b7ad6b7169203331-01");
    assert_ne!(whose(&[&twice, &twice]).await, other);
}

#[tokio::test]
async fn documents_are_not_traced() {
    let server = server().await;
    let answer = fetch(server.addr, "/page").await;
    assert_eq!((answer.status, answer.body.as_str()), (200, "untraced"));
}
