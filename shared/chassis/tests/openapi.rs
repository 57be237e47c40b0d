//! What an API says of itself, and where.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use chassis::http::openapi::{About, Describe as _, Operation};
use chassis::http::routing::{get_with, post_with};
use chassis::http::{Api, ApiRouter, Cursor, Json, KeyedJson, Limit, Path, Query};
use chassis::problem::Problem;
use http::StatusCode;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use uuid::Uuid;

use support::{get, start};

#[derive(Deserialize, Serialize, JsonSchema)]
struct Lamp {
    #[schemars(range(max = 9_000))]
    lumen: u32,
}

#[derive(Deserialize, JsonSchema)]
#[schemars(inline)]
struct Which {
    lamp_id: Uuid,
}

#[derive(Deserialize, JsonSchema)]
#[schemars(inline)]
struct Page {
    #[serde(default)]
    #[expect(dead_code)]
    limit: Limit,
    #[expect(dead_code)]
    cursor: Option<Cursor>,
}

async fn hang(
    Path(Which { lamp_id }): Path<Which>,
    lamp: KeyedJson<Lamp>,
) -> Result<Json<Lamp>, Problem> {
    if lamp_id.is_nil() { Err(Problem::invalid_state()) } else { Ok(Json(lamp.body?)) }
}

async fn list(_: Query<Page>) -> Json<Vec<Lamp>> {
    Json(Vec::new())
}

fn hanging(route: Operation<'_>) -> Operation<'_> {
    route.id("hangLamp").summary("Hang a lamp").refuses(&Problem::invalid_state())
}

fn api() -> Api {
    let routes = ApiRouter::new()
        .api_route("/lamps/{lamp_id}", post_with(hang, hanging))
        .api_route("/lamps", get_with(list, |route| route.id("listLamps")));
    Api::new(routes).about(About { title: "lamps", description: "All lamps." })
}

fn codes(document: &Value, operation: &str, status: &str) -> Vec<String> {
    let answer = &document.pointer(operation).unwrap()["responses"][status];
    let examples = &answer["content"]["application/problem+json"]["examples"];
    let mut codes: Vec<_> = examples.as_object().unwrap().keys().cloned().collect();
    codes.sort_unstable();
    codes
}

#[test]
fn extractors_say_what_they_take_and_refuse() {
    let document = serde_json::to_value(api().document()).unwrap();
    let hang = "/paths/~1lamps~1{lamp_id}/post";
    assert_eq!(
        codes(&document, hang, "400"),
        ["idempotency_key_malformed", "idempotency_key_missing", "invalid_id", "malformed_json"]
    );
    assert_eq!(codes(&document, hang, "409"), ["invalid_state", "request_in_progress"]);
    assert_eq!(codes(&document, hang, "422"), ["idempotency_key_reused", "validation_failed"]);
    assert_eq!(codes(&document, "/paths/~1lamps/get", "400"), ["invalid_cursor"]);
    let operation = document.pointer(hang).unwrap();
    let names = operation["parameters"].as_array().unwrap().iter();
    let names: Vec<&Value> = names.map(|parameter| &parameter["name"]).collect();
    assert_eq!(names, ["lamp_id", "Idempotency-Key"]);
    assert!(operation["responses"]["200"]["headers"]["Idempotency-Replayed"].is_object());
    assert_eq!(document["components"]["schemas"]["Lamp"]["properties"]["lumen"]["maximum"], 9_000);
}

#[test]
fn every_route_says_what_any_of_them_may_answer() {
    let document = serde_json::to_value(api().document()).unwrap();
    for operation in ["/paths/~1lamps/get", "/paths/~1lamps~1{lamp_id}/post"] {
        for status in ["406", "408", "414", "429", "431", "503"] {
            let answer = &document.pointer(operation).unwrap()["responses"][status];
            let target = answer["$ref"].as_str().unwrap().strip_prefix('#').unwrap();
            let content = &document.pointer(target).unwrap()["content"];
            assert!(content["application/problem+json"]["examples"].is_object(), "{status}");
        }
    }
}

#[test]
fn the_document_is_the_same_every_time() {
    let once = || serde_json::to_string(&api().document()).unwrap();
    assert_eq!(once(), once());
}

#[tokio::test]
async fn the_document_is_served_for_programs_and_for_people_without_the_network() {
    let server = start(api()).await;
    let answer = get(server.addr, "/openapi.json").await;
    assert_eq!(answer.status, StatusCode::OK.as_u16());
    let served: Value = serde_json::from_str(&answer.body).unwrap();
    assert_eq!(served["openapi"], "3.1.0");
    assert_eq!(served["info"]["title"], json!("lamps"));

    let page = get(server.addr, "/docs").await;
    assert_eq!(page.status, StatusCode::OK.as_u16());
    assert!(page.body.contains("id=\"idempotency-key\"") && page.body.contains("lamps"));
    assert!(page.body.contains("\"validatorUrl\": null"), "it asks nobody else");
    for elsewhere in ["src=\"http", "href=\"http", "src=\"//", "@import", "url(http"] {
        assert!(!page.body.contains(elsewhere), "{elsewhere}");
    }
}
