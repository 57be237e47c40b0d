//! One request under one key, sent to every replica at the same time.

use futures_util::future::join_all;
use reqwest::header::{LOCATION, RETRY_AFTER};
use serde_json::Value;
use testkit::eventually;
use uuid::Uuid;

use crate::world::{SOON, World, basket};

/// So often the same request is sent, to one replica and the other by turns.
const COPIES: usize = 4;

/// What a client gets to see.
#[derive(Debug, PartialEq, Eq)]
struct Answer {
    status: u16,
    location: String,
    body: Vec<u8>,
}

/// Sends `requests` requests, each to both replicas of order at once and more than once. Each makes
/// one order, and gets the same bytes wherever and whenever it is sent. The orders.
pub async fn same_key_everywhere(world: &World, requests: usize, sku: &str) -> Vec<Uuid> {
    join_all((0..requests).map(|_| one_request(world, sku))).await
}

async fn one_request(world: &World, sku: &str) -> Uuid {
    let (customer, key) = (Uuid::now_v7(), format!("same-{}", Uuid::now_v7()));
    let body = basket(customer, sku, 1, "pm_ok");
    let copies = (0..COPIES).map(|n| answered(world, n % 2, &key, &body));
    let mut answers = join_all(copies).await;
    // Long after.
    answers.push(answered(world, 1, &key, &body).await);
    let fresh = answers.iter().filter(|(replayed, _)| !replayed).count();
    assert_eq!(fresh, 1, "all but one are given again: {answers:?}");
    let (_, first) = &answers[0];
    assert!(answers.iter().all(|(_, answer)| answer == first), "{answers:?}");

    assert_eq!(first.status, 202);
    let order: Value = serde_json::from_slice(&first.body).unwrap();
    let id: Uuid = order["order_id"].as_str().unwrap().parse().unwrap();
    assert_eq!(first.location, format!("/orders/{id}"));
    let sql = "select array_agg(id) from orders where customer_id = $1";
    let orders: Vec<Uuid> =
        sqlx::query_scalar(sql).bind(customer).fetch_one(&world.pg("order")).await.unwrap();
    assert_eq!(orders, [id]);
    id
}

/// The answer, and whether it was given before. A client that is told that its twin is still being
/// handled asks again.
async fn answered(world: &World, n: usize, key: &str, body: &Value) -> (bool, Answer) {
    eventually(SOON, || async {
        let answer = world.placing(n, key, body).send().await.unwrap();
        let header =
            |name: &str| answer.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
        let status = answer.status().as_u16();
        let replayed = header("idempotency-replayed");
        let location = header(LOCATION.as_str()).unwrap_or_default();
        let retry_after = header(RETRY_AFTER.as_str());
        let body = answer.bytes().await.unwrap().to_vec();
        if status == 409 {
            assert!(retry_after.is_some(), "it is told when to ask again");
            return Err(String::from_utf8_lossy(&body).into_owned());
        }
        assert!(replayed.is_none() || replayed.as_deref() == Some("true"), "{replayed:?}");
        Ok((replayed.is_some(), Answer { status, location, body }))
    })
    .await
}
