//! All SQL of the service, the gateway's client, and the way from domain events to contracts.

mod gateway;
mod integration_events;
mod leases;
mod payments;
mod queries;

pub use gateway::{Conversation, GatewayClient};
pub use leases::Leases;
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
