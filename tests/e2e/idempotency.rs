//! One request under one key, sent to every replica at the same time.

use futures_util::future::join_all;
use uuid::Uuid;

use crate::world::{Answer, World, basket};

/// So often the same request is sent, to one replica and the other by turns.
const COPIES: usize = 4;

/// Sends `requests` requests, each to both replicas of order at once and more than once. Each makes
/// one order, and gets the same bytes wherever and whenever it is sent. The orders.
pub async fn same_key_everywhere(world: &World, requests: usize, sku: &str) -> Vec<Uuid> {
    join_all((0..requests).map(|_| one_request(world, sku))).await
}

async fn one_request(world: &World, sku: &str) -> Uuid {
    let customer = Uuid::now_v7();
    let (key, body) = (&format!("same-{customer}"), &basket(customer, sku, 1, "pm_ok"));
    let copies = (0..COPIES).map(|n| world.ask(move || world.placing(n % 2, key, body)));
    let mut answers = join_all(copies).await;
    // Long after.
    answers.push(world.ask(|| world.placing(1, key, body)).await);
    let replayed = |answer: &&Answer| answer.header("idempotency-replayed") == Some("true");
    let given_again = answers.iter().filter(replayed).count();
    assert_eq!(given_again, answers.len() - 1, "all but the first: {answers:?}");

    let first = &answers[0];
    let id: Uuid = first.json()["order_id"].as_str().unwrap().parse().unwrap();
    let location = format!("/orders/{id}");
    for answer in &answers {
        assert_eq!((answer.status, answer.header("location")), (202, Some(&*location)));
        assert_eq!(answer.body, first.body, "the same bytes");
    }
    let sql = "select array_agg(id) from orders where customer_id = $1";
    let orders: Vec<Uuid> =
        sqlx::query_scalar(sql).bind(customer).fetch_one(&world.pg("order")).await.unwrap();
    assert_eq!(orders, [id]);
    id
}
