//! All SQL of the service, and the way from domain events to contracts.

mod integration_events;
mod many_products;
mod products;
mod queries;
mod reservations;
mod stock;

pub use queries::Queries;

use messaging::{Tx, TxError};

use crate::application::ports::StoreError;

/// The service's stores, on one transaction.
pub struct Store<'a>(pub &'a mut Tx);

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
