//! Requests that an API must refuse: each under its row of the table of bad input, with the exact
//! answer of that row.
//!
//! ```no_run
//! use testkit::bad_input::{Bad, get, refused};
//!
//! # async fn example(router: &axum::Router) {
//! let row = "Id not a UUID";
//! refused(router, vec![Bad::new(row, get("/lamps/seven"), 400, "invalid_id")]).await;
//! # }
//! ```

use std::collections::BTreeSet;

use axum::Router;
use axum::body::Body;
use http::{HeaderMap, Method, Request};
use http_body_util::BodyExt as _;
use serde_json::Value;
use tower::ServiceExt as _;

/// To be put wherever a client may put something: it must not come back.
pub const MARK: &str = "Zq7xJwv";

/// Words that no answer has; they would tell of the database.
const INSIDE: [&str; 6] = ["sqlx", "postgres", "select ", "insert ", "relation", "panicked"];
const MEMBERS: [&str; 7] = ["type", "title", "status", "detail", "instance", "code", "trace_id"];

/// A request, and the refusal that it must get.
#[derive(Debug)]
pub struct Bad {
    row: &'static str,
    what: String,
    request: Request<Body>,
    status: u16,
    code: &'static str,
    faults: BTreeSet<(String, String)>,
    headers: Vec<(&'static str, &'static str)>,
}

impl Bad {
    /// `row` is the input as the table words it.
    pub fn new(row: &'static str, request: Request<Body>, status: u16, code: &'static str) -> Self {
        let what = format!("{} {:.80}", request.method(), request.uri().to_string());
        let (faults, headers) = (BTreeSet::new(), Vec::new());
        Self { row, what, request, status, code, faults, headers }
    }

    /// `422 validation_failed`, because of this field. Other fields follow with [`and`](Self::and).
    pub fn field(row: &'static str, request: Request<Body>, pointer: &str, code: &str) -> Self {
        Self::new(row, request, 422, "validation_failed").and(pointer, code)
    }

    /// This field is at fault as well.
    #[must_use]
    pub fn and(mut self, pointer: &str, code: &str) -> Self {
        self.faults.insert((pointer.to_owned(), code.to_owned()));
        self
    }

    /// The answer has this header, and this stands in it.
    #[must_use]
    pub fn header(mut self, name: &'static str, part: &'static str) -> Self {
        self.headers.push((name, part));
        self
    }

    /// Says in failures what is bad about it, where the address does not.
    #[must_use]
    pub fn named(mut self, what: &str) -> Self {
        self.what = format!("{} ({what:.120})", self.what);
        self
    }
}

/// Sends each, and ends the test with the first that is not refused exactly so.
pub async fn refused(router: &Router, all: Vec<Bad>) {
    for bad in all {
        let asked = format!("{}: {}", bad.row, bad.what);
        let answer = router.clone().oneshot(bad.request).await;
        let (parts, body) = answer.unwrap_or_else(|never| match never {}).into_parts();
        let body = body.collect().await.map(|body| body.to_bytes().to_vec()).unwrap_or_default();
        let text = String::from_utf8_lossy(&body).into_owned();
        let told = format!("{asked}\n{} {text}", parts.status);
        let problem: Value = serde_json::from_slice(&body).unwrap_or_default();

        assert_eq!(parts.status.as_u16(), bad.status, "{told}");
        assert_eq!(header(&parts.headers, "content-type"), "application/problem+json", "{told}");
        for (name, part) in bad.headers {
            let value = header(&parts.headers, name);
            assert!(value.contains(part), "{name}: {value:?}, not {part:?}\n{told}");
        }
        assert_eq!(problem["code"], bad.code, "{told}");
        assert_eq!(problem["status"], bad.status, "{told}");
        assert_eq!(faults(&problem), bad.faults, "{told}");
        assert_is_problem(&problem, &told);
        assert!(!text.contains(MARK), "the input comes back\n{told}");
        let lower = text.to_lowercase();
        assert!(!INSIDE.iter().any(|word| lower.contains(word)), "it tells of the inside\n{told}");
    }
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or("none")
}

/// The fields at fault: pointer and code.
fn faults(problem: &Value) -> BTreeSet<(String, String)> {
    let text = |fault: &Value, name: &str| fault[name].as_str().unwrap_or("none").to_owned();
    let errors = problem["errors"].as_array().map(Vec::as_slice).unwrap_or_default();
    errors.iter().map(|fault| (text(fault, "pointer"), text(fault, "code"))).collect()
}

/// RFC 9457, and what we add to it: no more, no less.
fn assert_is_problem(problem: &Value, told: &str) {
    let members = problem.as_object().into_iter().flatten();
    let names: BTreeSet<&str> = members.map(|(name, _)| name.as_str()).collect();
    let mut expected: BTreeSet<&str> = MEMBERS.into();
    if problem["errors"].as_array().is_some_and(|errors| !errors.is_empty()) {
        expected.insert("errors");
    }
    assert_eq!(names, expected, "{told}");
    let text = |name: &str| problem[name].as_str().unwrap_or_default();
    assert!(text("type").ends_with(text("code")) && !text("code").is_empty(), "{told}");
    assert!(!text("title").is_empty() && !text("detail").is_empty(), "{told}");
    assert!(text("instance").starts_with("urn:uuid:"), "{told}");
    let trace_id = text("trace_id");
    let hex = trace_id.len() == 32 && trace_id.bytes().all(|byte| byte.is_ascii_hexdigit());
    assert!(hex, "trace_id\n{told}");
}

/// A request without a body.
pub fn get(path: &str) -> Request<Body> {
    made(Method::GET, path, &[], Body::empty())
}

/// Any request, with these headers.
pub fn made(
    method: Method,
    path: &str,
    headers: &[(&str, &str)],
    body: impl Into<Body>,
) -> Request<Body> {
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    match request.body(body.into()) {
        Ok(request) => request,
        Err(error) => panic!("{path} is no request: {error}"),
    }
}

/// What a UUID looks like elsewhere, and no id does here: in braces, as a URN, without hyphens.
pub fn other_spellings(id: &str) -> [String; 3] {
    [format!("{{{id}}}"), format!("urn:uuid:{id}"), id.replace('-', "")]
}

/// What the table says of the address and the head, of an address that can be read and answers with
/// `media_type`.
pub fn bad_heads(path: &str, media_type: &str) -> Vec<Bad> {
    let too_large = "Body > 64 KiB / headers too large / URI too long";
    let wrong = "Wrong Content-Type / Accept cannot match / wrong method / unknown path";
    let with = |headers: &[(&str, &str)]| made(Method::GET, path, headers, Body::empty());
    let long = "x".repeat(9_000);
    let (bare, query) = path.split_once('?').unwrap_or((path, ""));
    let body = "x".repeat((64 << 10) + 1);
    let length = body.len().to_string();
    let large = made(Method::GET, path, &[("content-length", &length)], body);
    let all_else = format!("{media_type};q=0, */*");
    vec![
        Bad::new(too_large, large, 413, "payload_too_large"),
        Bad::new(too_large, with(&[("x-a", &long), ("x-b", &long)]), 431, "headers_too_large"),
        Bad::new(too_large, get(&format!("{bare}?{query}&{long}")), 414, "uri_too_long"),
        Bad::new(wrong, with(&[("accept", "image/png")]), 406, "not_acceptable"),
        Bad::new(wrong, with(&[("accept", &all_else)]), 406, "not_acceptable"),
        Bad::new(wrong, made(Method::DELETE, path, &[], ""), 405, "method_not_allowed")
            .header("allow", "GET"),
        Bad::new(wrong, get(&format!("{bare}/{MARK}/{MARK}")), 404, "not_found"),
        Bad::new(wrong, get(&format!("/{MARK}")), 404, "not_found"),
    ]
}
