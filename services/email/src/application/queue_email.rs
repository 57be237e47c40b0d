//! Taking down that a mail is to be sent. Sending it is another use case.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::ports::{Emails, StoreError};
use crate::domain::email::{Content, Email};

/// What is to be sent.
#[derive(Clone)]
pub struct QueueEmail {
    /// The new mail's id.
    pub email_id: Uuid,
    /// The order that it tells of.
    pub order_id: Uuid,
    /// What it tells.
    pub content: Content,
    /// Where mail about the order goes, if that was told along with it.
    pub customer_email: Option<String>,
    /// In whose name its Message-ID is given.
    pub domain: String,
}

/// Stores the wish to send a mail. One of its kind is sent per order. Where the recipient is not
/// known yet the mail waits for it; where it has just become known, those that waited go, too.
///
/// # Errors
/// [`StoreError`].
pub async fn queue_email(
    emails: &mut impl Emails,
    command: QueueEmail,
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    let QueueEmail { email_id, order_id, content, customer_email, domain } = command;
    let recipient = emails.recipient(order_id, customer_email.as_deref()).await?;
    let mut email = Email::new(email_id, order_id, content, &domain, now);
    let Some(recipient) = recipient else {
        emails.add(email).await?;
        return Ok(());
    };
    email.address_to(&recipient, now);
    emails.add(email).await?;
    for mut waiting in emails.waiting(order_id).await? {
        waiting.address_to(&recipient, now);
        emails.save(waiting).await?;
    }
    Ok(())
}
