//! Reading the log over HTTP.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use audit::domain::chain::Entry;
use chrono::TimeDelta;
use common::{Archive, at, event};
use serde_json::{Value, json};
use uuid::Uuid;

const ORDER: Uuid = Uuid::from_u64_pair(9, 9);
const TRACEPARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

/// The events of one order as they might come in: effects before their causes, clocks apart.
async fn order(here: &Archive) -> String {
    let subject = format!("order/{ORDER}");
    let id = |n| Some(Uuid::from_u64_pair(1, n));
    let of = |n, event_type, source, causation_id| {
        let event_type: &'static str = event_type;
        let source: &'static str = source;
        Entry { correlation_id: ORDER, event_type, source, causation_id, ..event(n) }
    };
    let confirmed = of(4, "shop.order.confirmed.v1", "urn:shop:test:order", id(3));
    let captured = of(3, "shop.payment.captured.v1", "urn:shop:test:payment", id(2));
    // Inventory's clock is slow.
    let reserved = of(2, "shop.inventory.stock_reserved.v1", "urn:shop:test:inventory", id(1));
    let reserved = Entry { occurred_at: at(0), ..reserved };
    let placed = of(1, "shop.order.placed.v1", "urn:shop:test:order", None);
    let placed = Entry { subject: &subject, traceparent: Some(TRACEPARENT), ..placed };
    for entry in [confirmed, captured, reserved, placed] {
        assert!(here.record(&entry).await);
    }
    format!("/orders/{ORDER}/timeline")
}

fn names(body: &Value) -> Vec<&str> {
    let events = body["events"].as_array().unwrap();
    events.iter().map(|event| event["type"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn a_timeline_tells_what_followed_from_what() {
    let here = Archive::open().await;
    let path = order(&here).await;
    here.record(&event(5)).await;
    let answer = here.get(&path).await;
    assert_eq!(answer.status.as_u16(), 200);
    assert_eq!(answer.body["order_id"], json!(ORDER));
    assert_eq!(answer.body["trace_id"], "0af7651916cd43dd8448eb211c80319c");
    let expected = [
        "shop.order.placed.v1",
        "shop.inventory.stock_reserved.v1",
        "shop.payment.captured.v1",
        "shop.order.confirmed.v1",
    ];
    assert_eq!(names(&answer.body), expected);
    let second = json!({
        "event_id": Uuid::from_u64_pair(1, 2),
        "type": "shop.inventory.stock_reserved.v1",
        "source": "urn:shop:test:inventory",
        "aggversion": 1,
        "causationid": Uuid::from_u64_pair(1, 1),
        "occurred_at": "2023-11-14T22:13:20.000000Z",
        "received_at": "2023-11-14T22:13:22.000000Z",
        "published_at": null,
        "handled": [
            {"consumer": "audit", "at": "2023-11-14T22:13:22.000000Z"},
            {"consumer": "payment", "at": "2023-11-14T22:13:23.000000Z"},
        ],
    });
    assert_eq!(answer.body["events"][1], second);
}

#[tokio::test]
async fn a_timeline_tells_how_long_each_step_took() {
    let here = Archive::open().await;
    let (subject, ms) = (format!("order/{ORDER}"), TimeDelta::milliseconds);
    let of_order = Entry { correlation_id: ORDER, ..event(1) };
    let placed = Entry {
        subject: &subject,
        published_at: Some(at(1) + ms(3)),
        received_at: at(1) + ms(5),
        ..of_order
    };
    let answer = |n, source: &'static str, at| Entry {
        event_id: Uuid::from_u64_pair(1, n),
        source,
        causation_id: Some(Uuid::from_u64_pair(1, 1)),
        occurred_at: at,
        aggversion: n as i32,
        ..of_order
    };
    // A clock that is slow, and a service that answers twice.
    let early = answer(2, "urn:shop:test:email", at(0));
    let late = answer(3, "urn:shop:test:inventory", at(1) + ms(9));
    let later = answer(4, "urn:shop:test:inventory", at(2));
    for entry in [placed, early, later, late] {
        assert!(here.record(&entry).await);
    }
    let body = here.get(&format!("/orders/{ORDER}/timeline")).await.body;
    let first = &body["events"][0];
    assert_eq!(first["outbox_ms"], 3.0);
    assert_eq!(first["published_at"], "2023-11-14T22:13:21.003000Z");
    let handled = json!([
        {"consumer": "email", "at": "2023-11-14T22:13:20.000000Z", "dwell_ms": 0.0},
        {"consumer": "audit", "at": "2023-11-14T22:13:21.005000Z", "dwell_ms": 2.0},
        {"consumer": "inventory", "at": "2023-11-14T22:13:21.009000Z", "dwell_ms": 6.0},
    ]);
    assert_eq!(first["handled"], handled);
}

#[tokio::test]
async fn an_order_that_nothing_is_known_of_is_not_found() {
    let here = Archive::open().await;
    let product = Entry { subject: "product/A", correlation_id: ORDER, ..event(1) };
    here.record(&product).await;
    for (path, status, code) in [
        (format!("/orders/{ORDER}/timeline"), 404, "not_found"),
        (format!("/orders/{}/timeline", Uuid::nil()), 404, "not_found"),
        ("/orders/seven/timeline".to_owned(), 400, "invalid_id"),
    ] {
        let answer = here.get(&path).await;
        assert_eq!(
            (answer.status.as_u16(), &answer.body["code"]),
            (status, &json!(code)),
            "{path}"
        );
    }
}

#[tokio::test]
async fn events_are_listed_newest_first_page_by_page() {
    let here = Archive::open().await;
    // Two were received at the same moment, and one arrived late.
    for (n, second) in [(1, 1), (2, 5), (3, 5), (4, 3), (5, 7)] {
        here.record(&Entry { received_at: at(second), ..event(n) }).await;
    }
    let (mut path, mut seen, mut pages) = ("/events?limit=2".to_owned(), Vec::new(), 0);
    loop {
        let page = here.get(&path).await.body;
        seen.extend(page["events"].as_array().unwrap().iter().map(|event| event["seq"].clone()));
        pages += 1;
        let Some(cursor) = page["next_cursor"].as_str() else { break };
        path = format!("/events?limit=2&cursor={cursor}");
    }
    assert_eq!((seen, pages), ([5, 3, 2, 4, 1].map(Value::from).to_vec(), 3));
    assert_eq!(here.get("/events?limit=5").await.body.get("next_cursor"), None);
}

#[tokio::test]
async fn events_are_found_by_type_source_and_time() {
    let here = Archive::open().await;
    order(&here).await;
    let placed = ["shop.order.placed.v1"];
    let confirmed = ["shop.order.confirmed.v1"];
    let both = ["shop.order.confirmed.v1", "shop.order.placed.v1"];
    for (query, expected) in [
        ("type=order.placed.v1", &placed[..]),
        ("type=shop.order.placed.v1", &placed),
        ("source=order", &both),
        ("source=urn:shop:test:order", &both),
        ("type=order.placed.v1&source=payment", &[]),
        ("type=order.placed.v2", &[]),
        ("since=2023-11-14T22:13:24Z", &confirmed),
        ("since=2023-11-14T22:13:24.000001Z", &[]),
        ("source=order&since=2023-11-14T22:13:22Z", &confirmed),
        ("type=order.placed.v1&since=2023-11-14T22:13:22Z", &[]),
    ] {
        let answer = here.get(&format!("/events?{query}")).await;
        assert_eq!(names(&answer.body), expected, "{query}");
    }
    let first = &here.get("/events?type=order.placed.v1").await.body["events"][0];
    assert_eq!(first["subject"], format!("order/{ORDER}"));
    assert_eq!(first["correlationid"], json!(ORDER));
    assert_eq!(first["seq"], 4);
}

#[tokio::test]
async fn a_bad_query_is_refused_and_never_clamped() {
    let here = Archive::open().await;
    for (query, status, code, pointer) in [
        ("limit=0", 422, "validation_failed", "/limit"),
        ("limit=201", 422, "validation_failed", "/limit"),
        ("limit=1.0", 422, "validation_failed", "/limit"),
        ("since=yesterday", 422, "validation_failed", "/since"),
        ("since=-200000-01-01T00:00:00Z", 422, "validation_failed", "/since"),
        ("type=a%00b", 422, "validation_failed", "/type"),
        ("colour=red", 422, "validation_failed", ""),
    ] {
        let answer = here.get(&format!("/events?{query}")).await;
        assert_eq!(
            (answer.status.as_u16(), &answer.body["code"]),
            (status, &json!(code)),
            "{query}"
        );
        assert_eq!(answer.body["errors"][0]["pointer"], pointer, "{query}");
    }
    let answer = here.get("/events?cursor=x").await;
    assert_eq!((answer.status.as_u16(), &answer.body["code"]), (400, &json!("invalid_cursor")));
}
