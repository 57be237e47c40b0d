//! What clients see of mails.

use chrono::{DateTime, Utc};

/// A mail as a client sees it.
#[expect(missing_docs, reason = "the columns of the mail table")]
pub struct EmailView {
    pub template: String,
    pub recipient: Option<String>,
    pub status: String,
    pub sent_at: Option<DateTime<Utc>>,
    pub message_id: String,
}
