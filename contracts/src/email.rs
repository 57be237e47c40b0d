//! What the email service promises. No event of it holds an address.

use envelope::{Event, Subject};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The mail server took a mail to the customer.
///
/// Taken is not read: what happens behind the mail server is not known here. After a crash between
/// the mail server's answer and this event the mail goes out again under the same `message_id`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct EmailSent {
    /// The mail.
    pub email_id: Uuid,
    /// The order that it tells of.
    pub order_id: Uuid,
    /// What it tells.
    pub template: Template,
    /// The mail's `Message-ID` header, the same on every attempt, without angle brackets.
    pub message_id: String,
}

impl Event for EmailSent {
    const TYPE: &'static str = "email.sent.v1";
    const MINOR: u32 = 0;

    fn subject(&self) -> Subject {
        subject(self.email_id)
    }
}

/// A mail to the customer was given up: the mail server refused it for good, or too often.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct EmailFailed {
    /// The mail.
    pub email_id: Uuid,
    /// The order that it was to tell of.
    pub order_id: Uuid,
    /// What it was to tell.
    pub template: Template,
    /// The mail server's answer or the fault, for people; it holds no address.
    pub reason: String,
}

impl Event for EmailFailed {
    const TYPE: &'static str = "email.failed.v1";
    const MINOR: u32 = 0;

    fn subject(&self) -> Subject {
        subject(self.email_id)
    }
}

/// What a mail tells the customer. A further template is a new major version of its events: old
/// readers could not read it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Template {
    /// The order is confirmed.
    OrderConfirmed,
    /// The order is cancelled, and why.
    OrderCancelled,
    /// The money went back.
    PaymentRefunded,
}

fn subject(email_id: Uuid) -> Subject {
    Subject::new("email", email_id)
}
