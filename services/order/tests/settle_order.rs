//! Ending orders by what others report.
#![allow(clippy::unwrap_used)]

mod common;

use common::{Shop, basket};
use order::application::follow_product::{FollowProductError, follow_product};
use order::application::ports::ProductChange;
use order::application::settle_orders::{SettleOrderError, Verdict, settle_orders};
use order::domain::order::CancelReason;
use order::store;
use uuid::Uuid;

const KEY: &str = "0123456789abcdef";

async fn placed(shop: &Shop) -> Uuid {
    shop.sells("A", 250, "GBP").await;
    let answer = shop.post_order(KEY, &basket(&[("A", 1)])).await;
    answer.body["order_id"].as_str().unwrap().parse().unwrap()
}

#[tokio::test]
async fn a_paid_order_is_confirmed_and_says_so_once() {
    let shop = Shop::open().await;
    let id = placed(&shop).await;
    shop.settle(id, Verdict::Paid).await;
    shop.settle(id, Verdict::Paid).await;

    let order = shop.get(&format!("/orders/{id}")).await.body;
    assert_eq!(order["status"], "confirmed");
    assert_eq!(order["version"], 2);
    let statuses: Vec<_> =
        order["history"].as_array().unwrap().iter().map(|h| h["status"].clone()).collect();
    assert_eq!(statuses, ["pending", "confirmed"]);
    let types: Vec<_> = shop.told().await.into_iter().map(|(t, v, _)| (t, v)).collect();
    let expected = [("shop.order.placed.v1", 1), ("shop.order.confirmed.v1", 2)];
    assert_eq!(types, expected.map(|(t, v)| (t.to_owned(), v)));
}

#[tokio::test]
async fn the_first_ending_stands_whatever_comes_later() {
    let shop = Shop::open().await;
    let id = placed(&shop).await;
    shop.settle(id, Verdict::Impossible(CancelReason::OutOfStock)).await;
    shop.settle(id, Verdict::Impossible(CancelReason::PaymentDeclined)).await;
    shop.settle(id, Verdict::Paid).await;

    let order = shop.get(&format!("/orders/{id}")).await.body;
    assert_eq!(order["status"], "cancelled");
    assert_eq!(order["cancel_reason"], "out_of_stock");
    let told = shop.told().await;
    assert_eq!(told.len(), 2);
    assert_eq!(told[1].2["reason"], "out_of_stock");
}

#[tokio::test]
async fn an_order_that_is_not_known_yet_may_be_on_its_way() {
    let shop = Shop::open().await;
    let mut tx = shop.tx().await;
    let now = tx.now();
    let settled = settle_orders(&mut store(&mut tx), &[Uuid::nil()], Verdict::Paid, now).await;
    assert!(matches!(settled, Err(SettleOrderError::Unknown)));
}

#[tokio::test]
async fn the_catalogue_follows_and_old_orders_keep_their_price() {
    let shop = Shop::open().await;
    let id = placed(&shop).await;
    let mut tx = shop.tx().await;
    let repriced =
        ProductChange::Repriced { sku: "A".into(), currency: "GBP".into(), unit_price_minor: 300 };
    follow_product(&mut store(&mut tx), repriced).await.unwrap();
    let renamed = ProductChange::Renamed { sku: "A".into(), name: "New".into() };
    follow_product(&mut store(&mut tx), renamed).await.unwrap();
    let unknown = ProductChange::Renamed { sku: "Z".into(), name: "?".into() };
    let followed = follow_product(&mut store(&mut tx), unknown).await;
    assert!(matches!(followed, Err(FollowProductError::Unknown)));
    tx.commit().await.unwrap();

    let product = shop.get("/products/A").await.body;
    assert_eq!(
        (product["name"].as_str(), product["unit_price"]["amount_minor"].as_i64()),
        (Some("New"), Some(300))
    );
    assert_eq!(shop.get(&format!("/orders/{id}")).await.body["total"]["amount_minor"], 250);
    assert_eq!(shop.get("/products/Z").await.status.as_u16(), 404);
}
