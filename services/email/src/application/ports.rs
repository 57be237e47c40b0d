//! What the use cases need stored, and what a mail server says.

use std::collections::{BTreeMap, HashMap};
use std::future::Future;

use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::domain::email::{Content, Email};

/// A store that failed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The mail that was found is gone.
    #[error("email {0} was changed by someone else")]
    Conflict(Uuid),
    /// The database refused or is away.
    #[error("database error")]
    Database(#[from] sqlx::Error),
    /// An event could not be written.
    #[error("event cannot be written")]
    Event(#[from] envelope::EncodeError),
    /// Too many events wait to be published.
    #[error("too many events wait to be published")]
    Full,
}

/// Mails and where they go. Saving them also publishes what happened to each.
pub trait Emails: Send {
    /// Where mail about each of these orders goes, as far as it is known; beside each stands what the
    /// caller knows of it. Until the transaction ends nobody else gets an answer about these orders.
    fn recipients(
        &mut self,
        told: BTreeMap<Uuid, Option<String>>,
    ) -> impl Future<Output = Result<HashMap<Uuid, String>, StoreError>> + Send;
    /// Stores new mails. One that its order has already stays as it is.
    fn add_all(
        &mut self,
        emails: Vec<Email>,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;
    /// The mails about these orders that wait for a recipient, locked.
    fn waiting(
        &mut self,
        order_ids: &[Uuid],
    ) -> impl Future<Output = Result<Vec<Email>, StoreError>> + Send;
    /// Those of these mails that there are, locked against others until the transaction ends.
    fn find_all(
        &mut self,
        ids: &[Uuid],
    ) -> impl Future<Output = Result<Vec<Email>, StoreError>> + Send;
    /// Stores mails that were found, and publishes their events: of all of them or an error.
    fn save_all(
        &mut self,
        emails: Vec<Email>,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;
}

/// One attempt at sending a mail, held by one task until it ends or its lease does.
#[derive(Clone)]
pub struct Attempt {
    /// The mail.
    pub email_id: Uuid,
    /// The order that it tells of.
    pub order_id: Uuid,
    /// What it tells.
    pub content: Content,
    /// Where it goes.
    pub recipient: String,
    /// Its Message-ID, without brackets.
    pub message_id: String,
    /// Its date: that of the wish, so that every attempt sends the same bytes.
    pub date: DateTime<Utc>,
    /// 1 for the first. When the mail's own count is higher, another attempt has begun since.
    pub number: u32,
}

/// A mail that the server did not take. No text in it holds an address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MailError {
    /// The server cannot be reached, broke off, or takes no mail at all at present. It may have
    /// taken this one: only its answer to the final dot would say so.
    #[error("{0}")]
    Away(String),
    /// The server takes others, but not this one at present.
    #[error("{0}")]
    NotNow(String),
    /// It will never take this one.
    #[error("{0}")]
    Never(String),
}

impl MailError {
    /// The class of the error, for spans.
    pub fn class(&self) -> &'static str {
        match self {
            Self::Away(_) => "mail_server_away",
            Self::NotNow(_) => "refused_for_now",
            Self::Never(_) => "refused",
        }
    }
}
