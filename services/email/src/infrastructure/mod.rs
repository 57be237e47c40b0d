//! All SQL of the service, the mailer and its templates, and the way from domain events to
//! contracts.

mod data;
mod emails;
mod integration_events;
mod leases;
mod letter;
mod mailer;
mod queries;
mod templates;

pub use leases::Leases;
pub use mailer::{Mailer, SmtpServer};
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
