//! What the use cases need stored.

use std::future::Future;

use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::domain::order::Order;

/// A store that failed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Somebody else changed the same row since it was read.
    #[error("order {0} was changed by someone else")]
    Conflict(Uuid),
    /// The database refused or is away.
    #[error("database error")]
    Database(#[from] sqlx::Error),
    /// An event could not be written.
    #[error("event cannot be written")]
    Event(#[from] envelope::EncodeError),
    /// Too many events wait to be published.
    #[error("too many events wait to be published")]
    Full,
}

impl StoreError {
    /// Whether the same again, in a transaction of its own, can go well at once: somebody else was
    /// faster.
    pub fn is_lost_race(&self) -> bool {
        match self {
            Self::Conflict(_) => true,
            // serialization_failure, deadlock_detected.
            Self::Database(sqlx::Error::Database(error)) => {
                matches!(error.code().as_deref(), Some("40001" | "40P01"))
            }
            Self::Database(_) | Self::Event(_) | Self::Full => false,
        }
    }
}

/// Orders. Saving them also publishes what happened to each.
pub trait Orders: Send {
    /// Those of these orders that are known, locked against others until the transaction ends.
    fn find_all(
        &mut self,
        ids: &[Uuid],
    ) -> impl Future<Output = Result<Vec<Order>, StoreError>> + Send;
    /// The order if it is pending and nobody else has locked it; then locked as by `find_all`.
    fn take_pending(
        &mut self,
        id: Uuid,
    ) -> impl Future<Output = Result<Option<Order>, StoreError>> + Send;
    /// Stores the orders and publishes their events: of all of them or an error.
    fn save_all(
        &mut self,
        orders: Vec<Order>,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// One order, as by `find_all`.
    fn find(&mut self, id: Uuid) -> impl Future<Output = Result<Option<Order>, StoreError>> + Send {
        async move { Ok(self.find_all(&[id]).await?.pop()) }
    }
    /// Stores one order, as by `save_all`.
    fn save(&mut self, order: Order) -> impl Future<Output = Result<(), StoreError>> + Send {
        self.save_all(vec![order])
    }
}

/// What becomes of an order beside its status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Its goods are set aside.
    StockReserved,
    /// They have left.
    StockShipped,
    /// They are free again.
    StockReleased,
    /// The money was given back.
    PaymentRefunded,
}

/// How far orders have come.
pub trait Progress: Send {
    /// Notes that orders took a step, each at a time, unless it is noted. False when one of them is not
    /// known.
    fn note(
        &mut self,
        step: Step,
        orders: &[(Uuid, DateTime<Utc>)],
    ) -> impl Future<Output = Result<bool, StoreError>> + Send;
}

/// The changes of all orders, in one sequence.
pub trait Changes: Send {
    /// Gives at most `most` committed changes their numbers, and returns how many had none. Others who
    /// do so wait until the transaction ends, so whoever sees a number also sees all before it.
    fn number(&mut self, most: i64) -> impl Future<Output = Result<u64, StoreError>> + Send;
}

/// A product as order knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Product {
    /// Which.
    pub sku: String,
    /// For people.
    pub name: String,
    /// ISO 4217.
    pub currency: String,
    /// Minor units.
    pub unit_price_minor: i64,
}

/// A change to a product, as inventory told of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProductChange {
    /// It is sold from now on.
    Listed(Product),
    /// It costs something else.
    Repriced {
        /// Which.
        sku: String,
        /// ISO 4217.
        currency: String,
        /// Minor units.
        unit_price_minor: i64,
    },
    /// It is called something else.
    Renamed {
        /// Which.
        sku: String,
        /// For people.
        name: String,
    },
}

/// The catalogue that prices come from.
pub trait Catalogue: Send {
    /// The products of these SKUs, those that are known.
    fn products(
        &mut self,
        skus: &[String],
    ) -> impl Future<Output = Result<Vec<Product>, StoreError>> + Send;
    /// Follows a change. False when the product is not known here yet.
    fn follow(
        &mut self,
        change: ProductChange,
    ) -> impl Future<Output = Result<bool, StoreError>> + Send;
}
