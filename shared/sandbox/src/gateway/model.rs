//! Charges and refunds: what is asked, what is kept, what is answered.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};

use super::input::Refusal;
use crate::clock;

/// What became of a charge.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ChargeStatus {
    /// The money was taken.
    Captured,
    /// It was not, see [`Charge::decline_reason`].
    Declined,
}

/// A charge as the ledger keeps it and `GET /charges` shows it.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Charge {
    /// Such as `ch_0b0f...`.
    pub charge_id: String,
    /// The order it is for, as the caller named it.
    pub order_id: String,
    /// Captured or declined.
    pub status: ChargeStatus,
    /// In minor units of `currency`.
    pub amount_minor: i64,
    /// ISO 4217.
    pub currency: String,
    /// The token of the request.
    pub payment_method: String,
    /// Why it was declined.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decline_reason: Option<String>,
    /// What was given back so far, in minor units.
    #[serde(default)]
    pub refunded_minor: i64,
    /// When it was made.
    pub created_at: DateTime<Utc>,
}

impl Charge {
    /// What is captured and not refunded, in minor units; 0 for a declined charge.
    #[must_use]
    pub fn net_minor(&self) -> i64 {
        match self.status {
            ChargeStatus::Captured => self.amount_minor - self.refunded_minor,
            ChargeStatus::Declined => 0,
        }
    }
}

/// A refund as the ledger keeps it and `GET /refunds` shows it.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Refund {
    /// Such as `re_0b0f...`.
    pub refund_id: String,
    /// The charge of which it gives back a part or all.
    pub charge_id: String,
    /// The order of that charge.
    pub order_id: String,
    /// In minor units of the charge's currency.
    pub amount_minor: i64,
    /// ISO 4217.
    pub currency: String,
    /// When it was made.
    pub created_at: DateTime<Utc>,
}

/// An answer of `GET /charges`.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct ChargePage {
    /// Oldest first.
    pub charges: Vec<Charge>,
    /// For the next page; none on the last one, and none where an order was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
}

/// An answer of `GET /refunds`.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct RefundPage {
    /// Oldest first.
    pub refunds: Vec<Refund>,
    /// For the next page; none on the last one, and none where an order was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
}

/// The body of `POST /charges`.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ChargeRequest {
    /// 1 to 200 characters.
    pub order_id: String,
    /// Minor units, not negative.
    pub amount_minor: i64,
    /// ISO 4217: three capital letters.
    pub currency: String,
    /// A token, 1 to 64 characters.
    pub payment_method: String,
}

/// The body of `POST /refunds`.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct RefundRequest {
    /// The charge to give back.
    pub charge_id: String,
    /// Minor units, at least 1.
    pub amount_minor: i64,
}

/// A line of the ledger.
#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Entry {
    Charge(Stored<Charge>),
    Refund(Stored<Refund>),
}

/// A record with the key that made it and the answer that the key gets.
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct Stored<T> {
    pub(super) key: String,
    pub(super) status: u16,
    pub(super) answer: Box<RawValue>,
    pub(super) record: T,
}

/// A stored answer.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: Arc<str>,
}

#[derive(Serialize)]
struct Captured<'a> {
    charge_id: &'a str,
    order_id: &'a str,
    status: ChargeStatus,
    amount_minor: i64,
    currency: &'a str,
}

#[derive(Serialize)]
struct Declined<'a> {
    charge_id: &'a str,
    status: ChargeStatus,
    decline_reason: &'a str,
}

#[derive(Serialize)]
struct Refunded<'a> {
    refund_id: &'a str,
    charge_id: &'a str,
    amount_minor: i64,
}

impl Entry {
    pub(super) fn answer(&self) -> Answer {
        let (status, answer) = match self {
            Self::Charge(stored) => (stored.status, &stored.answer),
            Self::Refund(stored) => (stored.status, &stored.answer),
        };
        Answer { status, body: answer.get().into() }
    }
}

impl ChargeRequest {
    /// The same order, money and means: what a repeated key must repeat.
    pub(super) fn is_that_of(&self, charge: &Charge) -> bool {
        self.order_id == charge.order_id
            && self.amount_minor == charge.amount_minor
            && self.currency == charge.currency
            && self.payment_method == charge.payment_method
    }

    /// The charge, the status code and the answer.
    pub(super) fn decide(self) -> Result<(Charge, u16, Box<RawValue>), Refusal> {
        let reason = match self.payment_method.as_str() {
            "pm_ok" | "pm_timeout" | "pm_flaky" => None,
            "pm_declined" => Some("card_declined"),
            "pm_insufficient_funds" => Some("insufficient_funds"),
            _ => Some("unknown_payment_method"),
        };
        let status = if reason.is_none() { ChargeStatus::Captured } else { ChargeStatus::Declined };
        let charge = Charge {
            charge_id: format!("ch_{}", clock::random_id()),
            order_id: self.order_id,
            status,
            amount_minor: self.amount_minor,
            currency: self.currency,
            payment_method: self.payment_method,
            decline_reason: reason.map(str::to_owned),
            refunded_minor: 0,
            created_at: clock::now(),
        };
        let charge_id = charge.charge_id.as_str();
        let (code, answer) = match reason {
            None => (201, to_raw_value(&captured(&charge))),
            Some(decline_reason) => {
                (402, to_raw_value(&Declined { charge_id, status, decline_reason }))
            }
        };
        let answer = answer.map_err(|_| Refusal::Internal)?;
        Ok((charge, code, answer))
    }
}

fn captured(charge: &Charge) -> Captured<'_> {
    Captured {
        charge_id: &charge.charge_id,
        order_id: &charge.order_id,
        status: charge.status,
        amount_minor: charge.amount_minor,
        currency: &charge.currency,
    }
}

impl RefundRequest {
    /// The same charge and money: what a repeated key must repeat.
    pub(super) fn is_that_of(&self, refund: &Refund) -> bool {
        self.charge_id == refund.charge_id && self.amount_minor == refund.amount_minor
    }

    /// The refund, the status code and the answer.
    pub(super) fn decide(self, charge: &Charge) -> Result<(Refund, u16, Box<RawValue>), Refusal> {
        if charge.status == ChargeStatus::Declined {
            return Err(Refusal::NotCaptured);
        }
        if self.amount_minor > charge.net_minor() {
            return Err(Refusal::MoreThanCaptured { left_minor: charge.net_minor() });
        }
        let refund = Refund {
            refund_id: format!("re_{}", clock::random_id()),
            charge_id: self.charge_id,
            order_id: charge.order_id.clone(),
            amount_minor: self.amount_minor,
            currency: charge.currency.clone(),
            created_at: clock::now(),
        };
        let answer = Refunded {
            refund_id: &refund.refund_id,
            charge_id: &refund.charge_id,
            amount_minor: refund.amount_minor,
        };
        let answer = to_raw_value(&answer).map_err(|_| Refusal::Internal)?;
        Ok((refund, 201, answer))
    }
}
