//! An audit service on a database of its own, asked over its own router.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

use audit::application::record_event::record_events;
use audit::domain::chain::{Break, Entry};
use audit::presentation::http::api;
use audit::{App, store, verify_chain};
use axum::body::Body;
use chrono::{DateTime, TimeDelta, Utc};
use envelope::signature::Signer;
use envelope::{Clock, Identity};
use http::{Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use messaging::{Cause, Pool, Tx};
use opentelemetry::Context;
use serde_json::Value;
use sqlx::AssertSqlSafe;
use testkit::Database;
use tower::ServiceExt as _;
use uuid::Uuid;

pub struct Archive {
    pub database: Database,
    pub pool: Pool,
    pub app: App,
    pub router: axum::Router,
}

pub struct Answer {
    pub status: StatusCode,
    pub body: Value,
}

/// A process of the service on `pg`.
pub fn replica(pg: sqlx::PgPool) -> Pool {
    let identity = Identity::new("shop", "test", "audit");
    Pool::new(pg, identity, Signer::from_seed("audit-1", [5; 32]), Clock::system())
}

/// An event, the `n`th of its source, at second `n`.
pub fn event(n: u64) -> Entry<'static> {
    Entry {
        event_id: Uuid::from_u64_pair(1, n),
        source: "urn:shop:test:order",
        event_type: "shop.order.placed.v1",
        subject: "order/1",
        aggversion: 1,
        correlation_id: Uuid::nil(),
        causation_id: None,
        traceparent: None,
        occurred_at: at(n),
        received_at: at(n),
        published_at: None,
        body: b"{}",
        signature: &[7; 64],
        key_id: "order-1",
    }
}

pub fn at(second: u64) -> DateTime<Utc> {
    let start = DateTime::from_timestamp(1_700_000_000, 0).unwrap();
    start + TimeDelta::seconds(second as i64)
}

/// Records one event in a transaction of its own; true when it was new.
pub async fn record(pool: &Pool, entry: &Entry<'_>) -> bool {
    let mut tx = Tx::begin(pool, Cause::request(Uuid::nil(), Context::new())).await.unwrap();
    let new = record_events(&mut store(&mut tx), &[*entry]).await.unwrap();
    tx.commit().await.unwrap();
    new
}

impl Archive {
    pub async fn open() -> Self {
        let database = Database::new("audit").await;
        let pool = replica(database.pool());
        let app = App::new(pool.clone());
        let router = api().with_state(app.clone()).into_router();
        Self { database, pool, app, router }
    }

    /// An archive of `count` events.
    pub async fn of(count: u64) -> Self {
        let here = Self::open().await;
        let mut tx = here.tx().await;
        for n in 1..=count {
            assert!(record_events(&mut store(&mut tx), &[event(n)]).await.unwrap());
        }
        tx.commit().await.unwrap();
        here
    }

    pub async fn tx(&self) -> Tx {
        Tx::begin(&self.pool, Cause::request(Uuid::nil(), Context::new())).await.unwrap()
    }

    pub async fn record(&self, entry: &Entry<'_>) -> bool {
        record(&self.pool, entry).await
    }

    pub async fn count(&self) -> i64 {
        let sql = "select count(*) from entries";
        sqlx::query_scalar(sql).fetch_one(self.pool.pg()).await.unwrap()
    }

    /// The numbers of all entries, and the first break.
    pub async fn check(&self) -> (i64, Option<Break>) {
        let report = verify_chain(self.pool.pg()).await.unwrap();
        (report.entries, report.broken)
    }

    /// What nobody may do, as one can who owns the tables and means it.
    pub async fn tamper(&self, sql: &str) {
        let script = format!(
            "alter table entries disable trigger all; alter table chain_head disable trigger all;
            {sql};
            alter table entries enable trigger all; alter table chain_head enable trigger all"
        );
        sqlx::raw_sql(AssertSqlSafe(script)).execute(self.pool.pg()).await.unwrap();
    }

    pub async fn get(&self, path: &str) -> Answer {
        let request = Request::builder().uri(path).body(Body::empty()).unwrap();
        let response: Response<Body> = self.router.clone().oneshot(request).await.unwrap();
        let status = response.status();
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        Answer { status, body: serde_json::from_slice(&bytes).unwrap_or(Value::Null) }
    }
}

/// A stream of all events from a process; none when it does not follow them yet.
pub async fn stream(app: &App, last_id: Option<&str>) -> Option<Body> {
    let mut request = Request::get("/events/stream");
    if let Some(last_id) = last_id {
        request = request.header("last-event-id", last_id);
    }
    let router = api().with_state(app.clone()).into_router();
    let response = router.oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
    (response.status() == StatusCode::OK).then(|| response.into_body())
}
