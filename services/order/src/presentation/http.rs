//! The HTTP API: parse, open a transaction, call the use case, commit, answer.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use chassis::http::routing::{get_with, post_with};
use chassis::http::{Api, ApiRouter, Id, Json, KeyedJson, Path, Query, RequestContext};
use chassis::problem::{FieldError, Problem, code};
use contracts::is_sku;
use feed::MEDIA_TYPE;
use http::{Method, StatusCode};
use messaging::answers::{Answer, Remembered, RequestKey};
use messaging::{Cause, Tx};
use uuid::Uuid;

use super::answers::{OrderBody, OrdersPage, ProductBody, ProductsPage};
use super::requests::{NewOrder, OrderPath, OrdersQuery, ProductPath, ProductsQuery};
use super::{events, openapi};
use crate::application::cancel_order::{CancelOrderError, cancel_order};
use crate::application::place_order::{PlaceOrderError, place_order};
use crate::application::ports::StoreError;
use crate::{App, store, stored, unless_answered};

/// A race for an order is decided by its row's lock; more than one lost in a row is rare.
const CANCEL_TRIES: u32 = 5;

/// The API: its routes, and what they answer with where that is not JSON.
pub fn api() -> Api<App> {
    Api::new(routes())
        .about(openapi::ABOUT)
        .produces(events::OF_ALL, MEDIA_TYPE)
        .produces(events::OF_ORDER, MEDIA_TYPE)
}

fn routes() -> ApiRouter<App> {
    let orders = post_with(post_order, openapi::post_order);
    ApiRouter::new()
        .api_route("/orders", orders.get_with(list_orders, openapi::list_orders))
        .api_route(events::OF_ALL, get_with(events::of_all, openapi::events_of_all))
        .api_route("/orders/{order_id}", get_with(get_order, openapi::get_order))
        .api_route(events::OF_ORDER, get_with(events::of_order, openapi::events_of_order))
        .api_route(
            "/orders/{order_id}/cancel",
            post_with(post_cancellation, openapi::post_cancellation),
        )
        .api_route("/products", get_with(list_products, openapi::list_products))
        .api_route("/products/{sku}", get_with(get_product, openapi::get_product))
}

/// Accepts an order: `202` once it is stored. The broker is not involved.
async fn post_order(
    State(app): State<App>,
    RequestContext(context): RequestContext,
    request: KeyedJson<NewOrder>,
) -> Result<Response, Problem> {
    let scope = format!("{} /orders", Method::POST);
    let key = RequestKey::new(scope, request.key.as_str(), &request.bytes);
    let order_id = app.pool.new_id();
    let command = request.body.and_then(|new| new.into_command(order_id, app.order_deadline));
    let command = match command {
        Ok(command) => command,
        Err(fault) => return unless_answered(&app.pool, &key, fault).await,
    };
    let trace_id = messaging::trace::trace_id(&context);
    let cause = Cause::request(command.order_id, context);
    let mut tx = Tx::begin(&app.pool, cause).await.map_err(StoreError::from)?;
    match tx.remembered(&key).await.map_err(StoreError::from)? {
        Remembered::Nothing => {}
        Remembered::Answer(answer) => return Ok(stored(answer, true)),
        Remembered::Reused => return Err(Problem::idempotency_key_reused()),
        Remembered::InProgress => return Err(Problem::request_in_progress()),
    }
    let now = tx.now();
    let answer = match place_order(&mut store(&mut tx), command, now).await {
        Ok(order) => {
            let body = serde_json::to_vec(&OrderBody::placed(&order, trace_id));
            let body = body.map_err(Problem::internal)?;
            Answer { status: 202, location: Some(format!("/orders/{}", order.id())), body }
        }
        Err(PlaceOrderError::Store(error)) => return Err(error.into()),
        // A refusal is an answer too: it is stored, and given again.
        Err(refusal) => refused(&refusal),
    };
    tx.remember(&key, &answer).await.map_err(StoreError::from)?;
    tx.after_commit(app.feed.changed());
    tx.commit().await.map_err(StoreError::from)?;
    Ok(stored(answer, false))
}

/// Cancels an order at once; stock and money follow. `202` also when its customer cancelled it before.
async fn post_cancellation(
    State(app): State<App>,
    RequestContext(context): RequestContext,
    Path(OrderPath { order_id: Id(order_id) }): Path<OrderPath>,
) -> Result<Response, Problem> {
    let cause = Cause::request(order_id, context);
    let mut tries_left = CANCEL_TRIES;
    loop {
        tries_left -= 1;
        match cancel(&app, cause.clone(), order_id).await {
            Ok(()) => break,
            Err(CancelOrderError::Store(error)) if tries_left > 0 && error.is_lost_race() => {
                tracing::debug!(%order_id, %error, "cancellation is tried again");
            }
            Err(error) => return Err(error.into()),
        }
    }
    let Json(order) = get_order(State(app), Path(OrderPath { order_id: Id(order_id) })).await?;
    Ok((StatusCode::ACCEPTED, Json(order)).into_response())
}

async fn cancel(app: &App, cause: Cause, order_id: Uuid) -> Result<(), CancelOrderError> {
    let mut tx = Tx::begin(&app.pool, cause).await.map_err(StoreError::from)?;
    let now = tx.now();
    cancel_order(&mut store(&mut tx), order_id, now).await?;
    tx.after_commit(app.feed.changed());
    Ok(tx.commit().await.map_err(StoreError::from)?)
}

async fn list_orders(
    State(app): State<App>,
    Query(query): Query<OrdersQuery>,
) -> Result<Json<OrdersPage>, Problem> {
    let (limit, filter) = query.into_filter()?;
    let found = app.queries.orders(filter, limit.rows()).await.map_err(Problem::unavailable)?;
    Ok(Json(OrdersPage::new(found, limit)))
}

async fn list_products(
    State(app): State<App>,
    Query(query): Query<ProductsQuery>,
) -> Result<Json<ProductsPage>, Problem> {
    let (limit, before) = query.into_page()?;
    let found = app.queries.products(before, limit.rows()).await.map_err(Problem::unavailable)?;
    Ok(Json(ProductsPage::new(found, limit)))
}

async fn get_order(
    State(app): State<App>,
    Path(OrderPath { order_id: Id(order_id) }): Path<OrderPath>,
) -> Result<Json<OrderBody>, Problem> {
    let order = app.queries.order(order_id).await.map_err(Problem::unavailable)?;
    order.map(|view| Json(view.into())).ok_or_else(Problem::not_found)
}

async fn get_product(
    State(app): State<App>,
    Path(ProductPath { sku }): Path<ProductPath>,
) -> Result<Json<ProductBody>, Problem> {
    if !is_sku(&sku) {
        return Err(Problem::not_found());
    }
    let product = app.queries.product(&sku).await.map_err(Problem::unavailable)?;
    product.map(|product| Json(product.into())).ok_or_else(Problem::not_found)
}

fn refused(refusal: &PlaceOrderError) -> Answer {
    let at = |positions: &[usize], code: &'static str| {
        let faults = positions.iter().map(|n| FieldError::new(format!("/lines/{n}/sku"), code));
        Problem::validation_failed(faults)
    };
    let problem = match refusal {
        PlaceOrderError::UnknownSkus(positions) => at(positions, "unknown_sku"),
        PlaceOrderError::MixedCurrencies(positions) => at(positions, "currency"),
        PlaceOrderError::PriceChanged => price_changed(),
        PlaceOrderError::Rule(_) | PlaceOrderError::Store(_) => {
            Problem::validation_failed([FieldError::new("/lines", code::RANGE)])
        }
    };
    Answer { status: problem.status().as_u16(), location: None, body: problem.body() }
}

pub(super) fn price_changed() -> Problem {
    let detail = "The total differs from expected_total; read the prices again.";
    Problem::conflict("price_changed", "Price changed", detail)
}

impl From<CancelOrderError> for Problem {
    fn from(error: CancelOrderError) -> Self {
        match error {
            CancelOrderError::Unknown => Self::not_found(),
            CancelOrderError::Ended => Self::invalid_state()
                .with_detail("The order is confirmed, or was cancelled for another reason."),
            // Every try lost: it says nothing of the order, and the next may go well.
            CancelOrderError::Store(error) if error.is_lost_race() => Self::unavailable(error),
            CancelOrderError::Store(error) => error.into(),
        }
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Database(error) => Self::unavailable(error),
            StoreError::Conflict(_) => Self::request_in_progress().caused_by(error),
            StoreError::Event(error) => Self::internal(error),
            StoreError::Full => Self::unavailable(error),
        }
    }
}
