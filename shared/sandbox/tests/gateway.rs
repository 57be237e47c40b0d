//! The payment gateway's HTTP API over a real socket.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod gateway_world;

use std::time::{Duration, Instant};

use gateway_world::{World, charge_body};
use reqwest::Method;
use sandbox::gateway::{ChargePage, ChargeStatus, GatewayOptions, RefundPage};
use serde_json::{Value, json};
use tokio::task::JoinSet;

/// Longer than any test.
const FOR_EVER: Duration = Duration::from_secs(3_600);
/// Longer than anything here may take, however busy the machine.
const PATIENCE: Duration = Duration::from_secs(20);

#[tokio::test]
async fn a_good_card_is_captured_and_a_bad_one_declined_and_both_are_remembered() {
    let world = World::start().await;
    let (status, body) = world.charge("k1", &charge_body("o1", "pm_ok")).await;
    assert_eq!(status, 201);
    assert!(body["charge_id"].as_str().unwrap().starts_with("ch_"));
    let expected = json!({ "charge_id": body["charge_id"], "order_id": "o1", "status": "captured",
        "amount_minor": 1998, "currency": "GBP" });
    assert_eq!(body, expected);
    let reasons = [
        ("pm_declined", "card_declined"),
        ("pm_insufficient_funds", "insufficient_funds"),
        ("pm_of_another_planet", "unknown_payment_method"),
    ];
    for (token, reason) in reasons {
        let (status, body) = world.charge(token, &charge_body("o1", token)).await;
        assert_eq!(
            (status, &body["status"], &body["decline_reason"]),
            (402, &json!("declined"), &json!(reason))
        );
    }
    let charges = world.gateway.charges_of("o1");
    assert_eq!(charges.len(), 4);
    assert_eq!(charges[1].status, ChargeStatus::Declined);
    assert_eq!(world.gateway.net_captured("o1"), 1998);
    assert_eq!(world.gateway.net_captured("unknown"), 0);
}

#[tokio::test]
async fn the_same_key_gets_the_same_bytes_and_makes_no_second_charge() {
    let world = World::start().await;
    for token in ["pm_ok", "pm_declined"] {
        let body = charge_body("o1", token);
        let first = world.raw(Method::POST, "/charges", Some(token), Some(&body)).await;
        let again =
            world.raw(Method::POST, "/charges", Some(&format!("\"{token}\"")), Some(&body)).await;
        assert_eq!((first.status(), again.status()), (first.status(), first.status()));
        assert_eq!(first.bytes().await.unwrap(), again.bytes().await.unwrap());
    }
    assert_eq!(world.gateway.charges_of("o1").len(), 2);
    let (status, body) = world.charge("pm_ok", &charge_body("o2", "pm_ok")).await;
    assert_eq!((status, &body["code"]), (422, &json!("idempotency_key_reused")));
    assert!(world.gateway.charges_of("o2").is_empty());
}

#[tokio::test]
async fn concurrent_twins_make_one_charge_and_get_one_answer() {
    let world = World::start().await;
    let mut twins = JoinSet::new();
    for _ in 0..40 {
        let request =
            world.request(Method::POST, "/charges", Some("k"), Some(&charge_body("o1", "pm_ok")));
        twins.spawn(async move { request.send().await.unwrap().text().await.unwrap() });
    }
    let mut answers = std::collections::BTreeSet::new();
    while let Some(answer) = twins.join_next().await {
        answers.insert(answer.unwrap());
    }
    assert_eq!((answers.len(), world.gateway.charges().len()), (1, 1));
}

#[tokio::test]
async fn the_first_reply_of_pm_timeout_is_lost_but_lookup_and_retry_tell_the_truth() {
    let hold = Duration::from_millis(150);
    let world = World::start_with(GatewayOptions { hold }).await;
    let body = charge_body("o1", "pm_timeout");
    let asked = Instant::now();
    let lost = world.request(Method::POST, "/charges", Some("k"), Some(&body)).send().await;
    let error = lost.expect_err("an answer came");
    assert!(error.is_request() && !error.is_timeout(), "{error:?}");
    assert!(asked.elapsed() >= hold, "closed after {:?}", asked.elapsed());
    let found: ChargePage = world.lookup("/charges?order_id=o1").await;
    assert_eq!((found.charges.len(), found.charges[0].status), (1, ChargeStatus::Captured));
    let (status, retried) = world.charge("k", &body).await;
    assert_eq!((status, &retried["charge_id"]), (201, &json!(found.charges[0].charge_id)));
    assert_eq!(world.gateway.net_captured("o1"), 1998);
}

#[tokio::test]
async fn the_charge_of_a_caller_that_hangs_up_during_the_hold_is_still_there() {
    let world = World::start_with(GatewayOptions { hold: FOR_EVER }).await;
    let mut caller = held(&world).await;
    caller.abort_all();
    assert!(caller.join_next().await.unwrap().unwrap_err().is_cancelled());
    assert_eq!(world.lookup::<ChargePage>("/charges?order_id=o1").await.charges.len(), 1);
}

#[tokio::test]
async fn a_held_reply_does_not_hold_up_a_stop() {
    let world = World::start_with(GatewayOptions { hold: FOR_EVER }).await;
    let mut caller = held(&world).await;
    world.server.stop().await.unwrap();
    // A caller whom the stop does not let go hangs on beyond the server's end.
    let ended = tokio::time::timeout(PATIENCE, caller.join_next()).await;
    assert!(ended.expect("the hold goes on").unwrap().unwrap().is_err());
}

/// A caller whose charge is stored and whose reply is held back.
async fn held(world: &World) -> JoinSet<reqwest::Result<reqwest::Response>> {
    let request =
        world.request(Method::POST, "/charges", Some("k"), Some(&charge_body("o1", "pm_timeout")));
    let mut caller = JoinSet::new();
    caller.spawn(request.send());
    let stored = async {
        while world.gateway.charges_of("o1").is_empty() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, stored).await.expect("the charge is stored");
    caller
}

#[tokio::test]
async fn pm_flaky_fails_twice_per_key_with_nothing_stored_and_then_works() {
    let world = World::start().await;
    let body = charge_body("o1", "pm_flaky");
    for _ in 0..2 {
        let (status, answer) = world.charge("k1", &body).await;
        assert_eq!((status, &answer["code"]), (503, &json!("unavailable")));
        assert!(world.gateway.charges_of("o1").is_empty());
    }
    assert_eq!(world.charge("k2", &body).await.0, 503);
    let (status, first) = world.charge("k1", &body).await;
    assert_eq!(status, 201);
    assert_eq!(world.charge("k1", &body).await, (201, first));
}

#[tokio::test]
async fn a_refund_gives_back_at_most_what_was_taken() {
    let world = World::start().await;
    let (_, charge) = world.charge("k1", &charge_body("o1", "pm_ok")).await;
    let charge_id = charge["charge_id"].as_str().unwrap();
    let refund =
        |amount: i64| json!({ "charge_id": charge_id, "amount_minor": amount }).to_string();
    let (status, first) = world.post("/refunds", "r1", &refund(1_000)).await;
    assert_eq!(
        (status, &first["charge_id"], &first["amount_minor"]),
        (201, &json!(charge_id), &json!(1_000))
    );
    assert_eq!(world.post("/refunds", "r1", &refund(1_000)).await, (201, first.clone()));
    let (status, reused) = world.post("/refunds", "r1", &refund(1)).await;
    assert_eq!((status, &reused["code"]), (422, &json!("idempotency_key_reused")));
    let (status, over) = world.post("/refunds", "r2", &refund(999)).await;
    assert_eq!((status, &over["code"]), (422, &json!("refund_exceeds_charge")));
    assert_eq!(world.post("/refunds", "r2", &refund(998)).await.0, 201);
    assert_eq!(world.gateway.net_captured("o1"), 0);
    let listed: RefundPage = world.lookup("/refunds?order_id=o1").await;
    assert_eq!(listed.refunds.len(), 2);
    assert_eq!(listed.refunds[0].refund_id, first["refund_id"].as_str().unwrap());
    let charges: ChargePage = world.lookup("/charges?order_id=o1").await;
    assert_eq!(charges.charges[0].refunded_minor, 1998);
}

#[tokio::test]
async fn concurrent_refunds_never_give_back_more_than_was_taken() {
    let world = World::start().await;
    let (_, charge) = world.charge("k1", &charge_body("o1", "pm_ok")).await;
    let body = json!({ "charge_id": charge["charge_id"], "amount_minor": 500 }).to_string();
    let mut refunds = JoinSet::new();
    for n in 0..20 {
        let request = world.request(Method::POST, "/refunds", Some(&format!("r{n}")), Some(&body));
        refunds.spawn(async move { request.send().await.unwrap().status().as_u16() });
    }
    let statuses = refunds.join_all().await;
    assert_eq!(statuses.iter().filter(|status| **status == 201).count(), 3);
    assert_eq!(world.gateway.net_captured("o1"), 498);
}

#[tokio::test]
async fn a_refund_of_nothing_is_refused() {
    let world = World::start().await;
    let (_, declined) = world.charge("k1", &charge_body("o1", "pm_declined")).await;
    let body = json!({ "charge_id": declined["charge_id"], "amount_minor": 1 }).to_string();
    let (status, answer) = world.post("/refunds", "r1", &body).await;
    assert_eq!((status, &answer["code"]), (422, &json!("charge_not_captured")));
    let (status, answer) =
        world.post("/refunds", "r1", r#"{"charge_id":"ch_unknown","amount_minor":1}"#).await;
    assert_eq!((status, &answer["code"]), (404, &json!("charge_not_found")));
    assert!(world.gateway.refunds().is_empty());
}

#[tokio::test]
async fn all_charges_come_in_pages_without_gap_or_repetition() {
    let world = World::start().await;
    for n in 0..7 {
        world.charge(&format!("k{n}"), &charge_body(&format!("o{n}"), "pm_ok")).await;
    }
    let mut orders = Vec::new();
    let mut path = "/charges?limit=3".to_owned();
    loop {
        let page: ChargePage = world.lookup(&path).await;
        assert!(page.charges.len() <= 3);
        orders.extend(page.charges.into_iter().map(|charge| charge.order_id));
        let Some(cursor) = page.next_cursor else { break };
        path = format!("/charges?limit=3&cursor={cursor}");
    }
    assert_eq!(orders, ["o0", "o1", "o2", "o3", "o4", "o5", "o6"]);
    assert!(world.lookup::<RefundPage>("/refunds").await.refunds.is_empty());
}

#[tokio::test]
async fn bad_input_is_refused_in_json_with_the_reason_and_stores_nothing() {
    let world = World::start().await;
    let good =
        json!({ "order_id": "o", "amount_minor": 1, "currency": "GBP", "payment_method": "pm_ok" });
    let with = |field: &str, value: Value| {
        let mut body = good.clone();
        body[field] = value;
        body.to_string()
    };
    let bodies = [
        (400, "{".to_owned()),
        (400, String::new()),
        (400, "\u{feff}{}".to_owned()),
        (422, "{}".to_owned()),
        (422, "[]".to_owned()),
        (422, with("order_id", json!(""))),
        (422, with("order_id", json!("x".repeat(201)))),
        (422, with("order_id", json!("a\u{0}b"))),
        (422, with("amount_minor", json!(-1))),
        (422, with("amount_minor", json!(1.5))),
        (422, with("amount_minor", json!("1"))),
        (422, with("currency", json!("gbp"))),
        (422, with("payment_method", json!(null))),
        (422, with("surprise", json!(1))),
        (422, r#"{"order_id":"o","order_id":"p"}"#.to_owned()),
        (413, with("order_id", json!("x".repeat(20_000)))),
    ];
    for (expected, body) in bodies {
        let (status, answer) = world.charge("k", &body).await;
        assert_eq!(status, expected, "{body}: {answer}");
        assert!(!answer["message"].as_str().unwrap().is_empty() && answer["code"].is_string());
    }
    assert!(world.gateway.charges().is_empty());
    assert_eq!(world.charge("k", &good.to_string()).await.0, 201);
}

#[tokio::test]
async fn bad_headers_paths_and_parameters_are_refused_in_json() {
    let world = World::start().await;
    let body = charge_body("o", "pm_ok");
    let code = async |method, path: &str, key: Option<&str>, body: Option<&str>| {
        let answer = world.raw(method, path, key, body).await;
        let status = answer.status().as_u16();
        let answer: Value = answer.json().await.unwrap();
        (status, answer["code"].as_str().unwrap().to_owned())
    };
    let post = Method::POST;
    let missing = code(post.clone(), "/charges", None, Some(&body)).await;
    assert_eq!(missing, (400, "idempotency_key_missing".to_owned()));
    let empty = code(post.clone(), "/charges", Some(""), Some(&body)).await;
    assert_eq!(empty, (400, "idempotency_key_malformed".to_owned()));
    let long = code(post.clone(), "/charges", Some(&"k".repeat(256)), Some(&body)).await;
    assert_eq!(long.0, 400);
    let form = world.client.post(format!("{}/charges", world.server.url()));
    let form = form.header("idempotency-key", "k").body(body.clone()).send().await.unwrap();
    assert_eq!(form.status(), 415);
    assert_eq!(code(post, "/nowhere", Some("k"), Some(&body)).await.0, 404);
    assert_eq!(code(Method::DELETE, "/charges", Some("k"), None).await.0, 405);
    for (expected, query) in [
        (422, "limit=0"),
        (422, "limit=1001"),
        (422, "limit=x"),
        (400, "cursor=x"),
        (400, "orderid=o"),
        (422, "order_id="),
        (400, "order_id=o&limit=5"),
    ] {
        assert_eq!(
            code(Method::GET, &format!("/charges?{query}"), None, None).await.0,
            expected,
            "{query}"
        );
        assert_eq!(
            code(Method::GET, &format!("/refunds?{query}"), None, None).await.0,
            expected,
            "{query}"
        );
    }
    assert!(world.gateway.charges().is_empty());
    assert_eq!(world.raw(Method::GET, "/health", None, None).await.status(), 200);
}
