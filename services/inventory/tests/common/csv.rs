//! Imports of CSV.

use axum::body::Body;
use http::Request;

use super::{Answer, Warehouse};

pub const KEY: &str = "0123456789abcdef";
pub const HEADER: &str = "sku,name,unit_price_minor,currency,on_hand\n";
pub const PATH: &str = "/products/import";
pub const ALL: &str = "/products/import?mode=all_or_nothing";

pub fn request(path: &str, key: &str, body: impl Into<Body>) -> Request<Body> {
    let request = Request::post(path).header("content-type", "text/csv");
    request.header("idempotency-key", key).body(body.into()).unwrap()
}

pub async fn import(here: &Warehouse, path: &str, key: &str, rows: &str) -> Answer {
    here.ask(request(path, key, format!("{HEADER}{rows}"))).await
}

pub fn refusal(answer: &Answer) -> (u16, &str) {
    assert_eq!(answer.headers["content-type"], "application/problem+json");
    (answer.status.as_u16(), answer.body["code"].as_str().unwrap())
}

/// Accepted and rejected.
pub fn counts(answer: &Answer) -> (u64, u64) {
    assert_eq!(answer.status.as_u16(), 200, "{}", answer.body);
    assert_eq!(answer.headers["content-type"], "application/json");
    let count = |name: &str| answer.body[name].as_u64().unwrap();
    assert_eq!(count("rows"), count("accepted") + count("rejected"));
    assert_eq!(count("accepted"), count("listed") + count("changed") + count("unchanged"));
    (count("accepted"), count("rejected"))
}

pub async fn count(here: &Warehouse, table: &'static str) -> i64 {
    let query = format!("select count(*) from {table}");
    sqlx::query_scalar(sqlx::AssertSqlSafe(query)).fetch_one(here.pool.pg()).await.unwrap()
}
