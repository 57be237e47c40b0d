//! The table of bad input, as far as payments can be asked for wrongly.
#![allow(clippy::unwrap_used)]

mod common;

use axum::Router;
use common::World;
use payment::App;
use payment::presentation::http::api;
use testkit::bad_input::{Bad, MARK, bad_heads, get, other_spellings, refused};
use uuid::Uuid;

fn router(app: App) -> Router {
    api().with_state(app).into_router()
}

#[tokio::test]
async fn a_payment_that_is_asked_for_wrongly() {
    let world = World::new().await;
    let router = router(world.service.app.clone());
    let order_id = world.reserved("pm_ok").await;
    let mut all = bad_heads(&format!("/payments/{order_id}"), "application/json");
    let others = other_spellings(&order_id.to_string());
    let others = others.iter().map(String::as_str);
    let (cut, long) = (order_id.to_string().split_off(1), format!("{order_id}0"));
    for id in [MARK, "%00", "%0d%0aa", "%ff", &cut, &long].into_iter().chain(others) {
        all.push(Bad::new("Id not a UUID", get(&format!("/payments/{id}")), 400, "invalid_id"));
    }
    for id in [Uuid::nil(), Uuid::max(), Uuid::from_u128(order_id.as_u128() ^ 1)] {
        let row = "Id unknown, or owned by someone else";
        all.push(Bad::new(row, get(&format!("/payments/{id}")), 404, "not_found"));
    }
    refused(&router, all).await;

    world.service.app.pool.close().await;
    let row = "DB down, pool timeout, outbox over cap, shutting down";
    let away = Bad::new(row, get(&format!("/payments/{order_id}")), 503, "unavailable");
    refused(&router, vec![away.header("retry-after", "5")]).await;
}
