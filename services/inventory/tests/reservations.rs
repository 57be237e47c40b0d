//! Setting goods aside, sending them and giving them back.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::{Warehouse, versions};
use futures_util::future::join_all;
use inventory::application::release_stock::ReleaseStockError;
use inventory::application::reserve_stock::ReserveStockError;
use inventory::application::ship_stock::ShipStockError;
use serde_json::json;

#[tokio::test]
async fn an_order_that_can_be_served_is_set_aside_and_what_payment_needs_is_told() {
    let here = Warehouse::open().await;
    here.has("A", 10).await;
    here.has("B", 1).await;
    let order = here.order();

    here.place(order, &[("B", 1), ("A", 3)]).await.unwrap();

    assert_eq!((here.stock("A").await, here.stock("B").await), ((10, 3), (1, 1)));
    assert_eq!(here.status(order).await, "reserved");
    let told = here.told(format!("reservation/{order}")).await;
    let amount = json!({"amount_minor": 700, "currency": "GBP"});
    let data = json!({"order_id": order, "amount": amount, "payment_method": "pm_ok"});
    assert_eq!(told, [("shop.inventory.stock_reserved.v1".to_owned(), 1, data)]);
    here.assert_balanced().await;
}

#[tokio::test]
async fn one_line_too_many_rejects_the_whole_order_and_names_every_shortage() {
    let here = Warehouse::open().await;
    here.has("A", 10).await;
    here.has("B", 1).await;
    let order = here.order();

    here.place(order, &[("A", 3), ("B", 2), ("Z", 1)]).await.unwrap();

    assert_eq!((here.stock("A").await, here.stock("B").await), ((10, 0), (1, 0)));
    let told = here.told(format!("reservation/{order}")).await;
    let shortages = json!([{"sku": "B", "requested": 2, "available": 1},
        {"sku": "Z", "requested": 1, "available": 0}]);
    let data = json!({"order_id": order, "shortages": shortages});
    assert_eq!(told, [("shop.inventory.stock_rejected.v1".to_owned(), 1, data)]);

    // The cancellation that follows finds nothing to give back.
    here.cancel(order).await.unwrap();
    assert_eq!(here.status(order).await, "rejected");
    assert_eq!(here.told(format!("reservation/{order}")).await.len(), 1);
    here.assert_balanced().await;
}

#[tokio::test]
async fn an_order_heard_of_twice_is_decided_once_even_if_the_second_time_would_end_otherwise() {
    let here = Warehouse::open().await;
    here.has("A", 3).await;
    let order = here.order();
    here.place(order, &[("A", 2)]).await.unwrap();
    here.place(order, &[("A", 2)]).await.unwrap();
    assert_eq!(here.stock("A").await, (3, 2));
    assert_eq!(here.status(order).await, "reserved");
    assert_eq!(here.told(format!("reservation/{order}")).await.len(), 1);
}

#[tokio::test]
async fn a_confirmed_order_leaves_the_warehouse_once() {
    let here = Warehouse::open().await;
    here.has("A", 10).await;
    let order = here.order();
    here.place(order, &[("A", 4)]).await.unwrap();

    here.confirm(order).await.unwrap();
    here.confirm(order).await.unwrap();

    assert_eq!(here.stock("A").await, (6, 0));
    assert_eq!(here.movements("A").await, [(10, "initial".to_owned()), (-4, "shipped".to_owned())]);
    let told = here.types(format!("reservation/{order}")).await;
    assert_eq!(told, versions(&[("stock_reserved", 1), ("stock_shipped", 2)]));
    let cancelled = here.cancel(order).await;
    assert!(matches!(cancelled, Err(ReleaseStockError::Rule(_))), "{cancelled:?}");
    here.assert_balanced().await;
}

#[tokio::test]
async fn a_cancelled_order_gives_its_goods_back_once() {
    let here = Warehouse::open().await;
    here.has("A", 10).await;
    here.has("B", 5).await;
    let order = here.order();
    here.place(order, &[("B", 5), ("A", 4)]).await.unwrap();

    here.cancel(order).await.unwrap();
    here.cancel(order).await.unwrap();

    assert_eq!((here.stock("A").await, here.stock("B").await), ((10, 0), (5, 0)));
    let told = here.told(format!("reservation/{order}")).await;
    let lines = json!([{"sku": "A", "quantity": 4}, {"sku": "B", "quantity": 5}]);
    let data = json!({"order_id": order, "lines": lines});
    assert_eq!(told[1..], [("shop.inventory.stock_released.v1".to_owned(), 2, data)]);
    let confirmed = here.confirm(order).await;
    assert!(matches!(confirmed, Err(ShipStockError::Rule(_))), "{confirmed:?}");
    here.assert_balanced().await;
}

#[tokio::test]
async fn an_order_cancelled_before_it_is_heard_of_reserves_nothing_when_it_comes() {
    let here = Warehouse::open().await;
    here.has("A", 10).await;
    let order = here.order();
    here.cancel(order).await.unwrap();
    here.cancel(order).await.unwrap();
    here.place(order, &[("A", 4)]).await.unwrap();
    assert_eq!(here.stock("A").await, (10, 0));
    assert_eq!(here.status(order).await, "cancelled");
    assert_eq!(here.told(format!("reservation/{order}")).await, []);
    here.assert_balanced().await;
}

#[tokio::test]
async fn a_confirmation_that_overtakes_its_order_has_to_wait() {
    let here = Warehouse::open().await;
    let confirmed = here.confirm(here.order()).await;
    assert!(matches!(confirmed, Err(ShipStockError::Unknown)), "{confirmed:?}");
}

#[tokio::test]
async fn an_order_that_names_a_sku_twice_is_a_broken_promise_and_changes_nothing() {
    let here = Warehouse::open().await;
    here.has("A", 10).await;
    let order = here.order();
    let placed = here.place(order, &[("A", 1), ("A", 2)]).await;
    assert!(matches!(placed, Err(ReserveStockError::Rule(_))), "{placed:?}");
    assert_eq!(here.stock("A").await, (10, 0));
    assert_eq!(here.told(format!("reservation/{order}")).await, []);
}

#[tokio::test]
async fn forty_buyers_of_seven_pieces_get_seven() {
    let here = Warehouse::open().await;
    here.has("A", 7).await;
    let orders: Vec<_> = (0..40).map(|_| here.order()).collect();
    let placed = join_all(orders.iter().map(|order| here.place(*order, &[("A", 1)]))).await;
    assert!(placed.iter().all(Result::is_ok), "{placed:?}");
    assert_eq!(here.stock("A").await, (7, 7));
    let statuses = join_all(orders.iter().map(|order| here.status(*order))).await;
    assert_eq!(statuses.iter().filter(|status| *status == "reserved").count(), 7);
    assert_eq!(statuses.iter().filter(|status| *status == "rejected").count(), 33);
    here.assert_balanced().await;
}

#[tokio::test]
async fn orders_of_the_same_goods_in_opposite_order_never_block_each_other_for_good() {
    let here = Warehouse::open().await;
    let skus = ["A", "B", "C", "a", "0"];
    for sku in skus {
        here.has(sku, 100).await;
    }
    let life = |n: usize| {
        let here = &here;
        async move {
            let mut lines = skus.map(|sku| (sku, 1));
            if n.is_multiple_of(2) {
                lines.reverse();
            }
            let order = here.order();
            here.place(order, &lines).await.map_err(|error| format!("{error:?}"))?;
            match n % 3 {
                0 => here.confirm(order).await.map_err(|error| format!("{error:?}")),
                1 => here.cancel(order).await.map_err(|error| format!("{error:?}")),
                _ => Ok(()),
            }
        }
    };
    let lives = join_all((0..60).map(life)).await;
    assert!(lives.iter().all(Result::is_ok), "{lives:?}");
    for sku in skus {
        assert_eq!(here.stock(sku).await, (80, 20), "{sku}");
    }
    here.assert_balanced().await;
}

#[tokio::test]
async fn an_order_and_its_cancellation_at_the_same_moment_never_leave_goods_set_aside() {
    let here = Warehouse::open().await;
    here.has("A", 1_000).await;
    let race = |_| {
        let here = &here;
        async move {
            let order = here.order();
            let lines = [("A", 3)];
            let (placed, cancelled) = tokio::join!(here.place(order, &lines), here.cancel(order));
            placed.unwrap();
            cancelled.unwrap();
            here.status(order).await
        }
    };
    let statuses = join_all((0..50).map(race)).await;
    assert!(statuses.iter().all(|status| status == "released" || status == "cancelled"));
    assert_eq!(here.stock("A").await, (1_000, 0));
    here.assert_balanced().await;
}

#[tokio::test]
async fn a_decision_that_is_not_committed_leaves_no_trace() {
    let here = Warehouse::open().await;
    here.has("A", 10).await;
    let order = here.order();
    let mut tx = here.tx().await;
    let charge = inventory::domain::reservation::Charge {
        amount: inventory::domain::money::Money::new(1, "GBP"),
        payment_method: "pm_ok".into(),
    };
    let lines = vec![inventory::domain::reservation::Line { sku: "A".into(), quantity: 1 }];
    let command =
        inventory::application::reserve_stock::ReserveStock { order_id: order, lines, charge };
    let now = tx.now();
    let mut store = inventory::store(&mut tx);
    inventory::application::reserve_stock::reserve_stock(&mut store, vec![command], now)
        .await
        .unwrap();
    drop(tx);
    assert_eq!(here.stock("A").await, (10, 0));
    assert_eq!(here.told(format!("reservation/{order}")).await, []);
    here.assert_balanced().await;
}

#[tokio::test]
async fn orders_of_one_transaction_are_decided_one_after_the_other_over_what_is_left() {
    let here = Warehouse::open().await;
    here.has("A", 10).await;
    here.has("B", 10).await;
    let [first, second, third, fourth] = [(); 4].map(|()| here.order());

    let orders = [
        (first, &[("A", 6), ("B", 1)][..]),
        (second, &[("A", 5)][..]),
        (third, &[("B", 2), ("A", 4)][..]),
        (fourth, &[("A", 1)][..]),
    ];
    here.place_all(&orders).await.unwrap();
    let statuses = join_all([first, second, third, fourth].map(|order| here.status(order))).await;
    assert_eq!(statuses, ["reserved", "rejected", "reserved", "rejected"]);
    assert_eq!((here.stock("A").await, here.stock("B").await), ((10, 10), (10, 3)));
    let told = here.told(format!("reservation/{second}")).await;
    let shortages = json!([{"sku": "A", "requested": 5, "available": 4}]);
    assert_eq!(told[0].2, json!({"order_id": second, "shortages": shortages}));

    // One of them comes twice.
    here.confirm_all(&[third, first, third]).await.unwrap();
    assert_eq!((here.stock("A").await, here.stock("B").await), ((0, 0), (7, 0)));
    assert_eq!(here.told(format!("reservation/{third}")).await.len(), 2);
    here.assert_balanced().await;
}

#[tokio::test]
async fn a_known_order_among_others_takes_nothing_twice_and_nobody_is_rejected_for_it() {
    let here = Warehouse::open().await;
    here.has("A", 5).await;
    let [known, new, another] = [(); 3].map(|()| here.order());
    here.place(known, &[("A", 2)]).await.unwrap();

    here.place_all(&[(known, &[("A", 2)]), (new, &[("A", 1)])]).await.unwrap();
    assert_eq!(here.status(new).await, "reserved");
    assert_eq!(here.stock("A").await, (5, 3));
    // Two are free, and the known one seems to take them.
    let refused = here.place_all(&[(known, &[("A", 2)]), (another, &[("A", 1)])]).await;
    assert!(matches!(refused, Err(ReserveStockError::Store(_))), "{refused:?}");
    here.place(another, &[("A", 1)]).await.unwrap();
    assert_eq!(here.status(another).await, "reserved");

    let unheard_of = here.order();
    here.cancel_all(&[known, unheard_of, new]).await.unwrap();
    let statuses = join_all([known, new, unheard_of].map(|order| here.status(order))).await;
    assert_eq!(statuses, ["released", "released", "cancelled"]);
    assert_eq!(here.stock("A").await, (5, 1));
    here.assert_balanced().await;
}
