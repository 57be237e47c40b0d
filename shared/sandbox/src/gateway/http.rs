//! The gateway's HTTP API.

use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, QueryRejection};
use axum::extract::{ConnectInfo, DefaultBodyLimit, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Router};
use serde::Deserialize;
use serde_json::json;

use super::cut::Cut;
use super::input::{Refusal, body, check_limit, check_text, idempotency_key};
use super::model::{Answer, ChargePage, RefundPage};
use super::{Charged, Gateway};

const MAX_BODY_BYTES: usize = 16 * 1024;
const DEFAULT_LIMIT: usize = 100;
const MAX_LIMIT: usize = 1_000;

type Payload = Result<Bytes, BytesRejection>;
type Connection = Option<Extension<ConnectInfo<Cut>>>;
type Parameters = Result<Query<Lookup>, QueryRejection>;

pub(super) fn router(gateway: Gateway) -> Router {
    Router::new()
        .route("/charges", post(charge).get(charges))
        .route("/refunds", post(refund).get(refunds))
        .route("/health", get(health))
        .fallback(unknown_path)
        .method_not_allowed_fallback(wrong_method)
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .with_state(gateway)
}

async fn charge(
    State(gateway): State<Gateway>,
    connection: Connection,
    headers: HeaderMap,
    payload: Payload,
) -> Result<Response, Refusal> {
    let key = idempotency_key(&headers)?;
    let request = body(&headers, &received(payload)?)?;
    match gateway.charge(&key, request).await? {
        Charged { answer, reply_lost: false } => Ok(stored(&answer)),
        Charged { reply_lost: true, .. } => Ok(lose(&gateway, connection).await),
    }
}

async fn refund(
    State(gateway): State<Gateway>,
    headers: HeaderMap,
    payload: Payload,
) -> Result<Response, Refusal> {
    let key = idempotency_key(&headers)?;
    let request = body(&headers, &received(payload)?)?;
    let answer = gateway.refund(&key, request).await?;
    Ok(stored(&answer))
}

fn received(payload: Payload) -> Result<Bytes, Refusal> {
    payload.map_err(|rejection| {
        let status = rejection.status();
        let code = match status {
            StatusCode::PAYLOAD_TOO_LARGE => "payload_too_large",
            _ => "body_unreadable",
        };
        Refusal::bad(status, code, rejection.body_text())
    })
}

fn stored(answer: &Answer) -> Response {
    let status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let json = [(header::CONTENT_TYPE, "application/json")];
    (status, json, answer.body.to_string()).into_response()
}

/// Keeps the caller waiting, then closes without an answer.
async fn lose(gateway: &Gateway, connection: Connection) -> Response {
    let hold = tokio::time::sleep(gateway.inner.options.hold);
    if let Some(Extension(ConnectInfo(connection))) = connection {
        tokio::select! {
            () = hold => {}
            () = connection.stopped() => {}
        }
        connection.cut();
    } else {
        hold.await;
    }
    let text = "the reply was lost: look the charge up, or repeat it with the same key";
    Refusal::bad(StatusCode::GATEWAY_TIMEOUT, "reply_lost", text).into_response()
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Lookup {
    order_id: Option<String>,
    limit: Option<String>,
    cursor: Option<String>,
}

/// What a lookup asks for.
enum Wanted {
    Order(String),
    Page { from: usize, limit: usize },
}

impl Wanted {
    fn parse(parameters: Parameters) -> Result<Self, Refusal> {
        let bad = |code, text: String| Refusal::bad(StatusCode::BAD_REQUEST, code, text);
        let Query(lookup) =
            parameters.map_err(|rejection| bad("invalid_query", rejection.body_text()))?;
        if let Some(order_id) = lookup.order_id {
            check_text("order_id", &order_id, 200)?;
            if lookup.limit.is_some() || lookup.cursor.is_some() {
                let text = "order_id gives every record of the order: no limit, no cursor";
                return Err(bad("invalid_query", text.to_owned()));
            }
            return Ok(Self::Order(order_id));
        }
        let from = match lookup.cursor.as_deref() {
            None => 0,
            Some(cursor) => cursor.parse().map_err(|_| {
                bad("invalid_cursor", "cursor must be a next_cursor of this list".to_owned())
            })?,
        };
        let limit = check_limit(lookup.limit.as_deref(), DEFAULT_LIMIT, MAX_LIMIT)?;
        Ok(Self::Page { from, limit })
    }
}

/// A page of records that are only ever appended to, so a position is a cursor that stays right.
fn page<T: Clone>(all: &[T], from: usize, limit: usize) -> (Vec<T>, Option<String>) {
    let shown: Vec<T> = all.iter().skip(from).take(limit).cloned().collect();
    let next = from.saturating_add(shown.len());
    let more = next < all.len();
    (shown, more.then(|| next.to_string()))
}

async fn charges(
    State(gateway): State<Gateway>,
    parameters: Parameters,
) -> Result<Response, Refusal> {
    let wanted = Wanted::parse(parameters)?;
    let (charges, next_cursor) = gateway
        .look(|book| match &wanted {
            Wanted::Order(order_id) => (book.charges_of(order_id), None),
            Wanted::Page { from, limit } => page(book.charges(), *from, *limit),
        })
        .await?;
    Ok(axum::Json(ChargePage { charges, next_cursor }).into_response())
}

async fn refunds(
    State(gateway): State<Gateway>,
    parameters: Parameters,
) -> Result<Response, Refusal> {
    let wanted = Wanted::parse(parameters)?;
    let (refunds, next_cursor) = gateway
        .look(|book| match &wanted {
            Wanted::Order(order_id) => (book.refunds_of(order_id), None),
            Wanted::Page { from, limit } => page(book.refunds(), *from, *limit),
        })
        .await?;
    Ok(axum::Json(RefundPage { refunds, next_cursor }).into_response())
}

async fn health(State(gateway): State<Gateway>) -> Response {
    match gateway.inner.ledger.failure() {
        None => axum::Json(json!({ "status": "ok" })).into_response(),
        Some(failed) => Refusal::from(failed).into_response(),
    }
}

async fn unknown_path() -> Refusal {
    let text = "the paths are /charges, /refunds and /health";
    Refusal::bad(StatusCode::NOT_FOUND, "not_found", text)
}

async fn wrong_method() -> Refusal {
    let text = "this path does not take that method";
    Refusal::bad(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", text)
}
