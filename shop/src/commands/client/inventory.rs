//! The inventory service.

use contracts::Money;
use reqwest::StatusCode;
use serde::{Deserialize, Serialize};

use super::call::{CallError, Http};

/// A client of the inventory service.
#[derive(Debug, Clone)]
pub struct InventoryApi(Http);

/// The body of `PUT /products/{sku}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NewProduct {
    /// For people.
    pub name: String,
    /// Of one piece.
    pub unit_price: Money,
    /// Pieces in the warehouse, reserved ones included.
    pub on_hand: i64,
}

/// What became of a `PUT`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Put {
    /// It is new.
    Created,
    /// It was there.
    Known,
}

#[derive(Deserialize)]
struct StockDocument {
    reserved: i64,
}

impl InventoryApi {
    /// A client of the service at `base`.
    ///
    /// # Errors
    /// When the machine gives no HTTP client.
    pub fn new(base: String) -> anyhow::Result<Self> {
        Http::new(base).map(Self)
    }

    /// Lists a product or makes a listed one what `product` says. Where more pieces are reserved
    /// than it would have, they are added to what it is to have.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn put(&self, sku: &str, product: &NewProduct) -> Result<Put, CallError> {
        match self.put_once(sku, product).await {
            Err(CallError::Refused { problem, .. }) if problem.reason() == "below_reserved" => {
                let path = format!("/stock/{sku}");
                let (_, stock) = self.0.send::<StockDocument>(self.0.get(&path)).await?;
                let on_hand = product.on_hand.saturating_add(stock.reserved);
                self.put_once(sku, &NewProduct { on_hand, ..product.clone() }).await
            }
            answer => answer,
        }
    }

    async fn put_once(&self, sku: &str, product: &NewProduct) -> Result<Put, CallError> {
        let request = self.0.put(&format!("/products/{sku}")).json(product);
        let (status, _) = self.0.send_raw(request).await?;
        Ok(if status == StatusCode::CREATED { Put::Created } else { Put::Known })
    }
}
