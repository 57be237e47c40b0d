//! What a mail tells, as it stands in its columns.

use contracts::email::Template;
use serde::{Deserialize, Serialize};

use crate::domain::email::{CancelReason, Content};
use crate::domain::money::Money;

/// What a template is filled with.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Data {
    amount_minor: i64,
    currency: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

impl From<&Content> for Data {
    fn from(content: &Content) -> Self {
        let (money, reason) = match content {
            Content::OrderConfirmed { total } => (total, None),
            Content::OrderCancelled { total, reason } => (total, Some(reason_name(*reason).into())),
            Content::PaymentRefunded { amount } => (amount, None),
        };
        let Money { amount_minor, currency } = money.clone();
        Self { amount_minor, currency, reason }
    }
}

/// Puts a mail's content together again.
pub(super) fn content(template: &str, data: Data) -> Result<Content, sqlx::Error> {
    let money = Money::new(data.amount_minor, data.currency);
    match (template, data.reason.as_deref()) {
        ("order_confirmed", _) => Ok(Content::OrderConfirmed { total: money }),
        ("order_cancelled", Some(reason)) => {
            Ok(Content::OrderCancelled { total: money, reason: reason_from(reason)? })
        }
        ("payment_refunded", _) => Ok(Content::PaymentRefunded { amount: money }),
        (other, _) => Err(unreadable("template", other)),
    }
}

pub(super) fn template(content: &Content) -> Template {
    match content {
        Content::OrderConfirmed { .. } => Template::OrderConfirmed,
        Content::OrderCancelled { .. } => Template::OrderCancelled,
        Content::PaymentRefunded { .. } => Template::PaymentRefunded,
    }
}

pub(super) fn template_name(content: &Content) -> &'static str {
    match content {
        Content::OrderConfirmed { .. } => "order_confirmed",
        Content::OrderCancelled { .. } => "order_cancelled",
        Content::PaymentRefunded { .. } => "payment_refunded",
    }
}

fn reason_name(reason: CancelReason) -> &'static str {
    match reason {
        CancelReason::OutOfStock => "out_of_stock",
        CancelReason::PaymentDeclined => "payment_declined",
        CancelReason::CustomerRequest => "customer_request",
        CancelReason::TimedOut => "timed_out",
    }
}

fn reason_from(name: &str) -> Result<CancelReason, sqlx::Error> {
    match name {
        "out_of_stock" => Ok(CancelReason::OutOfStock),
        "payment_declined" => Ok(CancelReason::PaymentDeclined),
        "customer_request" => Ok(CancelReason::CustomerRequest),
        "timed_out" => Ok(CancelReason::TimedOut),
        other => Err(unreadable("reason", other)),
    }
}

pub(super) fn unreadable(column: &str, value: &str) -> sqlx::Error {
    sqlx::Error::Decode(format!("{column} is {value:?}").into())
}
