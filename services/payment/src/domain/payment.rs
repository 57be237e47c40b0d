//! The payment of one order: charged at most once, and given back if the order is cancelled.

use std::time::Duration;

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::money::Money;

/// The pause after the first failed attempt; every further one doubles it.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Where a payment stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// The gateway is to charge; what comes of it is not known yet.
    Pending,
    /// The money was taken.
    Captured,
    /// The gateway refused; no money was taken.
    Declined,
    /// The money was taken and given back.
    Refunded,
    /// The order was cancelled before a call could reach the gateway.
    Void,
}

/// What the gateway is to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wish {
    /// Take the money.
    Charge {
        /// The gateway's token for how it is paid.
        payment_method: String,
    },
    /// Give all of it back.
    Refund {
        /// The gateway's id of the charge.
        charge_id: String,
    },
}

/// What happened to a payment, as a plain value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PaymentEvent {
    /// The money was taken.
    Captured {
        /// The gateway's id of the charge.
        charge_id: String,
    },
    /// It was refused.
    Declined {
        /// A code in snake case.
        reason: String,
    },
    /// It was given back.
    Refunded {
        /// The gateway's id of the refund.
        refund_id: String,
    },
}

/// How the asking goes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Effort {
    /// Attempts that were begun.
    pub attempts: u32,
    /// Attempts in a row that came to nothing.
    pub failures: u32,
    /// A call may have reached the gateway whose outcome is not known.
    pub in_doubt: bool,
    /// Somebody is asking at present.
    pub under_way: bool,
    /// When to ask (again); none when there is nothing to ask for.
    pub due_at: Option<DateTime<Utc>>,
}

/// A payment. Its status changes only through the methods that also tell of the change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Payment {
    stored: Stored,
    events: Vec<(u32, PaymentEvent)>,
}

/// What is stored of a payment.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields are those of the payment")]
pub struct Stored {
    pub order_id: Uuid,
    pub amount: Money,
    pub payment_method: Option<String>,
    pub status: Status,
    pub effort: Effort,
    pub decline_reason: Option<String>,
    pub charge_id: Option<String>,
    pub refund_id: Option<String>,
    pub version: u32,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
    pub cancelled_at: Option<DateTime<Utc>>,
}

impl Payment {
    /// An order is to be charged.
    pub fn requested(
        order_id: Uuid,
        amount: Money,
        payment_method: String,
        now: DateTime<Utc>,
    ) -> Self {
        let effort = Effort { due_at: Some(now), ..Effort::default() };
        Self::new(order_id, amount, Some(payment_method), Status::Pending, effort, now)
    }

    /// An order was cancelled before anybody asked to charge it: whoever asks later is too late.
    pub fn void(order_id: Uuid, amount: Money, now: DateTime<Utc>) -> Self {
        let mut payment = Self::new(order_id, amount, None, Status::Void, Effort::default(), now);
        payment.stored.cancelled_at = Some(now);
        payment
    }

    fn new(
        order_id: Uuid,
        amount: Money,
        payment_method: Option<String>,
        status: Status,
        effort: Effort,
        now: DateTime<Utc>,
    ) -> Self {
        Self::load(Stored {
            order_id,
            amount,
            payment_method,
            status,
            effort,
            decline_reason: None,
            charge_id: None,
            refund_id: None,
            version: 0,
            created_at: now,
            updated_at: now,
            cancelled_at: None,
        })
    }

    /// The payment as it was stored.
    pub fn load(stored: Stored) -> Self {
        Self { stored, events: Vec::new() }
    }

    /// What the gateway still has to do. Of nothing, nothing can be given back.
    pub fn wish(&self) -> Option<Wish> {
        let Stored { status, payment_method, charge_id, cancelled_at, amount, .. } = &self.stored;
        match status {
            Status::Pending => {
                payment_method.clone().map(|payment_method| Wish::Charge { payment_method })
            }
            Status::Captured if cancelled_at.is_some() && amount.amount_minor > 0 => {
                charge_id.clone().map(|charge_id| Wish::Refund { charge_id })
            }
            _ => None,
        }
    }

    /// The order was cancelled. What no call can have reached the gateway for is void; where one is
    /// under way or was lost, its outcome is found out first, and money that was taken goes back.
    pub fn cancel(&mut self, now: DateTime<Utc>) {
        let open = matches!(self.stored.status, Status::Pending | Status::Captured);
        if !open || self.stored.cancelled_at.is_some() {
            return;
        }
        self.stored.cancelled_at = Some(now);
        self.stored.updated_at = now;
        if self.stored.status == Status::Pending && !self.stored.effort.in_doubt {
            self.stored.status = Status::Void;
        }
        if !self.stored.effort.under_way {
            self.stored.effort.due_at = self.wish().map(|_| now);
        }
    }

    /// The gateway took the money. Only a pending payment takes this in: the same truth may be
    /// brought twice.
    pub fn captured(&mut self, charge_id: String, now: DateTime<Utc>) {
        if self.stored.status == Status::Pending {
            self.stored.status = Status::Captured;
            self.stored.charge_id = Some(charge_id.clone());
            self.happened(PaymentEvent::Captured { charge_id }, now);
        }
    }

    /// The gateway refused for good.
    pub fn declined(&mut self, reason: String, now: DateTime<Utc>) {
        if self.stored.status == Status::Pending {
            self.stored.status = Status::Declined;
            self.stored.decline_reason = Some(reason.clone());
            self.happened(PaymentEvent::Declined { reason }, now);
        }
    }

    /// The gateway gave the money back.
    pub fn refunded(&mut self, refund_id: String, now: DateTime<Utc>) {
        if self.stored.status == Status::Captured {
            self.stored.status = Status::Refunded;
            self.stored.refund_id = Some(refund_id.clone());
            self.happened(PaymentEvent::Refunded { refund_id }, now);
        }
    }

    /// Attempt number `attempt` came to nothing. `untouched` says that, of all calls so far, none
    /// can have reached the gateway: only then is a cancelled payment void. `unit` is a draw from
    /// `[0, 1)` for the pause.
    pub fn failed(&mut self, attempt: u32, untouched: bool, unit: f64, now: DateTime<Utc>) {
        if self.wish().is_none() || self.stored.effort.attempts != attempt {
            // Settled meanwhile, or a later attempt is under way: what comes of that one counts.
            return;
        }
        let failures = self.stored.effort.failures.saturating_add(1);
        self.stored.updated_at = now;
        self.stored.effort = Effort {
            attempts: attempt,
            failures,
            in_doubt: !untouched,
            under_way: false,
            due_at: Some(now + pause(failures, unit)),
        };
        let pending = self.stored.status == Status::Pending;
        if pending && untouched && self.stored.cancelled_at.is_some() {
            self.stored.status = Status::Void;
            self.stored.effort.due_at = None;
        }
    }

    /// The outcome is known, so nothing is in doubt any more; what is to be done next is due now.
    fn happened(&mut self, event: PaymentEvent, now: DateTime<Utc>) {
        self.stored.version += 1;
        self.stored.updated_at = now;
        self.stored.effort = Effort {
            attempts: self.stored.effort.attempts,
            due_at: self.wish().map(|_| now),
            ..Effort::default()
        };
        self.events.push((self.stored.version, event));
    }

    /// What happened since it was made or loaded, each with its version, to be stored and told.
    pub fn take_events(&mut self) -> Vec<(u32, PaymentEvent)> {
        std::mem::take(&mut self.events)
    }

    /// All of it.
    pub fn stored(&self) -> &Stored {
        &self.stored
    }
}

/// Half of it fixed, half drawn, so that payments that failed together do not come back in step.
fn pause(failures: u32, unit: f64) -> Duration {
    let doubled = FIRST_PAUSE.saturating_mul(2_u32.saturating_pow(failures.saturating_sub(1)));
    doubled.min(LONGEST_PAUSE).mul_f64(0.5 + unit / 2.0)
}

#[cfg(test)]
mod tests;
