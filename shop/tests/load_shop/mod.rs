//! A shop of one thread that keeps its orders in memory, with chosen manners.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post, put};
use axum::{Json, Router};
use chrono::{DateTime, TimeDelta};
use envelope::Clock;
use sandbox::{Running, bind, serve_http};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// How it answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Manners {
    /// As it should.
    Good,
    /// It takes the order, and says that it is not available, the first time under each key.
    LosesFirstAnswers,
    /// It knows no product.
    Refuses,
    /// It takes orders, and that is all.
    NeverEnds,
}

/// The shop.
pub(crate) struct FakeShop {
    books: Books,
    url: String,
    _running: Running,
}

type Books = Arc<Mutex<Shelf>>;

struct Shelf {
    manners: Manners,
    clock: Clock,
    products: HashMap<String, Value>,
    order_of_key: HashMap<String, Uuid>,
    orders: HashMap<Uuid, Order>,
}

struct Order {
    declined: bool,
    looks: u32,
}

impl FakeShop {
    pub(crate) async fn with(manners: Manners) -> Self {
        let books = Arc::new(Mutex::new(Shelf {
            manners,
            clock: Clock::system(),
            products: HashMap::new(),
            order_of_key: HashMap::new(),
            orders: HashMap::new(),
        }));
        let router = Router::new()
            .route("/products/{sku}", put(put_product).get(get_product))
            .route("/orders", post(place))
            .route("/orders/{id}", get(look))
            .with_state(Arc::clone(&books));
        let listener = bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let running = serve_http(listener, router, &CancellationToken::new()).unwrap();
        Self { books, url, _running: running }
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    pub(crate) fn orders(&self) -> usize {
        self.books.lock().unwrap().orders.len()
    }

    pub(crate) fn on_hand(&self, sku: &str) -> i64 {
        self.books.lock().unwrap().products[sku]["on_hand"].as_i64().unwrap()
    }
}

async fn put_product(
    State(books): State<Books>,
    Path(sku): Path<String>,
    Json(product): Json<Value>,
) -> StatusCode {
    let before = books.lock().unwrap().products.insert(sku, product);
    if before.is_none() { StatusCode::CREATED } else { StatusCode::OK }
}

async fn get_product(State(books): State<Books>, Path(sku): Path<String>) -> Response {
    match books.lock().unwrap().products.get(&sku) {
        Some(product) => Json(product.clone()).into_response(),
        None => problem(404, "not_found", &[]),
    }
}

async fn place(
    State(books): State<Books>,
    headers: HeaderMap,
    Json(order): Json<Value>,
) -> Response {
    let mut books = books.lock().unwrap();
    if books.manners == Manners::Refuses {
        return problem(422, "validation_failed", &["unknown_sku"]);
    }
    let key = headers["idempotency-key"].to_str().unwrap().to_owned();
    if let Some(id) = books.order_of_key.get(&key).copied() {
        return (StatusCode::ACCEPTED, Json(document(id, &books.orders[&id]))).into_response();
    }
    let id = books.clock.new_id();
    let order = Order { declined: order["payment_method"] == "pm_declined", looks: 0 };
    let answer = document(id, &order);
    books.order_of_key.insert(key, id);
    books.orders.insert(id, order);
    if books.manners == Manners::LosesFirstAnswers {
        return problem(503, "unavailable", &[]);
    }
    (StatusCode::ACCEPTED, Json(answer)).into_response()
}

/// An order ends between the first look and the second.
async fn look(State(books): State<Books>, Path(id): Path<Uuid>) -> Response {
    let mut books = books.lock().unwrap();
    let never = books.manners == Manners::NeverEnds;
    let Some(order) = books.orders.get_mut(&id) else { return problem(404, "not_found", &[]) };
    let answer = document(id, order);
    order.looks += u32::from(!never);
    Json(answer).into_response()
}

fn document(id: Uuid, order: &Order) -> Value {
    let placed_at = DateTime::UNIX_EPOCH;
    let mut history = vec![json!({ "status": "pending", "at": placed_at })];
    let status = match order {
        Order { looks: 0, .. } => "pending",
        Order { declined: true, .. } => "cancelled",
        Order { declined: false, .. } => "confirmed",
    };
    if status != "pending" {
        history
            .push(json!({ "status": status, "at": placed_at + TimeDelta::microseconds(12_500) }));
    }
    let reason = (status == "cancelled").then_some("payment_declined");
    json!({ "order_id": id, "status": status, "cancel_reason": reason, "placed_at": placed_at,
        "total": { "amount_minor": 100, "currency": "GBP" }, "history": history })
}

fn problem(status: u16, code: &str, fields: &[&str]) -> Response {
    let errors: Vec<Value> =
        fields.iter().map(|code| json!({ "pointer": "/lines/0/sku", "code": code })).collect();
    let body = json!({ "status": status, "code": code, "errors": errors });
    (StatusCode::from_u16(status).unwrap(), Json(body)).into_response()
}
