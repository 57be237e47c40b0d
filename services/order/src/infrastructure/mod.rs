//! All SQL of the service, and the way from domain events to contracts.

mod catalogue;
mod feed;
mod figures;
mod integration_events;
mod lists;
mod orders;
mod progress;
mod queries;

pub use feed::OrderChanges;
pub use figures::name_metrics;
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
