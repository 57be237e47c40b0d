//! What can be watched of orders: those that wait, and those that have ended.
#![allow(clippy::unwrap_used)]

mod common;

use chassis::metrics::{self, Metrics};
use chrono::TimeDelta;
use common::Shop;
use common::clock::Still;
use messaging::step::Step as _;
use order::application::settle_orders::{Verdict, settle_orders};
use order::domain::order::CancelReason;
use order::infrastructure::name_metrics;
use order::presentation::deadlines::Deadlines;
use order::presentation::gauges::Gauges;
use order::store;

/// What a series stands at.
fn shown(metrics: &Metrics, series: &str) -> Option<f64> {
    let text = metrics.render();
    let value = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    value.map(|value| value.parse().unwrap())
}

fn ended(metrics: &Metrics) -> [f64; 5] {
    [
        ("confirmed", "none"),
        ("cancelled", "out_of_stock"),
        ("cancelled", "payment_declined"),
        ("cancelled", "customer_request"),
        ("cancelled", "timed_out"),
    ]
    .map(|(status, reason)| {
        let series = format!("shop_orders_ended_total{{status=\"{status}\",reason=\"{reason}\"}}");
        shown(metrics, &series).unwrap()
    })
}

#[tokio::test]
async fn orders_that_wait_and_orders_that_have_ended_can_be_watched() {
    let metrics = metrics::install("shop").unwrap();
    name_metrics();
    assert_eq!(ended(&metrics), [0.0; 5], "there before the first one");
    let time = Still::new();
    let shop = Shop::at(time.clock()).await;
    shop.sells("A", 250, "GBP").await;
    let mut gauges = Gauges::new(shop.app.clone());
    let waiting = async |gauges: &mut Gauges| {
        gauges.step().await;
        ["shop_orders_pending", "shop_orders_oldest_pending_age_seconds"]
            .map(|series| shown(&metrics, series).unwrap())
    };
    assert_eq!(waiting(&mut gauges).await, [0.0, 0.0]);

    let first = shop.place().await;
    time.pass(TimeDelta::milliseconds(2_500));
    let second = shop.place().await;
    assert_eq!(waiting(&mut gauges).await, [2.0, 2.5]);
    shop.settle(first, Verdict::Paid).await;
    assert_eq!(waiting(&mut gauges).await, [1.0, 0.0]);
    shop.settle(first, Verdict::Impossible(CancelReason::OutOfStock)).await;
    assert_eq!(ended(&metrics), [1.0, 0.0, 0.0, 0.0, 0.0], "an order ends once");

    let mut tx = shop.tx().await;
    let now = tx.now();
    settle_orders(&mut store(&mut tx), &[second], Verdict::Paid, now).await.unwrap();
    drop(tx);
    assert_eq!(ended(&metrics), [1.0, 0.0, 0.0, 0.0, 0.0], "what is rolled back has not happened");
    shop.cancel(second).await;
    shop.cancel(second).await;
    for reason in [CancelReason::OutOfStock, CancelReason::PaymentDeclined] {
        let id = shop.place().await;
        shop.settle(id, Verdict::Impossible(reason)).await;
    }
    shop.place().await;
    time.pass(TimeDelta::minutes(20));
    assert_eq!(waiting(&mut gauges).await, [1.0, 1_200.0]);
    Deadlines::new(shop.app.clone()).step().await;
    assert_eq!(waiting(&mut gauges).await, [0.0, 0.0]);
    assert_eq!(ended(&metrics), [1.0; 5]);
}
