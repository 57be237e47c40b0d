//! Amounts of one currency.

/// An amount in minor units (pence, cents) of a currency.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Money {
    /// Minor units, never negative for a price or a total.
    pub amount_minor: i64,
    /// ISO 4217, three capital letters.
    pub currency: String,
}

impl Money {
    /// An amount of a currency.
    pub fn new(amount_minor: i64, currency: impl Into<String>) -> Self {
        Self { amount_minor, currency: currency.into() }
    }
}
