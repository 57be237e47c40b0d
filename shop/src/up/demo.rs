//! Two products to begin with.

use anyhow::{Context as _, ensure};
use serde_json::json;

use crate::ports::Ports;
use crate::probe::Probe;

/// The product that the summary proposes to order.
pub(super) const FIRST: &str = "DEMO-1";
const PRODUCTS: [(&str, &str, i64); 2] =
    [(FIRST, "Enamel mug, 350 ml", 1_250), ("DEMO-2", "Linen tea towel", 795)];
const ON_HAND: u32 = 100_000;

/// Makes the demo products that inventory does not know; leaves what it knows as it is.
///
/// # Errors
/// When inventory does not take one.
pub(super) async fn seed(probe: &Probe, ports: &Ports) -> anyhow::Result<()> {
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
