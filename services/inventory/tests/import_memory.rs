//! An import of 100,000 rows, alone in its process, because it looks at the memory of all of it.
#![allow(clippy::unwrap_used)]

mod common;

use std::fmt::Write as _;

use axum::body::Body;
use common::Warehouse;
use http::Request;

const ROWS: u32 = 100_000;
/// The body is held once here and once there, 7 MB each. The rows parsed would be 20 MB more, their
/// events 200.
const MEBIBYTES: u64 = 64;

/// The most memory that this process ever had, in MiB.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    peak.trim().strip_suffix(" kB").unwrap().parse::<u64>().unwrap() >> 10
}

#[tokio::test]
async fn one_hundred_thousand_rows_in_one_transaction_take_little_memory() {
    let here = Warehouse::open().await;
    here.has("warm", 1).await;
    let mut body = "sku,name,unit_price_minor,currency,on_hand\n".to_owned();
    for n in 0..ROWS {
        let sku = n.wrapping_mul(7_919) % 100_000_000;
        writeln!(body, "SKU-{sku:08},A product with a name of some length {n},100,GBP,5").unwrap();
    }
    let before = peak();
    let request = Request::post("/products/import?mode=all_or_nothing")
        .header("content-type", "text/csv")
        .header("idempotency-key", "0123456789abcdef")
        .body(Body::from(body));
    let answer = here.ask(request.unwrap()).await;
    assert_eq!((answer.status.as_u16(), &answer.body["listed"]), (200, &ROWS.into()));
    let grown = peak() - before;
    assert!(grown < MEBIBYTES, "{grown} MiB");
    let told: i64 = sqlx::query_scalar("select count(*) from messaging.outbox")
        .fetch_one(here.pool.pg())
        .await
        .unwrap();
    assert_eq!(told, i64::from(ROWS) + 1);
}
