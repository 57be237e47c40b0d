//! Taking down what came of an attempt at sending a mail.

use chrono::{DateTime, Utc};

use super::ports::{Attempt, Emails, MailError, StoreError};

/// Stores what came of an attempt and tells of it. Returns when the mail is to be tried again, if it
/// is. `unit` is a draw from `[0, 1)` for the pause after a failure.
///
/// # Errors
/// [`StoreError`].
pub async fn settle_email(
    emails: &mut impl Emails,
    attempt: &Attempt,
    answer: &Result<(), MailError>,
    unit: f64,
    now: DateTime<Utc>,
) -> Result<Option<DateTime<Utc>>, StoreError> {
    let Some(mut email) = emails.find(attempt.email_id).await? else {
        return Ok(None);
    };
    match answer.clone() {
        Ok(()) => email.sent(now),
        Err(MailError::Never(why)) => email.given_up(attempt.number, why),
        Err(MailError::Away(why) | MailError::NotNow(why)) => {
            email.postponed(attempt.number, why, unit, now);
        }
    }
    let again = email.stored().effort.due_at;
    emails.save(email).await?;
    Ok(again)
}
