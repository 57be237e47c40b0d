//! Customers, and what they can buy.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use serde::Deserialize;
use serde_json::json;
use shop::verify::Service;
use tokio::time::sleep;
use uuid::Uuid;

use super::World;

/// Enough that orders rarely wait for each other's stock, as in `shop load`.
const PRODUCTS: u64 = 200;
/// More than any load takes.
const PIECES: u64 = 100_000_000;
const AT_ONCE: usize = 8;
/// How long an event may take from inventory to order's catalogue.
const KNOWN_WITHIN: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(5);

/// An order that was accepted.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Placed {
    pub(crate) order: Uuid,
    /// When the request was sent.
    pub(crate) sent: Instant,
    /// How long the answer took.
    pub(crate) answered: Duration,
}

#[derive(Deserialize)]
struct Accepted {
    order_id: Uuid,
}

/// Lists the goods, and waits until order knows all of them.
///
/// # Errors
/// When inventory refuses, or order does not learn of them.
pub(crate) async fn list_goods(world: &World) -> anyhow::Result<()> {
    stream::iter(0..PRODUCTS)
        .map(|n| async move {
            let url = format!("{}/products/{}", world.url(Service::Inventory), sku(n));
            let product = json!({"name": format!("Product {n}"), "on_hand": PIECES,
                "unit_price": {"amount_minor": 100 + 7 * n, "currency": "GBP"}});
            let answer = world.http.put(url).json(&product).send().await?;
            answer.error_for_status().map(drop)
        })
        .buffer_unordered(AT_ONCE)
        .try_collect::<()>()
        .await
        .context("list the goods")?;
    let until = Instant::now() + KNOWN_WITHIN;
    let known = "select count(*) from catalogue";
    while world.count(Service::Order, known).await? < PRODUCTS.cast_signed() {
        ensure!(Instant::now() < until, "order does not learn of all goods");
        sleep(LOOK).await;
    }
    Ok(())
}

/// Places the n-th order of a load: two products, paid without trouble.
///
/// # Errors
/// When it is not accepted.
pub(crate) async fn place(world: &World, load: &str, n: u64) -> anyhow::Result<Placed> {
    let body = json!({
        "customer_id": Uuid::from_u128(u128::from(n % 500)),
        "customer_email": "customer@example.com",
        "lines": [{"sku": sku(n), "quantity": 1}, {"sku": sku(n * 7 + 1), "quantity": 2}],
        "payment_method": "pm_ok",
    });
    let url = format!("{}/orders", world.url(Service::Order));
    let request = world.http.post(url).header("Idempotency-Key", format!("{load}-{n:012}"));
    let sent = Instant::now();
    let answer = request.json(&body).send().await?;
    let status = answer.status();
    let text = answer.text().await?;
    let answered = sent.elapsed();
    let accepted: Accepted =
        serde_json::from_str(&text).with_context(|| format!("{status} {text}"))?;
    Ok(Placed { order: accepted.order_id, sent, answered })
}

fn sku(n: u64) -> String {
    format!("BENCH-{:03}", n % PRODUCTS)
}
