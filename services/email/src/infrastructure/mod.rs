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

use messaging::{Causes, Tx, TxError};
use uuid::Uuid;

use crate::application::ports::StoreError;

/// The service's stores, on one transaction. Where it is about several mails, their causes differ: by
/// order where the mails are new, by mail where they are not.
pub struct Store<'a>(pub &'a mut Tx, pub Causes);

impl Store<'_> {
    /// What is published next is about this mail.
    fn turn_to(&mut self, email_id: Uuid) {
        if let Some(cause) = self.1.get(&email_id) {
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
