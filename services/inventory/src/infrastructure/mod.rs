//! All SQL of the service, and the way from domain events to contracts.

mod integration_events;
mod many_products;
mod products;
mod queries;
mod reservations;
mod stock;

pub use queries::Queries;

use messaging::{Causes, Tx, TxError};
use uuid::Uuid;

use crate::application::ports::StoreError;

/// The service's stores, on one transaction. Where it is about several orders, their causes differ.
pub struct Store<'a>(pub &'a mut Tx, pub Causes);

impl Store<'_> {
    /// What is published next is about this order.
    fn turn_to(&mut self, order_id: Uuid) {
        if let Some(cause) = self.1.get(&order_id) {
            self.0.because_of(cause);
        }
    }
}

impl From<TxError> for StoreError {
    fn from(error: TxError) -> Self {
        match error {
            TxError::Database(error) => Self::Database(error),
            TxError::Encode(error) => Self::Event(error),
            TxError::OutboxFull => Self::Full,
        }
    }
}

fn unreadable(column: &str, value: &str) -> sqlx::Error {
    sqlx::Error::Decode(format!("{column} is {value:?}").into())
}
