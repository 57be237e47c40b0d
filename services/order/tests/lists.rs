//! Lists of orders and products, page by page.
#![allow(clippy::unwrap_used)]

mod common;

use axum::body::Body;
use chassis::http::Cursor;
use chrono::TimeDelta;
use common::clock::Still;
use common::{CUSTOMER, Shop, basket};
use http::Request;
use order::application::settle_orders::Verdict;
use order::domain::order::CancelReason;
use serde_json::{Value, json};
use sqlx::AssertSqlSafe;
use uuid::Uuid;

const KEY: &str = "0123456789abcdef";

/// A page, as the ids or SKUs in it, and the address of the next.
async fn page(shop: &Shop, path: &str, list: &str, id: &str) -> (Vec<String>, Option<String>) {
    let answer = shop.get(path).await;
    assert_eq!(answer.status.as_u16(), 200, "{path}: {}", answer.body);
    let entries = answer.body[list].as_array().unwrap();
    let ids = entries.iter().map(|entry| entry[id].as_str().unwrap().to_owned()).collect();
    let (first, _) = path.split_once("&cursor=").unwrap_or((path, ""));
    let next = answer.body.get("next_cursor").map(|cursor| cursor.as_str().unwrap());
    (ids, next.map(|cursor| format!("{first}&cursor={cursor}")))
}

async fn orders(shop: &Shop, path: &str) -> (Vec<String>, Option<String>) {
    page(shop, path, "orders", "order_id").await
}

async fn place(shop: &Shop, count: usize) -> Vec<String> {
    let mut ids = Vec::new();
    for _ in 0..count {
        ids.push(shop.place().await.to_string());
    }
    ids
}

fn newest_first(ids: &[String]) -> Vec<String> {
    ids.iter().rev().cloned().collect()
}

#[tokio::test]
async fn pages_have_no_gaps_or_repeats_while_orders_are_placed() {
    let shop = Shop::open().await;
    shop.sells("A", 250, "GBP").await;
    let before = place(&shop, 7).await;
    let (mut seen, mut next, mut pages) = (Vec::new(), Some("/orders?limit=2".to_owned()), 0);
    while let Some(path) = next {
        let (ids, following) = orders(&shop, &path).await;
        seen.extend(ids);
        (next, pages) = (following, pages + 1);
        shop.place().await;
    }
    assert_eq!((seen, pages), (newest_first(&before), 4));
}

#[tokio::test]
async fn orders_of_the_same_instant_have_an_order_too() {
    let shop = Shop::at(Still::new().clock()).await;
    shop.sells("A", 250, "GBP").await;
    let placed = place(&shop, 5).await;
    let (first, next) = orders(&shop, "/orders?limit=3").await;
    let (second, end) = orders(&shop, &next.unwrap()).await;
    assert_eq!(([first, second].concat(), end), (newest_first(&placed), None));
}

#[tokio::test]
async fn a_listed_order_is_what_its_own_address_gives() {
    let shop = Shop::open().await;
    for (sku, price) in [("A", 250), ("B", 99), ("C", 1)] {
        shop.sells(sku, price, "GBP").await;
    }
    let long = shop.post_order(KEY, &basket(&[("C", 1), ("A", 2), ("B", 3)])).await;
    let cancelled = shop.place().await;
    shop.cancel(cancelled).await;
    let confirmed = shop.place().await;
    shop.settle(confirmed, Verdict::Paid).await;

    let listed = shop.get("/orders").await.body;
    assert_eq!(listed.get("next_cursor"), None);
    let mut single = Vec::new();
    for id in [&json!(confirmed), &json!(cancelled), &long.body["order_id"]] {
        single.push(shop.get(&format!("/orders/{}", id.as_str().unwrap())).await.body);
    }
    assert_eq!(listed["orders"], Value::Array(single));
    let skus = listed["orders"][2]["lines"].as_array().unwrap().iter().map(|line| &line["sku"]);
    assert_eq!(skus.collect::<Vec<_>>(), ["C", "A", "B"]);
    assert_eq!(listed["orders"][0]["history"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn customer_and_status_narrow_the_list() {
    let shop = Shop::open().await;
    shop.sells("A", 250, "GBP").await;
    let (pending, confirmed) = (shop.place().await, shop.place().await);
    let cancelled = shop.place().await;
    shop.settle(confirmed, Verdict::Paid).await;
    shop.settle(cancelled, Verdict::Impossible(CancelReason::OutOfStock)).await;
    let other = Uuid::from_u128(7);
    let mut body = basket(&[("A", 1)]);
    body["customer_id"] = json!(other);
    let theirs = shop.post_order(KEY, &body).await.body["order_id"].clone();
    let theirs = theirs.as_str().unwrap().to_owned();
    let [pending, confirmed, cancelled] = [pending, confirmed, cancelled].map(|id| id.to_string());

    let cases = [
        (format!("customer_id={other}"), vec![&theirs]),
        (format!("customer_id={CUSTOMER}"), vec![&cancelled, &confirmed, &pending]),
        ("status=pending".to_owned(), vec![&theirs, &pending]),
        ("status=confirmed".to_owned(), vec![&confirmed]),
        (format!("status=cancelled&customer_id={CUSTOMER}"), vec![&cancelled]),
        (format!("status=confirmed&customer_id={other}"), vec![]),
        (format!("customer_id={}", Uuid::max()), vec![]),
    ];
    for (filter, expected) in cases {
        let (found, _) = orders(&shop, &format!("/orders?{filter}")).await;
        assert_eq!(found.iter().collect::<Vec<_>>(), expected, "{filter}");
        let mut one_by_one = Vec::new();
        let mut next = Some(format!("/orders?{filter}&limit=1"));
        while let Some(path) = next {
            let (ids, following) = orders(&shop, &path).await;
            one_by_one.extend(ids);
            next = following;
        }
        assert_eq!(one_by_one, found, "{filter}");
    }
}

#[tokio::test]
async fn every_list_is_read_by_an_index_without_sorting() {
    let shop = Shop::open().await;
    let lists = [
        ("uuid", "true", "orders_by_age"),
        ("uuid", "customer_id = $3", "orders_of_customer_by_age"),
        ("text", "status = $3", "orders_of_status_by_age"),
    ];
    for (parameter, filter, index) in lists {
        let mut connection = shop.pool.pg().acquire().await.unwrap();
        // The plan for any value, which is what a prepared statement has in the long run.
        let script = format!(
            "set plan_cache_mode = force_generic_plan; set enable_seqscan = off;
            set enable_bitmapscan = off;
            prepare page (timestamptz, uuid, {parameter}) as select id from orders
            where {filter} and (placed_at, id) < ($1, $2) order by placed_at desc, id desc limit 51"
        );
        sqlx::raw_sql(AssertSqlSafe(script)).execute(&mut *connection).await.unwrap();
        let explain = "explain (format json) execute page (now(), null, null)";
        let plan = sqlx::raw_sql(explain).fetch_one(&mut *connection).await.unwrap();
        let plan: Value = sqlx::Row::get(&plan, 0);
        let plan = plan.to_string();
        assert!(plan.contains(index) && !plan.contains("Sort"), "{filter}: {plan}");
        connection.close().await.unwrap();
    }
}

#[tokio::test]
async fn products_are_listed_as_the_catalogue_learned_of_them() {
    let time = Still::new();
    let shop = Shop::at(time.clock()).await;
    assert_eq!(shop.get("/products").await.body, json!({"products": []}));
    for sku in ["M", "Z", "A", "m.x-1"] {
        shop.sells(sku, 250, "GBP").await;
        time.pass(TimeDelta::seconds(1));
    }
    // Of one instant.
    shop.sells("T1", 1, "GBP").await;
    shop.sells("T2", 1, "GBP").await;
    time.pass(TimeDelta::seconds(1));
    // Heard of again: that makes it no newer.
    shop.sells("M", 300, "GBP").await;

    let (mut seen, mut next) = (Vec::new(), Some("/products?limit=1".to_owned()));
    while let Some(path) = next {
        let (skus, following) = page(&shop, &path, "products", "sku").await;
        seen.extend(skus);
        next = following;
    }
    assert_eq!(seen, ["T2", "T1", "m.x-1", "A", "Z", "M"]);
    let all = shop.get("/products").await.body;
    assert_eq!(all["products"][5], shop.get("/products/M").await.body);
    assert_eq!(all["products"][5]["unit_price"]["amount_minor"], 300);
}

/// The rows of the table of bad input that concern the address of a list: the list, the row, the
/// query, the status, the code and the pointer of the answer.
fn bad_queries() -> Vec<(&'static str, &'static str, String, u16, &'static str)> {
    let cursor = |text: &str| {
        let cursor = serde_json::to_value(Cursor::behind(text)).unwrap();
        format!("cursor={}", cursor.as_str().unwrap())
    };
    let simple = format!("1.{}", CUSTOMER.replace('-', ""));
    let unknown = "Unknown field, missing field, wrong type";
    let control = "U+0000, CR/LF or control character in any string";
    let not_ours = "`cursor` is opaque, and a bad one is `400 invalid_cursor`";
    let not_a_uuid = "Id not a UUID";
    let mut cases = vec![
        ("/orders", not_a_uuid, "customer_id=seven".to_owned(), 400, "invalid_id"),
        ("/orders", not_a_uuid, "customer_id=".to_owned(), 400, "invalid_id"),
        ("/orders", unknown, "status=lost".to_owned(), 422, "/status"),
        ("/orders", unknown, "status=Pending".to_owned(), 422, "/status"),
        ("/orders", unknown, "status=".to_owned(), 422, "/status"),
        ("/orders", control, "status=pending%0A".to_owned(), 422, "/status"),
        ("/orders", not_ours, cursor("1.A"), 400, "invalid_cursor"),
        ("/orders", not_ours, cursor(&simple), 400, "invalid_cursor"),
        ("/products", unknown, "status=pending".to_owned(), 422, ""),
        ("/products", not_ours, cursor("1.a b"), 400, "invalid_cursor"),
    ];
    for list in ["/orders", "/products"] {
        for limit in ["0", "201", "-1", "", "1.0", "x", "99999999999", "1&limit=1"] {
            cases.push((list, unknown, format!("limit={limit}"), 422, "/limit"));
        }
        cases.push((list, unknown, "colour=red".to_owned(), 422, ""));
        for text in ["", "!", "MQ==", "%C3%A9", "%00", "MQ%0d%0a"] {
            cases.push((list, not_ours, format!("cursor={text}"), 400, "invalid_cursor"));
        }
        for key in ["1", &format!("-1.{CUSTOMER}"), &format!("9223372036854775807.{CUSTOMER}")] {
            cases.push((list, not_ours, cursor(key), 400, "invalid_cursor"));
        }
    }
    cases
}

#[tokio::test]
async fn bad_queries_are_refused_by_name() {
    let shop = Shop::open().await;
    for (list, row, query, status, named) in bad_queries() {
        let answer = shop.get(&format!("{list}?{query}")).await;
        let said = format!("{row}: {list}?{query}: {}", answer.body);
        assert_eq!(answer.status.as_u16(), status, "{said}");
        assert_eq!(answer.headers["content-type"], "application/problem+json", "{said}");
        if status == 422 {
            assert_eq!(answer.body["code"], "validation_failed", "{said}");
            assert_eq!(answer.body["errors"][0]["pointer"], named, "{said}");
        } else {
            assert_eq!(answer.body["code"], named, "{said}");
        }
    }
}

#[tokio::test]
async fn a_wrong_method_or_accept_is_refused_and_a_database_that_is_away_is_said() {
    let shop = Shop::open().await;
    for list in ["/orders", "/products"] {
        let request = Request::get(list).header("accept", "text/html");
        let answer = shop.ask(request.body(Body::empty()).unwrap()).await;
        assert_eq!(answer.status.as_u16(), 406, "Accept cannot match: {list}");
        let answer = shop.ask(Request::delete(list).body(Body::empty()).unwrap()).await;
        assert_eq!(answer.status.as_u16(), 405, "wrong method: {list}");
        assert!(answer.headers["allow"].to_str().unwrap().contains("GET"), "{list}");
    }
    shop.pool.close().await;
    for list in ["/orders", "/products"] {
        let answer = shop.get(list).await;
        assert_eq!(answer.status.as_u16(), 503, "DB down: {list}");
        assert!(answer.headers.contains_key("retry-after"), "{list}");
    }
}
