//! An order service on a database of its own, asked over its own router.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

pub mod clock;
pub mod stream;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use chassis::telemetry::{self, TelemetryConfig};
use chrono::TimeDelta;
use envelope::signature::Signer;
use envelope::{Clock, Identity};
use http::{Method, Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use messaging::{Cause, Pool, Tx};
use opentelemetry::Context;
use order::application::follow_product::follow_product;
use order::application::ports::{Product, ProductChange};
use order::application::settle_orders::{Verdict, settle_orders};
use order::presentation::http::api;
use order::{App, store};
use serde_json::{Value, json};
use sqlx::PgPool;
use testkit::{Database, eventually};
use tower::ServiceExt as _;
use uuid::Uuid;

/// Longer than anything here may take, however busy the machine.
pub const SOON: Duration = Duration::from_secs(30);
pub const CUSTOMER: &str = "0192f3a0-0000-7000-8000-000000000001";

pub struct Shop {
    pub database: Arc<Database>,
    pub pool: Pool,
    pub app: App,
    router: Router,
}

pub struct Answer {
    pub status: StatusCode,
    pub headers: http::HeaderMap,
    pub bytes: Vec<u8>,
    pub body: Value,
}

impl Shop {
    pub async fn open() -> Self {
        Self::at(Clock::system()).await
    }

    /// A service that takes its time from `clock`.
    pub async fn at(clock: Clock) -> Self {
        telemetry::init("order", &TelemetryConfig::default()).unwrap();
        let database = Arc::new(Database::new("order").await);
        let app = process(database.pool(), clock);
        let router = router(app.clone());
        Self { database, pool: app.pool.clone(), app, router }
    }

    /// The same shop as another process of the service sees it.
    pub fn beside(&self, app: App) -> Self {
        let (database, router) = (Arc::clone(&self.database), router(app.clone()));
        Self { database, pool: app.pool.clone(), app, router }
    }

    pub async fn tx(&self) -> Tx {
        Tx::begin(&self.pool, Cause::request(Uuid::nil(), Context::new())).await.unwrap()
    }

    pub async fn sells(&self, sku: &str, unit_price_minor: i64, currency: &str) {
        let mut tx = self.tx().await;
        let product = Product {
            sku: sku.into(),
            name: format!("The {sku}"),
            currency: currency.into(),
            unit_price_minor,
        };
        follow_product(&mut store(&mut tx), ProductChange::Listed(product)).await.unwrap();
        tx.commit().await.unwrap();
    }

    pub async fn ask(&self, request: Request<Body>) -> Answer {
        ask(&self.router, request).await
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.ask(Request::builder().uri(path).body(Body::empty()).unwrap()).await
    }

    pub async fn post(&self, path: &str) -> Answer {
        self.ask(Request::post(path).body(Body::empty()).unwrap()).await
    }

    /// Places an order for one piece of `A`, which is sold already.
    pub async fn place(&self) -> Uuid {
        let key = self.pool.new_id().to_string();
        let answer = self.post_order(&key, &basket(&[("A", 1)])).await;
        assert_eq!(answer.status, StatusCode::ACCEPTED, "{}", answer.body);
        answer.body["order_id"].as_str().unwrap().parse().unwrap()
    }

    pub async fn settle(&self, id: Uuid, verdict: Verdict) {
        let mut tx = self.tx().await;
        let now = tx.now();
        settle_orders(&mut store(&mut tx), &[id], verdict, now).await.unwrap();
        tx.after_commit(self.app.feed.changed());
        tx.commit().await.unwrap();
    }

    pub async fn cancel(&self, id: Uuid) -> Answer {
        self.post(&format!("/orders/{id}/cancel")).await
    }

    /// Waits until `count` connections to the database wait for a lock.
    pub async fn wait_for_waiters(&self, count: i64) {
        let look = || async {
            let sql = "select count(*) from pg_stat_activity
                where datname = current_database() and wait_event_type = 'Lock'";
            let waiting: i64 = sqlx::query_scalar(sql).fetch_one(self.pool.pg()).await.unwrap();
            if waiting == count { Ok(()) } else { Err(format!("{waiting} wait")) }
        };
        eventually(SOON, look).await;
    }

    /// The envelopes of an order's events, by version.
    pub async fn events(&self, id: Uuid) -> Vec<Value> {
        let sql = "select body from messaging.outbox where subject = $1 order by aggversion";
        let query = sqlx::query_scalar(sql).bind(format!("order/{id}"));
        let bodies: Vec<Vec<u8>> = query.fetch_all(self.pool.pg()).await.unwrap();
        bodies.iter().map(|body| serde_json::from_slice(body).unwrap()).collect()
    }

    /// The types and versions of an order's events, by version.
    pub async fn types(&self, id: Uuid) -> Vec<(String, i64)> {
        let events = self.events(id).await.into_iter();
        events
            .map(|event| {
                let name = event["type"].as_str().unwrap();
                (name.replace("shop.order.", ""), event["aggversion"].as_i64().unwrap())
            })
            .collect()
    }

    pub async fn post_order(&self, key: &str, body: &Value) -> Answer {
        let request = Request::builder()
            .method(Method::POST)
            .uri("/orders")
            .header("content-type", "application/json")
            .header("idempotency-key", key)
            .body(Body::from(body.to_string()))
            .unwrap();
        self.ask(request).await
    }

    /// Every event in the outbox, oldest first: type, version and data.
    pub async fn told(&self) -> Vec<(String, i32, Value)> {
        let rows: Vec<(String, i32, Vec<u8>)> =
            sqlx::query_as("select type, aggversion, body from messaging.outbox order by seq")
                .fetch_all(self.pool.pg())
                .await
                .unwrap();
        rows.into_iter()
            .map(|(event_type, version, body)| {
                let envelope: Value = serde_json::from_slice(&body).unwrap();
                (event_type, version, envelope["data"].clone())
            })
            .collect()
    }

    pub async fn count(&self, table: &str) -> i64 {
        let sql = sqlx::AssertSqlSafe(format!("select count(*) from {table}"));
        sqlx::query_scalar(sql).fetch_one(self.pool.pg()).await.unwrap()
    }
}

/// A process of the service.
pub fn process(pg: PgPool, clock: Clock) -> App {
    let identity = Identity::new("shop", "test", "order");
    let signer = Signer::from_seed("order-1", [1; 32]);
    let pool = Pool::new(pg, identity, signer, clock);
    App::new(pool, TimeDelta::minutes(15))
}

pub fn router(app: App) -> Router {
    api().with_state(app).into_router()
}

pub async fn ask(router: &Router, request: Request<Body>) -> Answer {
    let response: Response<Body> = router.clone().oneshot(request).await.unwrap();
    let (parts, body) = response.into_parts();
    let bytes = body.collect().await.unwrap().to_bytes().to_vec();
    let body = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
    Answer { status: parts.status, headers: parts.headers, bytes, body }
}

pub fn basket(lines: &[(&str, u32)]) -> Value {
    let lines: Vec<Value> =
        lines.iter().map(|(sku, quantity)| json!({"sku": sku, "quantity": quantity})).collect();
    json!({"customer_id": CUSTOMER,
        "customer_email": "a@example.com", "lines": lines, "payment_method": "pm_ok"})
}

/// Events as [`Shop::types`] gives them.
pub fn versions(types: &[&str]) -> Vec<(String, i64)> {
    types.iter().map(|name| format!("{name}.v1")).zip(1..).collect()
}
