//! From what happened to a mail to what others are told of it.

use contracts::email::{EmailFailed, EmailSent};
use messaging::Tx;

use super::data::template;
use crate::application::ports::StoreError;
use crate::domain::email::{Email, EmailEvent};

/// A mail has one event in its life.
const VERSION: u32 = 1;

/// Publishes the domain event of `email` as its contract.
pub(super) fn publish(tx: &mut Tx, email: &Email, event: EmailEvent) -> Result<(), StoreError> {
    let stored = email.stored();
    let (email_id, order_id, template) = (stored.id, stored.order_id, template(&stored.content));
    match event {
        EmailEvent::Sent => {
            let message_id = stored.message_id.clone();
            tx.publish(&EmailSent { email_id, order_id, template, message_id }, VERSION)?;
        }
        EmailEvent::Failed { reason } => {
            tx.publish(&EmailFailed { email_id, order_id, template, reason }, VERSION)?;
        }
    }
    Ok(())
}
