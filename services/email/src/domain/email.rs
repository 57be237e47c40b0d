//! A mail to a customer: sent at least once, under one Message-ID, or given up.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use uuid::Uuid;

use super::money::Money;

/// The pause after the first failed attempt; every further one doubles it.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// How long a mail is tried.
const PATIENCE: TimeDelta = TimeDelta::hours(24);

/// Why an order was cancelled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CancelReason {
    /// Not all of it was in stock.
    OutOfStock,
    /// The gateway would not charge.
    PaymentDeclined,
    /// The customer changed their mind.
    CustomerRequest,
    /// Nobody finished it in time.
    TimedOut,
}

/// What a mail tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// The order is confirmed.
    OrderConfirmed {
        /// What was paid.
        total: Money,
    },
    /// The order is cancelled.
    OrderCancelled {
        /// What it would have cost.
        total: Money,
        /// Why.
        reason: CancelReason,
    },
    /// The money went back.
    PaymentRefunded {
        /// How much.
        amount: Money,
    },
}

/// Where a mail stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// To be sent, once it is known where to.
    Pending,
    /// The mail server took it.
    Sent,
    /// It was given up.
    Failed,
}

/// What happened to a mail, as a plain value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EmailEvent {
    /// The mail server took it.
    Sent,
    /// It was given up.
    Failed {
        /// Why, for people; no address in it.
        reason: String,
    },
}

/// How the sending goes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Effort {
    /// Attempts that were begun.
    pub attempts: u32,
    /// Attempts in a row that came to nothing.
    pub failures: u32,
    /// Somebody is sending at present.
    pub under_way: bool,
    /// When to send (again); none when there is nothing to send, or nowhere to send it to.
    pub due_at: Option<DateTime<Utc>>,
    /// From then on a failure is final.
    pub give_up_at: Option<DateTime<Utc>>,
}

/// A mail. Its status changes only through the methods that also tell of the change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Email {
    stored: Stored,
    event: Option<EmailEvent>,
}

/// What is stored of a mail.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields are those of the mail")]
pub struct Stored {
    pub id: Uuid,
    pub order_id: Uuid,
    pub content: Content,
    pub recipient: Option<String>,
    pub message_id: String,
    pub status: Status,
    pub effort: Effort,
    pub last_error: Option<String>,
    pub created_at: DateTime<Utc>,
    pub sent_at: Option<DateTime<Utc>>,
}

impl Email {
    /// A mail to be sent, in the name of `domain`, as soon as its recipient is known.
    pub fn new(
        id: Uuid,
        order_id: Uuid,
        content: Content,
        domain: &str,
        now: DateTime<Utc>,
    ) -> Self {
        Self::load(Stored {
            id,
            order_id,
            content,
            recipient: None,
            message_id: format!("{id}@{domain}"),
            status: Status::Pending,
            effort: Effort::default(),
            last_error: None,
            created_at: now,
            sent_at: None,
        })
    }

    /// The mail as it was stored.
    pub fn load(stored: Stored) -> Self {
        Self { stored, event: None }
    }

    /// It is known where to send it. What was known before stays.
    pub fn address_to(&mut self, recipient: &str, now: DateTime<Utc>) {
        if self.stored.recipient.is_none() {
            self.stored.recipient = Some(recipient.to_owned());
            self.stored.effort.due_at = Some(now);
            self.stored.effort.give_up_at = Some(now + PATIENCE);
        }
    }

    /// The mail server took it, in whichever attempt.
    pub fn sent(&mut self, now: DateTime<Utc>) {
        if self.stored.status == Status::Pending {
            self.stored.status = Status::Sent;
            self.stored.sent_at = Some(now);
            self.stored.last_error = None;
            self.ended(EmailEvent::Sent);
        }
    }

    /// Attempt number `attempt` failed for now. `unit` is a draw from `[0, 1)` for the pause.
    pub fn postponed(&mut self, attempt: u32, why: String, unit: f64, now: DateTime<Utc>) {
        if !self.is_at(attempt) {
            return;
        }
        let failures = self.stored.effort.failures.saturating_add(1);
        if self.stored.effort.give_up_at.is_some_and(|last| now >= last) {
            return self.given_up(attempt, format!("given up after {failures} attempts: {why}"));
        }
        self.stored.last_error = Some(why);
        self.stored.effort.failures = failures;
        self.stored.effort.under_way = false;
        self.stored.effort.due_at = Some(now + pause(failures, unit));
    }

    /// Attempt number `attempt` was refused for good.
    pub fn given_up(&mut self, attempt: u32, reason: String) {
        if self.is_at(attempt) {
            self.stored.status = Status::Failed;
            self.stored.last_error = Some(reason.clone());
            self.ended(EmailEvent::Failed { reason });
        }
    }

    /// Whether that attempt still counts: neither is the mail settled, nor a later one under way.
    fn is_at(&self, attempt: u32) -> bool {
        self.stored.status == Status::Pending && self.stored.effort.attempts == attempt
    }

    fn ended(&mut self, event: EmailEvent) {
        self.stored.effort.under_way = false;
        self.stored.effort.due_at = None;
        self.event = Some(event);
    }

    /// What happened since it was loaded, to be stored and told. A mail has one event in its life.
    pub fn take_event(&mut self) -> Option<EmailEvent> {
        self.event.take()
    }

    /// All of it.
    pub fn stored(&self) -> &Stored {
        &self.stored
    }
}

/// Half of it fixed, half drawn, so that mails that failed together do not come back in step.
fn pause(failures: u32, unit: f64) -> Duration {
    let doubled = FIRST_PAUSE.saturating_mul(2_u32.saturating_pow(failures.saturating_sub(1)));
    doubled.min(LONGEST_PAUSE).mul_f64(0.5 + unit / 2.0)
}

/// An address as it may be shown: the first character and the domain.
pub fn masked(address: &str) -> String {
    let (local, domain) = address.rsplit_once('@').unwrap_or((address, ""));
    let first: String = local.chars().take(1).collect();
    format!("{first}***@{domain}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: DateTime<Utc> = DateTime::UNIX_EPOCH;

    fn leased() -> Email {
        let content = Content::OrderConfirmed { total: Money::new(1_999, "GBP") };
        let mut email = Email::new(Uuid::nil(), Uuid::nil(), content, "shop.example", NOW);
        email.address_to("ada@example.com", NOW);
        email.stored.effort.attempts = 1;
        email.stored.effort.under_way = true;
        email
    }

    #[test]
    fn a_mail_waits_for_its_recipient_and_keeps_the_first() {
        let content = Content::PaymentRefunded { amount: Money::new(1, "GBP") };
        let mut email = Email::new(Uuid::nil(), Uuid::nil(), content, "shop.example", NOW);
        assert_eq!(email.stored().effort.due_at, None);
        email.address_to("ada@example.com", NOW);
        email.address_to("eve@example.com", NOW);
        assert_eq!(email.stored().recipient.as_deref(), Some("ada@example.com"));
        assert_eq!(email.stored().effort.due_at, Some(NOW));
        assert_eq!(email.stored().message_id, format!("{}@shop.example", Uuid::nil()));
    }

    #[test]
    fn what_was_sent_once_is_told_once_whatever_comes_later() {
        let mut email = leased();
        email.sent(NOW);
        assert_eq!(email.take_event(), Some(EmailEvent::Sent));
        email.sent(NOW);
        email.given_up(1, "550".into());
        email.postponed(1, "450".into(), 0.5, NOW);
        assert_eq!((email.take_event(), email.stored().status), (None, Status::Sent));
    }

    #[test]
    fn pauses_double_up_to_a_minute_and_a_day_later_it_is_given_up() {
        let mut email = leased();
        let mut longest = Duration::ZERO;
        for _ in 0..20 {
            email.postponed(1, "450".into(), 1.0, NOW);
            let due = email.stored().effort.due_at.unwrap_or_default();
            let pause = (due - NOW).to_std().unwrap_or_default();
            assert!(pause == longest * 2 || longest.is_zero() || pause == LONGEST_PAUSE);
            longest = pause;
        }
        assert_eq!(longest, LONGEST_PAUSE);
        email.postponed(1, "450".into(), 1.0, NOW + PATIENCE);
        assert_eq!(email.stored().status, Status::Failed);
        let reason = "given up after 21 attempts: 450".to_owned();
        assert_eq!(email.take_event(), Some(EmailEvent::Failed { reason }));
    }

    #[test]
    fn the_failure_of_an_older_attempt_ends_nothing() {
        let mut email = leased();
        email.stored.effort.attempts = 2;
        email.given_up(1, "550".into());
        email.postponed(1, "450".into(), 0.5, NOW);
        assert_eq!(email.stored().status, Status::Pending);
        assert!(email.stored().effort.under_way);
    }

    #[test]
    fn a_masked_address_shows_little() {
        assert_eq!(masked("ada@example.com"), "a***@example.com");
        assert_eq!(masked("\"a@b\"@example.com"), "\"***@example.com");
        assert_eq!(masked(""), "***@");
    }
}
