//! From what happened to products and reservations to what others are told of it.

use contracts::inventory::{
    PriceChanged, ProductChanged, ProductListed, Shortage, StockRejected, StockReleased,
    StockReplenished, StockReserved, StockShipped,
};
use contracts::order::Line;
use contracts::{Currency, Money};
use messaging::Tx;

use crate::application::ports::StoreError;
use crate::domain::money;
use crate::domain::product::{Product, ProductEvent};
use crate::domain::reservation::{self, Reservation, ReservationEvent};

/// Publishes one domain event of `product` as its contract.
pub(super) fn publish_product(
    tx: &mut Tx,
    product: &Product,
    version: u32,
    event: ProductEvent,
) -> Result<(), StoreError> {
    let (sku, name) = (product.sku().to_owned(), product.name().to_owned());
    let (unit_price, on_hand) = (money(product.unit_price())?, product.on_hand());
    match event {
        ProductEvent::Listed => {
            tx.publish(&ProductListed { sku, name, unit_price, on_hand }, version)?;
        }
        ProductEvent::PriceChanged => {
            tx.publish(&PriceChanged { sku, unit_price }, version)?;
        }
        ProductEvent::Changed { .. } => {
            tx.publish(&ProductChanged { sku, name, on_hand }, version)?;
        }
        ProductEvent::Replenished { quantity } => {
            tx.publish(&StockReplenished { sku, quantity, on_hand }, version)?;
        }
    }
    Ok(())
}

/// Publishes one domain event of `reservation` as its contract.
pub(super) fn publish_reservation(
    tx: &mut Tx,
    reservation: &Reservation,
    version: u32,
    event: ReservationEvent,
) -> Result<(), StoreError> {
    let order_id = reservation.order_id();
    let lines = || reservation.lines().iter().map(line).collect();
    match event {
        ReservationEvent::Reserved(charge) => {
            let (amount, payment_method) = (money(&charge.amount)?, charge.payment_method);
            tx.publish(&StockReserved { order_id, amount, payment_method }, version)?;
        }
        ReservationEvent::Rejected(shortages) => {
            let shortages = shortages.into_iter().map(shortage).collect();
            tx.publish(&StockRejected { order_id, shortages }, version)?;
        }
        ReservationEvent::Released => {
            tx.publish(&StockReleased { order_id, lines: lines() }, version)?;
        }
        ReservationEvent::Shipped => {
            tx.publish(&StockShipped { order_id, lines: lines() }, version)?;
        }
    }
    Ok(())
}

fn line(line: &reservation::Line) -> Line {
    Line { sku: line.sku.clone(), quantity: line.quantity }
}

fn shortage(shortage: reservation::Shortage) -> Shortage {
    let reservation::Shortage { sku, requested, available } = shortage;
    Shortage { sku, requested, available }
}

fn money(money: &money::Money) -> Result<Money, StoreError> {
    let currency = Currency::try_from(money.currency.clone())
        .map_err(|_| super::unreadable("currency", &money.currency))?;
    Ok(Money::new(money.amount_minor, currency))
}
