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
