//! A product: what it is called, what it costs, and how many pieces there are.

use chrono::{DateTime, Utc};

use super::money::Money;

/// What happened to a product, as a plain value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProductEvent {
    /// It is sold from now on.
    Listed,
    /// It costs something else.
    PriceChanged,
    /// Its name or its counted stock was corrected.
    Changed {
        /// Pieces more (or, below zero, less) than were believed to be there; 0 when only the name
        /// changed.
        stock_delta: i64,
    },
    /// Goods arrived.
    Replenished {
        /// Pieces, at least one.
        quantity: i64,
    },
}

/// What a product is described by, as a client gives it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Description {
    /// For people.
    pub name: String,
    /// Of one piece.
    pub unit_price: Money,
    /// Pieces in the warehouse, reserved ones included; never negative.
    pub on_hand: i64,
}

/// A change that cannot be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProductError {
    /// More pieces are set aside for orders than there would be.
    #[error("fewer pieces than are reserved")]
    BelowReserved,
    /// The number of pieces does not fit into 64 bits.
    #[error("too many pieces")]
    Overflow,
}

/// A product. It changes only through the methods that also tell of the change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Product {
    sku: String,
    description: Description,
    reserved: i64,
    version: u32,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
    events: Vec<(u32, ProductEvent)>,
}

/// What is stored of a product.
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "the fields are those of the product")]
pub struct Stored {
    pub sku: String,
    pub description: Description,
    pub reserved: i64,
    pub version: u32,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
}

impl Product {
    /// Lists a new product.
    pub fn list(sku: String, description: Description, now: DateTime<Utc>) -> Self {
        let (created_at, updated_at, events) = (now, now, Vec::new());
        let (reserved, version) = (0, 0);
        let mut product =
            Self { sku, description, reserved, version, created_at, updated_at, events };
        product.happened(ProductEvent::Listed, now);
        product
    }

    /// The product as it was stored.
    pub fn load(stored: Stored) -> Self {
        let Stored { sku, description, reserved, version, created_at, updated_at } = stored;
        Self { sku, description, reserved, version, created_at, updated_at, events: Vec::new() }
    }

    /// Makes it what the description says. What is so already is no change.
    ///
    /// # Errors
    /// [`ProductError::BelowReserved`].
    pub fn describe(
        &mut self,
        description: Description,
        now: DateTime<Utc>,
    ) -> Result<(), ProductError> {
        if description.on_hand < self.reserved {
            return Err(ProductError::BelowReserved);
        }
        let old = std::mem::replace(&mut self.description, description);
        if old.unit_price != self.description.unit_price {
            self.happened(ProductEvent::PriceChanged, now);
        }
        // Neither is negative, so the difference fits.
        let stock_delta = self.description.on_hand - old.on_hand;
        if stock_delta != 0 || old.name != self.description.name {
            self.happened(ProductEvent::Changed { stock_delta }, now);
        }
        Ok(())
    }

    /// `quantity` pieces, at least one, arrived.
    ///
    /// # Errors
    /// [`ProductError::Overflow`].
    pub fn replenish(&mut self, quantity: i64, now: DateTime<Utc>) -> Result<(), ProductError> {
        let on_hand = self.description.on_hand.checked_add(quantity);
        self.description.on_hand = on_hand.ok_or(ProductError::Overflow)?;
        self.happened(ProductEvent::Replenished { quantity }, now);
        Ok(())
    }

    fn happened(&mut self, event: ProductEvent, now: DateTime<Utc>) {
        self.version += 1;
        self.updated_at = now;
        self.events.push((self.version, event));
    }

    /// What happened since it was listed or loaded, each with its version, to be stored and told.
    pub fn take_events(&mut self) -> Vec<(u32, ProductEvent)> {
        std::mem::take(&mut self.events)
    }

    /// Stock keeping unit: its id.
    pub fn sku(&self) -> &str {
        &self.sku
    }

    /// For people.
    pub fn name(&self) -> &str {
        &self.description.name
    }

    /// Of one piece.
    pub fn unit_price(&self) -> &Money {
        &self.description.unit_price
    }

    /// Pieces in the warehouse, reserved ones included.
    pub fn on_hand(&self) -> i64 {
        self.description.on_hand
    }

    /// Pieces set aside for orders.
    pub fn reserved(&self) -> i64 {
        self.reserved
    }

    /// How many events it has had.
    pub fn version(&self) -> u32 {
        self.version
    }

    /// When it was listed.
    pub fn created_at(&self) -> DateTime<Utc> {
        self.created_at
    }

    /// When it last had an event.
    pub fn updated_at(&self) -> DateTime<Utc> {
        self.updated_at
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const NOW: DateTime<Utc> = DateTime::UNIX_EPOCH;

    fn described(name: &str, price: i64, on_hand: i64) -> Description {
        Description { name: name.into(), unit_price: Money::new(price, "GBP"), on_hand }
    }

    fn stored(reserved: i64) -> Product {
        Product::load(Stored {
            sku: "A".into(),
            description: described("lamp", 100, 10),
            reserved,
            version: 3,
            created_at: NOW,
            updated_at: NOW,
        })
    }

    #[test]
    fn the_first_event_lists_it() {
        let mut product = Product::list("A".into(), described("lamp", 100, 10), NOW);
        assert_eq!(product.take_events(), [(1, ProductEvent::Listed)]);
        assert_eq!(product.take_events(), []);
    }

    #[test]
    fn what_changed_is_told_with_consecutive_versions_and_nothing_else_is() {
        let mut product = stored(0);
        product.describe(described("lamp", 100, 10), NOW).unwrap();
        assert_eq!(product.take_events(), []);
        product.describe(described("lamp", 120, 10), NOW).unwrap();
        assert_eq!(product.take_events(), [(4, ProductEvent::PriceChanged)]);
        product.describe(described("lantern", 120, 10), NOW).unwrap();
        assert_eq!(product.take_events(), [(5, ProductEvent::Changed { stock_delta: 0 })]);
        product.describe(described("lantern", 99, 4), NOW).unwrap();
        let both =
            [(6, ProductEvent::PriceChanged), (7, ProductEvent::Changed { stock_delta: -6 })];
        assert_eq!(product.take_events(), both);
    }

    #[test]
    fn another_currency_is_another_price() {
        let mut product = stored(0);
        let unit_price = Money::new(100, "EUR");
        product.describe(Description { unit_price, ..described("lamp", 0, 10) }, NOW).unwrap();
        assert_eq!(product.take_events(), [(4, ProductEvent::PriceChanged)]);
    }

    #[test]
    fn stock_never_falls_below_what_is_reserved_and_a_refused_change_changes_nothing() {
        let mut product = stored(5);
        let refused = product.describe(described("lantern", 1, 4), NOW);
        assert_eq!(refused, Err(ProductError::BelowReserved));
        assert_eq!(product, stored(5));
        assert_eq!(product.describe(described("lamp", 100, 5), NOW), Ok(()));
    }

    #[test]
    fn stock_never_wraps() {
        let mut product = stored(0);
        assert_eq!(product.replenish(i64::MAX, NOW), Err(ProductError::Overflow));
        assert_eq!(product, stored(0));
        product.replenish(i64::MAX - 10, NOW).unwrap();
        assert_eq!(product.on_hand(), i64::MAX);
    }
}
