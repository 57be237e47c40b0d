//! The table of bad input, as far as mails can be asked for wrongly.
#![allow(clippy::unwrap_used)]

mod common;

use axum::Router;
use common::World;
use email::App;
use email::presentation::http::api;
use testkit::bad_input::{Bad, MARK, bad_heads, get, other_spellings, refused};

fn router(app: App) -> Router {
    api().with_state(app).into_router()
}

#[tokio::test]
async fn mails_that_are_asked_for_wrongly() {
    let world = World::new().await;
    let router = router(world.service.app.clone());
    let order_id = world.order();
    let good = format!("/emails?order_id={order_id}");
    let mut all = bad_heads(&good, "application/json");
    let others = other_spellings(&order_id.to_string());
    let others = others.iter().map(String::as_str);
    let cut = order_id.to_string().split_off(1);
    for id in [MARK, "", "%00", "%0d%0aa", "%ff", &cut].into_iter().chain(others) {
        let request = get(&format!("/emails?order_id={id}"));
        all.push(Bad::new("Id not a UUID", request, 400, "invalid_id"));
    }
    let row = "Unknown field, missing field, wrong type";
    for (query, pointer, code) in [
        (String::new(), "/order_id", "required"),
        (format!("order_id={order_id}&{MARK}={MARK}"), "", "unknown_field"),
        (format!("order_id={order_id}&limit=1"), "", "unknown_field"),
        (format!("order_id={order_id}&order_id={order_id}"), "/order_id", "duplicate"),
    ] {
        all.push(Bad::field(row, get(&format!("/emails?{query}")), pointer, code));
    }
    refused(&router, all).await;

    world.service.app.pool.close().await;
    let row = "DB down, pool timeout, outbox over cap, shutting down";
    let away = Bad::new(row, get(&good), 503, "unavailable");
    refused(&router, vec![away.header("retry-after", "5")]).await;
}
