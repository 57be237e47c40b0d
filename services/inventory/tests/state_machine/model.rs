//! What should come of it all, in the fewest words: a product is a number and an order a word. What
//! is reserved is not stored here but added up, so it cannot be forgotten.

use std::collections::BTreeMap;

use inventory::domain::product::ProductEvent;

use super::{Description, Happening};

/// An order's lines: which of the SKUs, and how many.
pub type Basket = Vec<(usize, u32)>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    Held,
    Refused,
    Freed,
    Sent,
    /// Cancelled before it was heard of.
    Forestalled,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Goods {
    pub described: Description,
    pub told: Vec<ProductEvent>,
}

/// What comes of one thing that happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    Done,
    /// It cannot be, and changes nothing.
    Impossible,
    /// It comes too early, and changes nothing.
    Unknown,
}

#[derive(Debug, Default)]
pub struct Model {
    pub goods: BTreeMap<usize, Goods>,
    pub orders: BTreeMap<usize, Fate>,
    pub baskets: Vec<Basket>,
}

impl Model {
    /// Pieces of a product that live reservations hold.
    pub fn reserved(&self, sku: usize) -> i64 {
        let held = self.orders.iter().filter(|(_, fate)| **fate == Fate::Held);
        let lines = held.flat_map(|(order, _)| &self.baskets[*order]);
        lines.filter(|line| line.0 == sku).map(|line| i64::from(line.1)).sum()
    }

    pub fn happen(&mut self, happening: &Happening) -> Answer {
        match happening {
            Happening::Placed(order) => self.place(*order),
            Happening::Confirmed(order) => self.confirm(*order),
            Happening::Cancelled(order) => self.cancel(*order),
            Happening::CancelledAsPlaced(order) => {
                if !self.orders.contains_key(order) {
                    self.place(*order);
                }
                self.cancel(*order)
            }
            Happening::Replenished(sku, quantity) => self.replenish(*sku, *quantity),
            Happening::Put(sku, described) => self.put(*sku, described),
            Happening::PutAsPut(sku, first, second) => {
                if !self.goods.contains_key(sku) {
                    self.put(*sku, first);
                }
                self.put(*sku, second)
            }
            Happening::Imported(rows) => {
                for (sku, described) in rows {
                    self.put(*sku, described);
                }
                Answer::Done
            }
        }
    }

    fn place(&mut self, order: usize) -> Answer {
        if !self.orders.contains_key(&order) {
            let there = |(sku, quantity): &(usize, u32)| {
                let on_hand = self.goods.get(sku).map_or(0, |goods| goods.described.on_hand);
                on_hand - self.reserved(*sku) >= i64::from(*quantity)
            };
            let fate =
                if self.baskets[order].iter().all(there) { Fate::Held } else { Fate::Refused };
            self.orders.insert(order, fate);
        }
        Answer::Done
    }

    fn confirm(&mut self, order: usize) -> Answer {
        match self.orders.get(&order) {
            None => Answer::Unknown,
            Some(Fate::Sent) => Answer::Done,
            Some(Fate::Held) => {
                for (sku, quantity) in &self.baskets[order] {
                    if let Some(goods) = self.goods.get_mut(sku) {
                        goods.described.on_hand -= i64::from(*quantity);
                    }
                }
                self.orders.insert(order, Fate::Sent);
                Answer::Done
            }
            Some(Fate::Refused | Fate::Freed | Fate::Forestalled) => Answer::Impossible,
        }
    }

    fn cancel(&mut self, order: usize) -> Answer {
        match self.orders.get(&order) {
            None => _ = self.orders.insert(order, Fate::Forestalled),
            Some(Fate::Held) => _ = self.orders.insert(order, Fate::Freed),
            Some(Fate::Sent) => return Answer::Impossible,
            Some(Fate::Refused | Fate::Freed | Fate::Forestalled) => {}
        }
        Answer::Done
    }

    fn replenish(&mut self, sku: usize, quantity: i64) -> Answer {
        let Some(goods) = self.goods.get_mut(&sku) else { return Answer::Unknown };
        let Some(on_hand) = goods.described.on_hand.checked_add(quantity) else {
            return Answer::Impossible;
        };
        goods.described.on_hand = on_hand;
        goods.told.push(ProductEvent::Replenished { quantity });
        Answer::Done
    }

    fn put(&mut self, sku: usize, described: &Description) -> Answer {
        let reserved = self.reserved(sku);
        let Some(goods) = self.goods.get_mut(&sku) else {
            let (described, told) = (described.clone(), vec![ProductEvent::Listed]);
            self.goods.insert(sku, Goods { described, told });
            return Answer::Done;
        };
        if described.on_hand < reserved {
            return Answer::Impossible;
        }
        let old = std::mem::replace(&mut goods.described, described.clone());
        if old.unit_price != described.unit_price {
            goods.told.push(ProductEvent::PriceChanged);
        }
        let stock_delta = described.on_hand - old.on_hand;
        if stock_delta != 0 || old.name != described.name {
            goods.told.push(ProductEvent::Changed { stock_delta });
        }
        Answer::Done
    }
}
