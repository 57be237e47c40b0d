//! The task that asks the gateway.

use std::fmt::Display;
use std::time::Duration;

use chrono::{DateTime, Utc};
use messaging::errand::{Answered, Called, Errand, Errands, Settings, Taken};
use messaging::step::Signal;
use messaging::{Cause, Pool, Tx};

use crate::application::ports::{Attempt, GatewayError, Outcome};
use crate::application::settle_payments::{Settled, ask, record};
use crate::{App, store_of_many};

/// Settles payments.
pub type Settlement = Errands<App>;

impl Errand for App {
    type Attempt = Attempt;
    type Answer = Result<Outcome, GatewayError>;

    fn settings(&self) -> Settings {
        // An outcome that cannot be stored for so long is looked up again.
        let store_for = Duration::from_secs(15);
        Settings { most_in_flight: 16, store_for, ..Settings::new("settlement") }
    }

    fn pool(&self) -> &Pool {
        &self.pool
    }

    fn wanted(&self) -> &Signal {
        &self.wanted
    }

    fn id(attempt: &Attempt) -> impl Display {
        attempt.order_id
    }

    async fn take(&self, most: usize) -> Result<Taken<Attempt>, sqlx::Error> {
        self.leases.take(most).await
    }

    async fn call(&self, attempt: &Attempt, cause: Cause) -> Called<Self::Answer> {
        let mut gateway = self.gateway.talk(cause);
        let answer = ask(&mut gateway, attempt).await;
        if let Err(error) = &answer {
            let (order_id, number) = (attempt.order_id, attempt.number);
            tracing::info!(%order_id, attempt = number, %error, "payment is not settled yet");
        }
        // A refusal is an answer, too.
        let answered = matches!(answer, Ok(_) | Err(GatewayError::Refused(_)));
        Called { answer, answered, cause: gateway.cause() }
    }

    async fn settle(
        &self,
        tx: &mut Tx,
        answered: &[Answered<Attempt, Self::Answer>],
    ) -> anyhow::Result<Option<DateTime<Utc>>> {
        let (now, causes) = (tx.now(), Answered::causes(answered, |attempt| attempt.order_id));
        let settled = answered.iter().map(|one| {
            let unit = self.pool.clock().unit();
            Settled { attempt: &one.attempt, answer: &one.answer, unit }
        });
        let settled: Vec<Settled<'_>> = settled.collect();
        Ok(record(&mut store_of_many(tx, causes), &settled, now).await?)
    }
}
