//! Events of the shop, of the size that they have there.

use chrono::{DateTime, Utc};
use contracts::order::{Line, OrderPlaced};
use contracts::{Currency, Money};
use uuid::Uuid;

/// An order of three lines.
///
/// # Errors
/// Never, but the currency does not know that.
pub(crate) fn placed(order_id: Uuid, placed_at: DateTime<Utc>) -> anyhow::Result<OrderPlaced> {
    let line = |sku: &str, quantity| Line { sku: sku.to_owned(), quantity };
    Ok(OrderPlaced {
        order_id,
        customer_id: order_id,
        customer_email: "somebody@example.org".to_owned(),
        lines: vec![line("85123A", 6), line("71053", 2), line("84406B", 12)],
        total: Money::new(13_912, Currency::parse("GBP")?),
        payment_method: "tok_visa".to_owned(),
        placed_at,
    })
}
