//! An inventory service on a database of its own, asked over its own router.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

pub mod csv;

use axum::body::Body;
use envelope::signature::Signer;
use envelope::{Clock, Identity};
use http::{Method, Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use inventory::application::put_product::{Put, PutProductError, put_product};
use inventory::application::release_stock::{ReleaseStockError, release_stock};
use inventory::application::reserve_stock::{ReserveStock, ReserveStockError, reserve_stock};
use inventory::application::ship_stock::{ShipStockError, ship_stock};
use inventory::domain::money::Money;
use inventory::domain::product::Description;
use inventory::domain::reservation::{Charge, Line};
use inventory::presentation::http::api;
use inventory::{App, store};
use messaging::{Cause, Pool, Tx};
use opentelemetry::Context;
use serde_json::Value;
use testkit::Database;
use tower::ServiceExt as _;
use uuid::Uuid;

pub struct Warehouse {
    pub database: Database,
    pub pool: Pool,
    pub router: axum::Router,
}

pub struct Answer {
    pub status: StatusCode,
    pub headers: http::HeaderMap,
    pub bytes: Vec<u8>,
    pub body: Value,
}

impl Warehouse {
    pub async fn open() -> Self {
        let database = Database::new("inventory").await;
        let identity = Identity::new("shop", "test", "inventory");
        let signer = Signer::from_seed("inventory-1", [2; 32]);
        let pool = Pool::new(database.pool(), identity, signer, Clock::system());
        let router = api().with_state(App::new(pool.clone())).into_router();
        Self { database, pool, router }
    }

    pub async fn tx(&self) -> Tx {
        Tx::begin(&self.pool, Cause::request(Uuid::nil(), Context::new())).await.unwrap()
    }

    pub async fn put(
        &self,
        sku: &str,
        name: &str,
        price: i64,
        on_hand: i64,
    ) -> Result<Put, PutProductError> {
        let mut tx = self.tx().await;
        let unit_price = Money::new(price, "GBP");
        let description = Description { name: name.into(), unit_price, on_hand };
        let now = tx.now();
        let put = put_product(&mut store(&mut tx), sku.into(), description, now).await?;
        tx.commit().await.unwrap();
        Ok(put)
    }

    /// Lists a product with that much stock.
    pub async fn has(&self, sku: &str, on_hand: i64) {
        assert!(matches!(self.put(sku, "thing", 100, on_hand).await, Ok(Put::Listed(_))));
    }

    pub async fn place(
        &self,
        order_id: Uuid,
        lines: &[(&str, u32)],
    ) -> Result<(), ReserveStockError> {
        self.place_all(&[(order_id, lines)]).await
    }

    /// Several orders in one transaction.
    pub async fn place_all(
        &self,
        orders: &[(Uuid, &[(&str, u32)])],
    ) -> Result<(), ReserveStockError> {
        let command = |(order_id, lines): &(Uuid, &[(&str, u32)])| {
            let line =
                |(sku, quantity): &(&str, u32)| Line { sku: (*sku).into(), quantity: *quantity };
            let charge = Charge { amount: Money::new(700, "GBP"), payment_method: "pm_ok".into() };
            ReserveStock { order_id: *order_id, lines: lines.iter().map(line).collect(), charge }
        };
        let commands = orders.iter().map(command).collect();
        let mut tx = self.tx().await;
        let now = tx.now();
        reserve_stock(&mut store(&mut tx), commands, now).await?;
        tx.commit().await.unwrap();
        Ok(())
    }

    pub async fn confirm(&self, order_id: Uuid) -> Result<(), ShipStockError> {
        self.confirm_all(&[order_id]).await
    }

    /// Several orders in one transaction.
    pub async fn confirm_all(&self, order_ids: &[Uuid]) -> Result<(), ShipStockError> {
        let mut tx = self.tx().await;
        let now = tx.now();
        ship_stock(&mut store(&mut tx), order_ids, now).await?;
        tx.commit().await.unwrap();
        Ok(())
    }

    pub async fn cancel(&self, order_id: Uuid) -> Result<(), ReleaseStockError> {
        self.cancel_all(&[order_id]).await
    }

    /// Several orders in one transaction.
    pub async fn cancel_all(&self, order_ids: &[Uuid]) -> Result<(), ReleaseStockError> {
        let mut tx = self.tx().await;
        let now = tx.now();
        release_stock(&mut store(&mut tx), order_ids, now).await?;
        tx.commit().await.unwrap();
        Ok(())
    }

    /// A new order's id.
    pub fn order(&self) -> Uuid {
        self.pool.new_id()
    }

    /// On hand and reserved.
    pub async fn stock(&self, sku: &str) -> (i64, i64) {
        sqlx::query_as("select on_hand, reserved from products where sku = $1")
            .bind(sku)
            .fetch_one(self.pool.pg())
            .await
            .unwrap()
    }

    pub async fn status(&self, order_id: Uuid) -> String {
        sqlx::query_scalar("select status from reservations where order_id = $1")
            .bind(order_id)
            .fetch_one(self.pool.pg())
            .await
            .unwrap()
    }

    /// The movements of a product, oldest first.
    pub async fn movements(&self, sku: &str) -> Vec<(i64, String)> {
        sqlx::query_as("select delta, kind from stock_movements where sku = $1 order by id")
            .bind(sku)
            .fetch_all(self.pool.pg())
            .await
            .unwrap()
    }

    /// What the outbox holds of an aggregate, oldest first: type, version and data.
    pub async fn told(&self, subject: impl ToString) -> Vec<(String, i32, Value)> {
        let rows: Vec<(String, i32, Vec<u8>)> = sqlx::query_as(
            "select type, aggversion, body from messaging.outbox where subject = $1 order by seq",
        )
        .bind(subject.to_string())
        .fetch_all(self.pool.pg())
        .await
        .unwrap();
        let data = |body: &[u8]| {
            let envelope: Value = serde_json::from_slice(body).unwrap();
            envelope["data"].clone()
        };
        rows.into_iter().map(|(kind, version, body)| (kind, version, data(&body))).collect()
    }

    /// As [`told`](Self::told), types and versions only.
    pub async fn types(&self, subject: impl ToString) -> Vec<(String, i32)> {
        self.told(subject).await.into_iter().map(|(kind, version, _)| (kind, version)).collect()
    }

    /// The books balance: reserved is what live reservations hold, on hand is the sum of all
    /// movements, and every aggregate's events are numbered without a gap.
    pub async fn assert_balanced(&self) {
        let wrong: Vec<(String, String)> = sqlx::query_as(
            "select 'reserved of ' || sku, reserved::text from products p where reserved <> (
                select coalesce(sum(quantity), 0) from reservation_lines l
                join reservations r using (order_id) where l.sku = p.sku and r.status = 'reserved')
            union all
            select 'on hand of ' || sku, on_hand::text from products p where on_hand <> (
                select sum(delta) from stock_movements m where m.sku = p.sku)
            union all
            select 'versions of ' || a.subject, array_agg(o.aggversion order by o.seq)::text
            from (select 'product/' || sku, version from products
                union all select 'reservation/' || order_id, version from reservations)
                as a (subject, version)
            left join messaging.outbox o using (subject)
            group by a.subject, a.version
            having array_remove(array_agg(o.aggversion order by o.seq), null)
                <> array(select generate_series(1, a.version))",
        )
        .fetch_all(self.pool.pg())
        .await
        .unwrap();
        assert!(wrong.is_empty(), "{wrong:?}");
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

    pub async fn send(
        &self,
        method: Method,
        path: &str,
        key: Option<&str>,
        body: &Value,
    ) -> Answer {
        let mut request =
            Request::builder().method(method).uri(path).header("content-type", "application/json");
        if let Some(key) = key {
            request = request.header("idempotency-key", key);
        }
        self.ask(request.body(Body::from(body.to_string())).unwrap()).await
    }
}

pub fn versions(types: &[(&str, i32)]) -> Vec<(String, i32)> {
    types.iter().map(|(kind, version)| (format!("shop.inventory.{kind}.v1"), *version)).collect()
}
