//! The HTTP API: parse, open a transaction, call the use case, commit, answer.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use chassis::http::routing::{get_with, post_with, put_with};
use chassis::http::{Api, ApiRouter, Id, Json, KeyedJson, Path, Query, RequestContext};
use chassis::problem::{FieldError, Problem, code};
use http::header::LOCATION;
use http::{Method, StatusCode};
use messaging::answers::{Answer, Remembered, RequestKey};
use messaging::{Cause, Tx};

use super::answers::{ProductBody, ReservationBody, StockBody, StockPage};
use super::import::{BODY_BYTES, import};
use super::openapi;
use super::requests::{Arrival, OrderPath, ProductPath, ProductPut, StockQuery};
use crate::application::ports::StoreError;
use crate::application::put_product::{Put, PutProductError, put_product};
use crate::application::replenish::{ReplenishError, replenish};
use crate::domain::product::ProductError;
use crate::{App, store, stored, unless_answered};

const IMPORT: &str = "/products/import";

/// The API: all routes, and what they take beyond the usual.
pub fn api() -> Api<App> {
    Api::new(routes()).about(openapi::ABOUT).body_limit(Method::POST, IMPORT, BODY_BYTES)
}

fn routes() -> ApiRouter<App> {
    let importing = post_with(import, openapi::import);
    let put_import = put_with(put_import, openapi::put_import);
    ApiRouter::new()
        .api_route(IMPORT, importing.merge(put_import))
        .api_route("/products/{sku}", put_with(put_a_product, openapi::put_product))
        .api_route("/stock", get_with(list_stock, openapi::list_stock))
        .api_route("/stock/{sku}", get_with(get_stock, openapi::get_stock))
        .api_route("/stock/{sku}/replenish", post_with(post_arrival, openapi::post_arrival))
        .api_route("/reservations/{order_id}", get_with(get_reservation, openapi::get_reservation))
}

/// Lists a product (`201`) or makes it what the body says (`200`).
async fn put_a_product(
    State(app): State<App>,
    context: RequestContext,
    Path(path): Path<ProductPath>,
    Json(body): Json<ProductPut>,
) -> Result<Response, Problem> {
    put_the_product(app, context, path.into_sku()?, body).await
}

async fn put_the_product(
    app: App,
    RequestContext(context): RequestContext,
    sku: String,
    body: ProductPut,
) -> Result<Response, Problem> {
    let description = body.into_description()?;
    let cause = Cause::request(app.pool.new_id(), context);
    let mut tx = Tx::begin(&app.pool, cause).await.map_err(StoreError::from)?;
    let now = tx.now();
    let put = put_product(&mut store(&mut tx), sku, description, now).await?;
    tx.commit().await.map_err(StoreError::from)?;
    Ok(match put {
        Put::Listed(product) => {
            let location = format!("/stock/{}", product.sku());
            let body = Json(ProductBody::from(&product));
            (StatusCode::CREATED, [(LOCATION, location)], body).into_response()
        }
        Put::Described(product) => Json(ProductBody::from(&product)).into_response(),
    })
}

/// `import` is a SKU like any other.
async fn put_import(
    State(app): State<App>,
    context: RequestContext,
    Json(body): Json<ProductPut>,
) -> Result<Response, Problem> {
    put_the_product(app, context, "import".to_owned(), body).await
}

/// Takes in goods, once per key.
async fn post_arrival(
    State(app): State<App>,
    RequestContext(context): RequestContext,
    Path(path): Path<ProductPath>,
    request: KeyedJson<Arrival>,
) -> Result<Response, Problem> {
    let sku = path.into_sku()?;
    let scope = format!("{} /stock/{sku}/replenish", Method::POST);
    let key = RequestKey::new(scope, request.key.as_str(), &request.bytes);
    let quantity = match request.body.and_then(Arrival::into_quantity) {
        Ok(quantity) => quantity,
        Err(fault) => return unless_answered(&app.pool, &key, fault).await,
    };
    let cause = Cause::request(app.pool.new_id(), context);
    let mut tx = Tx::begin(&app.pool, cause).await.map_err(StoreError::from)?;
    if let Some(answer) = recalled(&mut tx, &key).await? {
        return Ok(answer);
    }
    let now = tx.now();
    let answer = match replenish(&mut store(&mut tx), &sku, quantity, now).await {
        Ok(product) => {
            let body = serde_json::to_vec(&StockBody::from(&product)).map_err(Problem::internal)?;
            Answer { status: StatusCode::OK.as_u16(), location: None, body }
        }
        Err(ReplenishError::Unknown) => return Err(Problem::not_found()),
        Err(ReplenishError::Store(error)) => return Err(error.into()),
        // A refusal is an answer too: it is stored, and given again.
        Err(ReplenishError::Rule(_)) => {
            refused(&Problem::validation_failed([FieldError::new("/quantity", code::RANGE)]))
        }
    };
    tx.remember(&key, &answer).await.map_err(StoreError::from)?;
    tx.commit().await.map_err(StoreError::from)?;
    Ok(stored(answer, false))
}

async fn list_stock(
    State(app): State<App>,
    Query(query): Query<StockQuery>,
) -> Result<Json<StockPage>, Problem> {
    let (limit, before) = query.into_page()?;
    let found = app.queries.stock_before(before, limit.rows()).await;
    Ok(Json(StockPage::new(found.map_err(Problem::unavailable)?, limit)))
}

async fn get_stock(
    State(app): State<App>,
    Path(path): Path<ProductPath>,
) -> Result<Json<StockBody>, Problem> {
    let stock = app.queries.stock(&path.into_sku()?).await.map_err(Problem::unavailable)?;
    stock.map(|stock| Json(stock.into())).ok_or_else(Problem::not_found)
}

async fn get_reservation(
    State(app): State<App>,
    Path(OrderPath { order_id: Id(order_id) }): Path<OrderPath>,
) -> Result<Json<ReservationBody>, Problem> {
    let found = app.queries.reservation(order_id).await.map_err(Problem::unavailable)?;
    found.map(|view| Json(view.into())).ok_or_else(Problem::not_found)
}

/// The answer that was given under the key before; none if the key is ours now.
pub(super) async fn recalled(tx: &mut Tx, key: &RequestKey) -> Result<Option<Response>, Problem> {
    match tx.remembered(key).await.map_err(StoreError::from)? {
        Remembered::Nothing => Ok(None),
        Remembered::Answer(answer) => Ok(Some(stored(answer, true))),
        Remembered::Reused => Err(Problem::idempotency_key_reused()),
        Remembered::InProgress => Err(Problem::request_in_progress()),
    }
}

pub(super) fn below_reserved() -> Problem {
    let detail = "More pieces than that are set aside for orders.";
    Problem::conflict("below_reserved", "Below reserved", detail)
}

pub(super) fn refused(problem: &Problem) -> Answer {
    Answer { status: problem.status().as_u16(), location: None, body: problem.body() }
}

impl From<PutProductError> for Problem {
    fn from(error: PutProductError) -> Self {
        match error {
            PutProductError::Rule(ProductError::BelowReserved) => below_reserved(),
            PutProductError::Rule(ProductError::Overflow) => {
                Self::validation_failed([FieldError::new("/on_hand", code::RANGE)])
            }
            PutProductError::Store(error) => error.into(),
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
