//! The part of Mailpit's HTTP API that Tidings uses, over a [`Mailbox`], and small pages for a
//! browser.

mod json;
mod pages;
mod search;

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde::Deserialize;

use crate::smtp::{Mail, Mailbox};

/// The API and the pages.
pub fn router(mailbox: Mailbox) -> Router {
    Router::new()
        .route("/api/v1/messages", get(messages).delete(delete))
        .route("/api/v1/search", get(find))
        .route("/api/v1/message/{id}", get(message))
        .route("/api/v1/message/{id}/raw", get(raw))
        .route("/livez", get(alive))
        .route("/readyz", get(alive))
        .route("/view/{id}", get(pages::view))
        .route("/", get(pages::index))
        .fallback(not_found)
        .with_state(mailbox)
}

#[derive(Debug, Deserialize)]
struct Window {
    #[serde(default)]
    start: usize,
    #[serde(default = "fifty")]
    limit: usize,
    #[serde(default)]
    query: String,
}

/// Mailpit's own default.
const fn fifty() -> usize {
    50
}

type Parameters = Result<Query<Window>, QueryRejection>;

async fn messages(State(mailbox): State<Mailbox>, parameters: Parameters) -> Response {
    match parameters {
        Ok(Query(window)) => list(&mailbox, &newest(&mailbox), &window),
        Err(error) => refused(&error.body_text()),
    }
}

async fn find(State(mailbox): State<Mailbox>, parameters: Parameters) -> Response {
    match parameters {
        Ok(Query(window)) if window.query.trim().is_empty() => refused("no search query"),
        Ok(Query(window)) => {
            let query = search::Search::parse(&window.query);
            let mut found = newest(&mailbox);
            found.retain(|mail| query.matches(mail));
            list(&mailbox, &found, &window)
        }
        Err(error) => refused(&error.body_text()),
    }
}

fn list(mailbox: &Mailbox, found: &[Arc<Mail>], window: &Window) -> Response {
    let shown = found.iter().skip(window.start).take(window.limit);
    axum::Json(json::list(mailbox.len(), found.len(), window.start, shown)).into_response()
}

async fn message(State(mailbox): State<Mailbox>, Path(id): Path<String>) -> Response {
    match one(&mailbox, &id) {
        Some(mail) => axum::Json(json::message(&mail)).into_response(),
        None => not_found().await,
    }
}

async fn raw(State(mailbox): State<Mailbox>, Path(id): Path<String>) -> Response {
    let Some(mail) = one(&mailbox, &id) else { return not_found().await };
    let headers = [
        (header::CONTENT_TYPE, "text/plain; charset=utf-8"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    (headers, mail.raw.clone()).into_response()
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Deletion {
    #[serde(rename = "IDs")]
    ids: Vec<String>,
}

/// The mails named in the body; all of them where it names none, as Mailpit does.
async fn delete(State(mailbox): State<Mailbox>, body: Bytes) -> Response {
    let deletion =
        if body.is_empty() { Ok(Deletion::default()) } else { serde_json::from_slice(&body) };
    match deletion {
        Ok(Deletion { ids }) if ids.is_empty() => mailbox.clear(),
        Ok(Deletion { ids }) => mailbox.remove(&ids),
        Err(error) => return refused(&error.to_string()),
    };
    "ok".into_response()
}

async fn alive() -> &'static str {
    "ok"
}

async fn not_found() -> Response {
    (StatusCode::NOT_FOUND, "404 page not found").into_response()
}

fn refused(reason: &str) -> Response {
    (StatusCode::BAD_REQUEST, format!("Error: {reason}")).into_response()
}

/// The mail of that id; `latest` is the newest, as in Mailpit.
fn one(mailbox: &Mailbox, id: &str) -> Option<Arc<Mail>> {
    if id == "latest" { mailbox.all().pop() } else { mailbox.get(id) }
}

fn newest(mailbox: &Mailbox) -> Vec<Arc<Mail>> {
    let mut mails = mailbox.all();
    mails.reverse();
    mails
}
