//! An order service on a database of its own, asked over its own router.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

use axum::body::Body;
use chassis::http::Api;
use envelope::signature::Signer;
use envelope::{Clock, Identity};
use http::{Method, Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use messaging::{Cause, Pool, Tx};
use opentelemetry::Context;
use order::application::follow_product::follow_product;
use order::application::ports::{Product, ProductChange};
use order::infrastructure::Queries;
use order::presentation::http::routes;
use order::{App, store};
use serde_json::{Value, json};
use testkit::Database;
use tower::ServiceExt as _;
use uuid::Uuid;

pub struct Shop {
    pub database: Database,
    pub pool: Pool,
    router: axum::Router,
}

pub struct Answer {
    pub status: StatusCode,
    pub headers: http::HeaderMap,
    pub bytes: Vec<u8>,
    pub body: Value,
}

impl Shop {
    pub async fn open() -> Self {
        let database = Database::new("order").await;
        let identity = Identity::new("shop", "test", "order");
        let signer = Signer::from_seed("order-1", [1; 32]);
        let pool = Pool::new(database.pool(), identity, signer, Clock::system());
        let (queries, event_keys) = (Queries::new(pool.clone()), json!({}));
        let app = App { pool: pool.clone(), queries, event_keys };
        let router = Api::new(routes(app)).into_router();
        Self { database, pool, router }
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
        let response: Response<Body> = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes().to_vec();
        let body = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
        Answer { status: parts.status, headers: parts.headers, bytes, body }
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.ask(Request::builder().uri(path).body(Body::empty()).unwrap()).await
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

pub fn basket(lines: &[(&str, u32)]) -> Value {
    let lines: Vec<Value> =
        lines.iter().map(|(sku, quantity)| json!({"sku": sku, "quantity": quantity})).collect();
    json!({"customer_id": "0192f3a0-0000-7000-8000-000000000001",
        "customer_email": "a@example.com", "lines": lines, "payment_method": "pm_ok"})
}
