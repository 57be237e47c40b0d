//! Products and their stock, over HTTP and by the use cases.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::{Answer, Warehouse, versions};
use futures_util::future::join_all;
use http::Method;
use serde_json::{Value, json};

const KEY: &str = "0123456789abcdef";

fn lamp(price: i64, on_hand: i64) -> Value {
    let unit_price = json!({"amount_minor": price, "currency": "GBP"});
    json!({"name": "Lamp", "unit_price": unit_price, "on_hand": on_hand})
}

async fn put(here: &Warehouse, body: &Value) -> Answer {
    here.send(Method::PUT, "/products/LAMP", None, body).await
}

async fn replenish(here: &Warehouse, key: &str, quantity: i64) -> Answer {
    let body = json!({ "quantity": quantity });
    here.send(Method::POST, "/stock/LAMP/replenish", Some(key), &body).await
}

fn refusal(answer: &Answer) -> (u16, &str) {
    assert_eq!(answer.headers["content-type"], "application/problem+json");
    (answer.status.as_u16(), answer.body["code"].as_str().unwrap())
}

#[tokio::test]
async fn a_new_product_is_created_and_told_and_the_same_again_changes_nothing() {
    let here = Warehouse::open().await;
    let first = put(&here, &lamp(1_998, 20)).await;
    assert_eq!(first.status.as_u16(), 201);
    assert_eq!(first.headers["location"], "/stock/LAMP");
    assert_eq!(first.body["available"], 20);
    let again = put(&here, &lamp(1_998, 20)).await;
    assert_eq!((again.status.as_u16(), &again.body), (200, &first.body));

    let told = here.told("product/LAMP").await;
    let unit_price = json!({"amount_minor": 1_998, "currency": "GBP"});
    let data = json!({"sku": "LAMP", "name": "Lamp", "unit_price": unit_price, "on_hand": 20});
    assert_eq!(told, [("shop.inventory.product_listed.v1".to_owned(), 1, data)]);
    assert_eq!(here.movements("LAMP").await, [(20, "initial".to_owned())]);
}

#[tokio::test]
async fn each_kind_of_change_is_told_by_its_own_event_with_the_next_version() {
    let here = Warehouse::open().await;
    put(&here, &lamp(100, 20)).await;
    put(&here, &lamp(120, 20)).await;
    put(&here, &lamp(120, 15)).await;
    let mut renamed = lamp(90, 15);
    renamed["name"] = json!("Lantern");
    let last = put(&here, &renamed).await;
    assert_eq!((last.status.as_u16(), &last.body["version"]), (200, &json!(5)));

    let expected = [
        ("product_listed", 1),
        ("price_changed", 2),
        ("product_changed", 3),
        ("price_changed", 4),
        ("product_changed", 5),
    ];
    assert_eq!(here.types("product/LAMP").await, versions(&expected));
    let movements = [(20, "initial".to_owned()), (-5, "adjusted".to_owned())];
    assert_eq!(here.movements("LAMP").await, movements);
    here.assert_balanced().await;
}

#[tokio::test]
async fn stock_cannot_be_counted_below_what_is_reserved() {
    let here = Warehouse::open().await;
    put(&here, &lamp(100, 20)).await;
    here.place(here.order(), &[("LAMP", 5)]).await.unwrap();
    let refused = put(&here, &lamp(100, 4)).await;
    assert_eq!(refusal(&refused), (409, "below_reserved"));
    assert_eq!(here.told("product/LAMP").await.len(), 1);
    assert_eq!(put(&here, &lamp(100, 5)).await.body["available"], 0);
    here.assert_balanced().await;
}

#[tokio::test]
async fn many_who_list_the_same_product_at_once_list_it_once() {
    let here = Warehouse::open().await;
    let body = lamp(100, 20);
    let answers = join_all((0..20).map(|_| put(&here, &body))).await;
    let created = answers.iter().filter(|answer| answer.status.as_u16() == 201).count();
    let unchanged = answers.iter().filter(|answer| answer.status.as_u16() == 200).count();
    assert_eq!((created, unchanged), (1, 19));
    assert_eq!(here.types("product/LAMP").await, versions(&[("product_listed", 1)]));
}

#[tokio::test]
async fn goods_that_arrive_are_taken_in_once_per_key() {
    let here = Warehouse::open().await;
    put(&here, &lamp(100, 20)).await;
    let first = replenish(&here, KEY, 5).await;
    let stock = json!({"sku": "LAMP", "on_hand": 25, "reserved": 0, "available": 25});
    assert_eq!((first.status.as_u16(), &first.body), (200, &stock));
    let again = replenish(&here, &format!("\"{KEY}\""), 5).await;
    assert_eq!((again.status, &again.bytes), (first.status, &first.bytes));
    assert_eq!(again.headers["idempotency-replayed"], "true");
    assert_eq!(refusal(&replenish(&here, KEY, 6).await), (422, "idempotency_key_reused"));

    assert_eq!(here.stock("LAMP").await, (25, 0));
    let told = here.told("product/LAMP").await;
    let data = json!({"sku": "LAMP", "quantity": 5, "on_hand": 25});
    assert_eq!(told[1..], [("shop.inventory.stock_replenished.v1".to_owned(), 2, data)]);
    let movements = [(20, "initial".to_owned()), (5, "restocked".to_owned())];
    assert_eq!(here.movements("LAMP").await, movements);
}

#[tokio::test]
async fn concurrent_arrivals_under_one_key_count_once_and_under_many_keys_all_count() {
    let here = Warehouse::open().await;
    put(&here, &lamp(100, 0)).await;
    let twins = join_all((0..20).map(|_| replenish(&here, KEY, 5))).await;
    for twin in &twins {
        if twin.status.as_u16() != 200 {
            assert_eq!(refusal(twin), (409, "request_in_progress"));
            assert!(twin.headers.contains_key("retry-after"));
        }
    }
    assert_eq!(here.stock("LAMP").await, (5, 0));
    let keys: Vec<String> = (0..20).map(|n| format!("{KEY}-{n}")).collect();
    let all = join_all(keys.iter().map(|key| replenish(&here, key, 1))).await;
    assert!(all.iter().all(|answer| answer.status.as_u16() == 200));
    assert_eq!(here.stock("LAMP").await, (25, 0));
    here.assert_balanced().await;
}

#[tokio::test]
async fn an_arrival_that_does_not_fit_is_refused_and_the_refusal_is_given_again() {
    let here = Warehouse::open().await;
    put(&here, &lamp(100, i64::MAX)).await;
    let refused = replenish(&here, KEY, 1).await;
    assert_eq!(refusal(&refused), (422, "validation_failed"));
    assert_eq!(refused.body["errors"], json!([{"pointer": "/quantity", "code": "range"}]));
    put(&here, &lamp(100, 0)).await;
    assert_eq!(replenish(&here, KEY, 1).await.bytes, refused.bytes);
    here.assert_balanced().await;
}

#[tokio::test]
async fn an_arrival_of_an_unknown_product_is_not_remembered() {
    let here = Warehouse::open().await;
    assert_eq!(refusal(&replenish(&here, KEY, 1).await), (404, "not_found"));
    put(&here, &lamp(100, 1)).await;
    assert_eq!(replenish(&here, KEY, 1).await.body["on_hand"], 2);
}

#[tokio::test]
async fn bad_input_is_refused_with_a_pointer_and_leaves_nothing() {
    let here = Warehouse::open().await;
    let with = |pointer: &str, value: Value| {
        let mut body = lamp(100, 1);
        *body.pointer_mut(pointer).unwrap() = value;
        body
    };
    for (body, pointer, code) in [
        (with("/name", json!("")), "/name", "length"),
        (with("/name", json!("x".repeat(201))), "/name", "length"),
        (with("/name", json!("a\u{0}b")), "/name", "control_character"),
        (with("/on_hand", json!(-1)), "/on_hand", "range"),
        (with("/on_hand", json!(1.0)), "/on_hand", "type"),
        (with("/on_hand", json!(9_223_372_036_854_775_808_u64)), "/on_hand", "range"),
        (with("/unit_price/amount_minor", json!(-1)), "/unit_price/amount_minor", "range"),
        (with("/unit_price/amount_minor", json!("1")), "/unit_price/amount_minor", "type"),
        (with("/unit_price/currency", json!("XXX")), "/unit_price/currency", "currency"),
        (with("/unit_price", json!({"amount_minor": 1})), "/unit_price/currency", "required"),
        (with("/unit_price", json!(5)), "/unit_price", "type"),
    ] {
        let answer = put(&here, &body).await;
        assert_eq!(refusal(&answer), (422, "validation_failed"), "{body}");
        let errors = answer.body["errors"].as_array().unwrap();
        let expected = json!({"pointer": pointer, "code": code});
        assert!(errors.contains(&expected), "{body}: {errors:?}");
    }
    for (path, body) in [("/products/a%20b", lamp(1, 1)), ("/products/a%00b", lamp(1, 1))] {
        let answer = here.send(Method::PUT, path, None, &body).await;
        assert_eq!(refusal(&answer), (404, "not_found"), "{path}");
    }
    let count: i64 = sqlx::query_scalar("select count(*) from products")
        .fetch_one(here.pool.pg())
        .await
        .unwrap();
    assert_eq!(count, 0);
}

#[tokio::test]
async fn a_bad_arrival_is_refused_in_the_order_of_the_checks() {
    let here = Warehouse::open().await;
    put(&here, &lamp(100, 1)).await;
    let path = "/stock/LAMP/replenish";
    let good = json!({"quantity": 1});
    let no_key = here.send(Method::POST, path, None, &good).await;
    assert_eq!(refusal(&no_key), (400, "idempotency_key_missing"));
    let bad_key = here.send(Method::POST, path, Some("short"), &json!("nonsense")).await;
    assert_eq!(refusal(&bad_key), (400, "idempotency_key_malformed"));
    for quantity in [json!(0), json!(-5), json!(1.0), json!(null), json!("1")] {
        let body = json!({ "quantity": quantity });
        let answer = here.send(Method::POST, path, Some(KEY), &body).await;
        assert_eq!(refusal(&answer), (422, "validation_failed"), "{body}");
    }
    assert_eq!(here.stock("LAMP").await, (1, 0));
}

#[tokio::test]
async fn stock_is_read_one_by_one_and_page_by_page() {
    let here = Warehouse::open().await;
    for sku in ["b", "A", "C", "a", "B"] {
        here.has(sku, 3).await;
    }
    here.place(here.order(), &[("B", 2)]).await.unwrap();
    let one = here.get("/stock/B").await.body;
    assert_eq!(one, json!({"sku": "B", "on_hand": 3, "reserved": 2, "available": 1}));
    assert_eq!(refusal(&here.get("/stock/Z").await), (404, "not_found"));

    let (mut path, mut skus, mut pages) = ("/stock?limit=2".to_owned(), Vec::new(), 0);
    loop {
        let page = here.get(&path).await.body;
        skus.extend(page["stock"].as_array().unwrap().iter().map(|row| row["sku"].clone()));
        pages += 1;
        let Some(cursor) = page["next_cursor"].as_str() else { break };
        path = format!("/stock?limit=2&cursor={cursor}");
    }
    assert_eq!((skus, pages), (["B", "a", "C", "A", "b"].map(Value::from).to_vec(), 3));
    // Products of one moment are told apart.
    let moment = "update products set created_at = '2026-01-01T00:00:00Z'";
    sqlx::query(moment).execute(here.pool.pg()).await.unwrap();
    let page = here.get("/stock?limit=3").await.body;
    let path = format!("/stock?limit=3&cursor={}", page["next_cursor"].as_str().unwrap());
    let rest = here.get(&path).await.body;
    let row = |page: &Value, n: usize| page["stock"][n]["sku"].clone();
    assert_eq!([row(&page, 0), row(&page, 2), row(&rest, 0), row(&rest, 1)], ["b", "C", "B", "A"]);
    assert_eq!(here.get("/stock").await.body["stock"].as_array().unwrap().len(), 5);

    for query in ["limit=0", "limit=201", "limit=x", "colour=red"] {
        let answer = here.get(&format!("/stock?{query}")).await;
        assert_eq!(refusal(&answer), (422, "validation_failed"), "{query}");
    }
    assert_eq!(refusal(&here.get("/stock?cursor=!").await), (400, "invalid_cursor"));
}

#[tokio::test]
async fn a_reservation_can_be_looked_at() {
    let here = Warehouse::open().await;
    here.has("A", 3).await;
    let order = here.order();
    here.place(order, &[("A", 2)]).await.unwrap();
    let seen = here.get(&format!("/reservations/{order}")).await.body;
    assert_eq!((&seen["status"], &seen["version"]), (&json!("reserved"), &json!(1)));
    assert_eq!(seen["lines"], json!([{"sku": "A", "quantity": 2}]));
    assert_eq!(seen["amount"], json!({"amount_minor": 700, "currency": "GBP"}));

    let early = here.order();
    here.cancel(early).await.unwrap();
    let seen = here.get(&format!("/reservations/{early}")).await.body;
    assert_eq!((&seen["status"], &seen["lines"]), (&json!("cancelled"), &json!([])));

    let unknown = here.get(&format!("/reservations/{}", here.order())).await;
    assert_eq!(refusal(&unknown), (404, "not_found"));
    assert_eq!(refusal(&here.get("/reservations/seven").await), (400, "invalid_id"));
}

#[tokio::test]
async fn a_database_that_is_away_is_503_with_retry_after() {
    let here = Warehouse::open().await;
    here.pool.close().await;
    for answer in [put(&here, &lamp(1, 1)).await, here.get("/stock").await] {
        assert_eq!(refusal(&answer), (503, "unavailable"));
        assert!(answer.headers.contains_key("retry-after"));
    }
}
