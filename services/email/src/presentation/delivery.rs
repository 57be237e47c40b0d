//! The task that sends mail.

use std::fmt::Display;
use std::time::Duration;

use chrono::{DateTime, Utc};
use messaging::errand::{Answered, Called, Errand, Errands, Settings, Taken};
use messaging::step::Signal;
use messaging::{Cause, Pool, Tx};

use crate::application::ports::{Attempt, MailError};
use crate::application::settle_emails::{Settled, settle_emails};
use crate::{App, store_of_many};

/// Sends mails.
pub type Delivery = Errands<App>;

impl Errand for App {
    type Attempt = Attempt;
    type Answer = Result<(), MailError>;

    fn settings(&self) -> Settings {
        // An answer that cannot be stored for so long is lost: the mail goes out again, under the
        // same Message-ID.
        let store_for = Duration::from_secs(30);
        // Each on a connection of its own.
        Settings { most_in_flight: 4, store_for, ..Settings::new("delivery") }
    }

    fn pool(&self) -> &Pool {
        &self.pool
    }

    fn wanted(&self) -> &Signal {
        &self.wanted
    }

    fn id(attempt: &Attempt) -> impl Display {
        attempt.email_id
    }

    async fn take(&self, most: usize) -> Result<Taken<Attempt>, sqlx::Error> {
        self.leases.take(most).await
    }

    async fn call(&self, attempt: &Attempt, cause: Cause) -> Called<Self::Answer> {
        let (answer, cause) = self.mailer.send(attempt, &cause).await;
        if let Err(error) = &answer {
            let (email_id, number) = (attempt.email_id, attempt.number);
            tracing::info!(%email_id, attempt = number, %error, "email is not sent");
        }
        let answered = !matches!(answer, Err(MailError::Away(_)));
        Called { answer, answered, cause }
    }

    async fn settle(
        &self,
        tx: &mut Tx,
        answered: &[Answered<Attempt, Self::Answer>],
    ) -> anyhow::Result<Option<DateTime<Utc>>> {
        let (now, causes) = (tx.now(), Answered::causes(answered, |attempt| attempt.email_id));
        let settled = answered.iter().map(|one| {
            let unit = self.pool.clock().unit();
            Settled { attempt: &one.attempt, answer: &one.answer, unit }
        });
        let settled: Vec<Settled<'_>> = settled.collect();
        Ok(settle_emails(&mut store_of_many(tx, causes), &settled, now).await?)
    }
}
