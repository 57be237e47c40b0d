//! The products of a load: listed in inventory, and known to the order service before it is asked
//! to price them.

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use contracts::{Currency, Money};
use envelope::Clock;
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use indicatif::ProgressBar;

use super::plan::{Plan, Product};
use crate::commands::client::{InventoryApi, NewProduct, OrderApi, Patience, Put};

/// Requests at a time.
const AT_ONCE: usize = 16;
/// Pieces of every product, where the orders do not need more.
const PLENTY: i64 = 1_000_000;
/// How long a service may be away while products are listed.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long an event may take from inventory to order's catalogue.
const KNOWN_WITHIN: Duration = Duration::from_secs(60);

/// What there was to do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub(super) struct Prepared {
    /// Products that are new.
    pub(super) created: u64,
    /// Products that were there.
    pub(super) known: u64,
}

/// Sees to it that every product of `plan` can be ordered.
///
/// # Errors
/// When a service does not answer or refuses, or the catalogue does not follow.
pub(super) async fn prepare(
    inventory: &InventoryApi,
    order: &OrderApi,
    plan: &Plan,
    clock: &Clock,
    bar: &ProgressBar,
) -> anyhow::Result<Prepared> {
    let pieces = plan.pieces();
    let needed = |sku: &str| pieces.get(sku).copied().unwrap_or_default().saturating_mul(2);
    let mut prepared = Prepared::default();
    let mut listing = stream::iter(&plan.products)
        .map(|product| list(inventory, product, needed(&product.sku).max(PLENTY), clock))
        .buffer_unordered(AT_ONCE);
    while let Some(put) = listing.try_next().await? {
        match put {
            Put::Created => prepared.created += 1,
            Put::Known => prepared.known += 1,
        }
        bar.inc(1);
    }
    drop(listing);
    let deadline = Instant::now() + KNOWN_WITHIN;
    let last = last_of_all(clock);
    list(inventory, &last, 0, clock).await?;
    until_known(order, &last, deadline).await?;
    stream::iter(&plan.products)
        .map(|product| until_known(order, product, deadline))
        .buffer_unordered(AT_ONCE)
        .try_for_each(|()| {
            bar.inc(1);
            std::future::ready(Ok(()))
        })
        .await?;
    Ok(prepared)
}

/// A product whose new price comes behind all changes above in order's queue: once it is known there,
/// the first orders wait for no backlog of the catalogue, and their times are those of orders.
fn last_of_all(clock: &Clock) -> Product {
    let amount_minor = 1 + clock.now().timestamp_micros() % 1_000_000_000;
    let unit_price = Money::new(amount_minor, Currency::GBP);
    Product { sku: "LOAD-LAST".into(), name: "Marks the end of a listing".into(), unit_price }
}

async fn list(
    inventory: &InventoryApi,
    product: &Product,
    on_hand: i64,
    clock: &Clock,
) -> anyhow::Result<Put> {
    let (name, unit_price) = (product.name.clone(), product.unit_price);
    let body = NewProduct { name, unit_price, on_hand };
    let patience = Patience::of(clock, PATIENCE);
    let (put, _) = patience.repeat(|| inventory.put(&product.sku, &body)).await;
    put.with_context(|| format!("cannot list {} (is the shop up?)", product.sku))
}

/// Waits until the order service would price the product as inventory does.
async fn until_known(order: &OrderApi, product: &Product, deadline: Instant) -> anyhow::Result<()> {
    let mut pause = Duration::from_millis(5);
    loop {
        let seen = order.price(&product.sku).await;
        if matches!(&seen, Ok(Some(price)) if *price == product.unit_price) {
            return Ok(());
        }
        if Instant::now() + pause >= deadline {
            let seen = match seen {
                Ok(Some(price)) => format!("still costs {price} there"),
                Ok(None) => "is not known there".to_owned(),
                Err(error) => error.to_string(),
            };
            bail!(
                "{} was listed, but order's catalogue did not follow within {} s: it {seen}",
                product.sku,
                KNOWN_WITHIN.as_secs()
            );
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_millis(250));
    }
}
