//! Orders that nobody ever placed, the same ones in every load.

use contracts::{Currency, Money};

use super::plan::{Customer, Order, Plan, Product, Tally};
use crate::commands::client::NewLine;

/// Enough that orders rarely wait for each other's stock.
const PRODUCTS: usize = 200;
const CUSTOMERS: u64 = 500;
const MOST_LINES: u64 = 4;
const MOST_PIECES: u64 = 3;

/// A plan of `orders` orders of one to four products.
#[must_use]
pub(super) fn plan(orders: usize) -> Plan {
    let products = (0..PRODUCTS).map(product).collect();
    let mut draw = Draw(0x7469_6469_6e67_7321);
    let orders = (1..=orders).map(|n| order(n, &mut draw)).collect();
    Plan { products, orders, tally: Tally::default() }
}

fn sku(n: usize) -> String {
    format!("LOAD-{:03}", n + 1)
}

fn product(n: usize) -> Product {
    let unit_price = Money::new(100 + 7 * i64::try_from(n).unwrap_or_default(), Currency::GBP);
    Product { sku: sku(n), name: format!("Load product {}", n + 1), unit_price }
}

fn order(n: usize, draw: &mut Draw) -> Order {
    let customer = Customer::named(&format!("synthetic-{}", draw.below(CUSTOMERS)));
    let mut lines: Vec<NewLine> = Vec::new();
    for _ in 0..=draw.below(MOST_LINES) {
        let sku = sku(draw.below(PRODUCTS as u64) as usize);
        let quantity = 1 + draw.below(MOST_PIECES) as u32;
        if !lines.iter().any(|line| line.sku == sku) {
            lines.push(NewLine { sku, quantity });
        }
    }
    Order { name: format!("synthetic-{n}"), customer, lines }
}

/// `SplitMix64` (Steele, Lea, Flood, 2014): the same numbers every time, which is the point.
struct Draw(u64);

impl Draw {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_load_places_the_same_good_orders() {
        let plan = plan(300);
        assert_eq!(plan, super::plan(300));
        let known: HashSet<_> = plan.products.iter().map(|product| &product.sku).collect();
        for order in &plan.orders {
            let skus: HashSet<_> = order.lines.iter().map(|line| &line.sku).collect();
            assert_eq!(skus.len(), order.lines.len(), "{order:?}");
            assert!(!skus.is_empty() && skus.is_subset(&known), "{order:?}");
        }
    }
}
