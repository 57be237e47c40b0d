//! What the payment service promises.

use envelope::{Event, Subject};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::Money;

/// The gateway took the customer's money.
///
/// Order confirms on it, unless it was cancelled meanwhile: then payment learns of the cancellation
/// on its own way and gives the money back.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PaymentCaptured {
    /// The order that was paid.
    pub order_id: Uuid,
    /// The gateway's id of the charge.
    pub charge_id: String,
    /// What was taken.
    pub amount: Money,
}

impl Event for PaymentCaptured {
    const TYPE: &'static str = "payment.captured.v1";
    const MINOR: u32 = 0;

    fn subject(&self) -> Subject {
        subject(self.order_id)
    }
}

/// The gateway refused the charge for good; no money was taken.
///
/// A gateway that cannot be reached or does not answer declines nothing: the charge is looked up
/// and tried again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PaymentDeclined {
    /// The order that was not paid.
    pub order_id: Uuid,
    /// The gateway's reason, a code in snake case such as `insufficient_funds`; an open list.
    pub reason: String,
}

impl Event for PaymentDeclined {
    const TYPE: &'static str = "payment.declined.v1";
    const MINOR: u32 = 0;

    fn subject(&self) -> Subject {
        subject(self.order_id)
    }
}

/// The money taken for a cancelled order went back to the customer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PaymentRefunded {
    /// The cancelled order.
    pub order_id: Uuid,
    /// The gateway's id of the refund.
    pub refund_id: String,
    /// What went back: always the whole charge.
    pub amount: Money,
}

impl Event for PaymentRefunded {
    const TYPE: &'static str = "payment.refunded.v1";
    const MINOR: u32 = 0;

    fn subject(&self) -> Subject {
        subject(self.order_id)
    }
}

fn subject(order_id: Uuid) -> Subject {
    Subject::new("payment", order_id)
}
