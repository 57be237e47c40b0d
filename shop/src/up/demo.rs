//! Two products to begin with.

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use reqwest::StatusCode;
use serde_json::json;

use crate::ports::Ports;
use crate::probe::Probe;

/// The product that the summary proposes to order.
pub(super) const FIRST: &str = "DEMO-1";
const PRODUCTS: [(&str, &str, i64); 2] =
    [(FIRST, "Enamel mug, 350 ml", 1_250), ("DEMO-2", "Linen tea towel", 795)];
const ON_HAND: u32 = 100_000;
/// Between two questions whether order knows a product.
const ASK_EVERY: Duration = Duration::from_millis(50);

/// Makes the demo products that inventory does not know, leaves what it knows as it is, and waits
/// until they can be ordered.
///
/// # Errors
/// When inventory does not take one, or order does not know one after the time `within`.
pub(super) async fn seed(probe: &Probe, ports: &Ports, within: Duration) -> anyhow::Result<()> {
    let deadline = Instant::now() + within;
    make(probe, ports).await?;
    for (sku, ..) in PRODUCTS {
        let url = format!("{}/products/{sku}", Ports::http(ports.order));
        // Order learns of a product by an event.
        while let Err(reason) = known(probe, &url).await {
            if Instant::now() >= deadline {
                bail!("order does not know {sku} after {} s ({reason})", within.as_secs());
            }
            tokio::time::sleep(ASK_EVERY).await;
        }
    }
    Ok(())
}

async fn known(probe: &Probe, url: &str) -> Result<(), String> {
    match probe.status(url).await {
        Ok(StatusCode::OK) => Ok(()),
        Ok(status) => Err(format!("answers {status}")),
        Err(error) => Err(error.without_url().to_string()),
    }
}

async fn make(probe: &Probe, ports: &Ports) -> anyhow::Result<()> {
    let inventory = Ports::http(ports.inventory);
    for (sku, name, amount_minor) in PRODUCTS {
        let known = probe.status(&format!("{inventory}/stock/{sku}")).await;
        if known.context("ask inventory for the demo products")?.is_success() {
            continue;
        }
        let price = json!({ "amount_minor": amount_minor, "currency": "GBP" });
        let product = json!({ "name": name, "unit_price": price, "on_hand": ON_HAND });
        let (status, body) = probe
            .put(&format!("{inventory}/products/{sku}"), &product)
            .await
            .context("make the demo products")?;
        ensure!(status.is_success(), "inventory does not take {sku}: {status} {body}");
    }
    Ok(())
}
