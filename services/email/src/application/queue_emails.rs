//! Taking down that mails are to be sent. Sending them is another use case.

use std::collections::BTreeMap;

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

/// Stores the wish to send mails. One of its kind is sent per order. Where the recipient is not known
/// yet the mail waits for it; where it has just become known, those that waited go, too.
///
/// # Errors
/// [`StoreError`].
pub async fn queue_emails(
    emails: &mut impl Emails,
    commands: Vec<QueueEmail>,
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    let mut told: BTreeMap<Uuid, Option<String>> = BTreeMap::new();
    for command in &commands {
        let known = told.entry(command.order_id).or_default();
        *known = known.take().or_else(|| command.customer_email.clone());
    }
    let recipients = emails.recipients(told).await?;
    let new = commands.into_iter().map(|command| {
        let QueueEmail { email_id, order_id, content, domain, .. } = command;
        let mut email = Email::new(email_id, order_id, content, &domain, now);
        if let Some(recipient) = recipients.get(&order_id) {
            email.address_to(recipient, now);
        }
        email
    });
    emails.add_all(new.collect()).await?;
    let known: Vec<Uuid> = recipients.keys().copied().collect();
    if known.is_empty() {
        return Ok(());
    }
    let mut waiting = emails.waiting(&known).await?;
    for email in &mut waiting {
        if let Some(recipient) = recipients.get(&email.stored().order_id) {
            email.address_to(recipient, now);
        }
    }
    if waiting.is_empty() { Ok(()) } else { emails.save_all(waiting).await }
}
