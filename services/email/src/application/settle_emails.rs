//! Taking down what came of attempts at sending mails.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::ports::{Attempt, Emails, MailError, StoreError};
use crate::domain::email::Email;

/// What came of an attempt.
#[derive(Clone)]
pub struct Settled<'a> {
    /// The attempt.
    pub attempt: &'a Attempt,
    /// What the mail server said.
    pub answer: &'a Result<(), MailError>,
    /// A draw from `[0, 1)`, for the pause after a failure.
    pub unit: f64,
}

/// Stores what came of attempts and tells of it. Returns when the first of the mails is to be tried
/// again, if one is.
///
/// # Errors
/// [`StoreError`].
pub async fn settle_emails(
    emails: &mut impl Emails,
    settled: &[Settled<'_>],
    now: DateTime<Utc>,
) -> Result<Option<DateTime<Utc>>, StoreError> {
    let ids: Vec<Uuid> = settled.iter().map(|one| one.attempt.email_id).collect();
    let mut found = emails.find_all(&ids).await?;
    for one in settled {
        let of = |email: &&mut Email| email.stored().id == one.attempt.email_id;
        if let Some(email) = found.iter_mut().find(of) {
            take_down(email, one, now);
        }
    }
    let again = found.iter().filter_map(|email| email.stored().effort.due_at).min();
    if !found.is_empty() {
        emails.save_all(found).await?;
    }
    Ok(again)
}

fn take_down(email: &mut Email, settled: &Settled<'_>, now: DateTime<Utc>) {
    let Settled { attempt, answer, unit } = *settled;
    match answer.clone() {
        Ok(()) => email.sent(now),
        Err(MailError::Never(why)) => email.given_up(attempt.number, why),
        Err(MailError::Away(why) | MailError::NotNow(why)) => {
            email.postponed(attempt.number, why, unit, now);
        }
    }
}
