//! What the use cases need stored.

use std::collections::{HashMap, HashSet};
use std::future::Future;

use uuid::Uuid;

use crate::domain::product::Product;
use crate::domain::reservation::{Line, Reservation};

/// A store that failed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Somebody else changed the same row since it was read.
    #[error("{0} was changed by someone else")]
    Conflict(String),
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

/// Products. Saving one also publishes what happened to it, and notes how its stock moved.
pub trait Products: Send {
    /// The product, locked against others until the transaction ends.
    fn product(
        &mut self,
        sku: &str,
    ) -> impl Future<Output = Result<Option<Product>, StoreError>> + Send;
    /// Stores a new product. False, and nothing done, when there is one of this SKU.
    fn add_product(
        &mut self,
        product: Product,
    ) -> impl Future<Output = Result<bool, StoreError>> + Send;
    /// Stores what happened to the product.
    fn save_product(
        &mut self,
        product: Product,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;
}

/// As [`Products`], many at once, with few statements.
pub trait ManyProducts: Send {
    /// Stores those that are new, and returns their SKUs. All of them, those that were there before
    /// included, are locked against others until the transaction ends, in the order of their SKUs.
    fn add_products(
        &mut self,
        products: Vec<Product>,
    ) -> impl Future<Output = Result<HashSet<String>, StoreError>> + Send;
    /// The products of these SKUs, of those that are known, locked against others until the
    /// transaction ends.
    fn products(
        &mut self,
        skus: &[String],
    ) -> impl Future<Output = Result<Vec<Product>, StoreError>> + Send;
    /// Stores what happened to each: to all of them or an error.
    fn save_products(
        &mut self,
        products: Vec<Product>,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;
}

/// Reservations. Saving them also publishes what happened to each.
pub trait Reservations: Send {
    /// The reservations of these orders, of those that have one, locked against others until the
    /// transaction ends.
    fn reservations(
        &mut self,
        order_ids: &[Uuid],
    ) -> impl Future<Output = Result<Vec<Reservation>, StoreError>> + Send;
    /// Stores new reservations, and returns of which orders. Nothing is done about an order that has
    /// one.
    fn add_reservations(
        &mut self,
        reservations: Vec<Reservation>,
    ) -> impl Future<Output = Result<HashSet<Uuid>, StoreError>> + Send;
    /// Stores what happened to each: to all of them or an error.
    fn save_reservations(
        &mut self,
        reservations: Vec<Reservation>,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;
}

/// Pieces of products, for one order or several: a SKU may come more than once. Products are always
/// locked in the order of their SKUs, so that no two transactions wait for each other.
pub trait Stock: Send {
    /// The free pieces of these SKUs, of those that are known, locked against others until the
    /// transaction ends.
    fn lock_free(
        &mut self,
        skus: &[String],
    ) -> impl Future<Output = Result<HashMap<String, i64>, StoreError>> + Send;
    /// Locks these products, and those that these orders hold or held, until the transaction ends.
    fn lock_all(
        &mut self,
        skus: &[String],
        order_ids: &[Uuid],
    ) -> impl Future<Output = Result<(), StoreError>> + Send;
    /// Sets free pieces aside: all lines or an error.
    fn set_aside(&mut self, lines: &[Line]) -> impl Future<Output = Result<(), StoreError>> + Send;
    /// Frees what was set aside.
    fn set_free(&mut self, lines: &[Line]) -> impl Future<Output = Result<(), StoreError>> + Send;
    /// Takes what was set aside for orders out of the warehouse.
    fn take_out(
        &mut self,
        lines: &[(Uuid, Line)],
    ) -> impl Future<Output = Result<(), StoreError>> + Send;
}
