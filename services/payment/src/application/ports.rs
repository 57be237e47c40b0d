//! What the use cases need: payments stored, and a gateway.

use std::collections::HashSet;
use std::future::Future;

use uuid::Uuid;

use crate::domain::money::Money;
use crate::domain::payment::{Payment, Wish};

/// A store that failed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Somebody else changed the same row since it was read.
    #[error("payment of order {0} was changed by someone else")]
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

/// Payments. Saving them also publishes what happened to each.
pub trait Payments: Send {
    /// The payments of these orders, of those that have one, locked against others until the
    /// transaction ends.
    fn find_all(
        &mut self,
        order_ids: &[Uuid],
    ) -> impl Future<Output = Result<Vec<Payment>, StoreError>> + Send;
    /// Stores new payments, and returns of which orders. One that an order has already stays as it is.
    fn add_all(
        &mut self,
        payments: Vec<Payment>,
    ) -> impl Future<Output = Result<HashSet<Uuid>, StoreError>> + Send;
    /// Stores payments that were found, and publishes their events: of all of them or an error.
    fn save_all(
        &mut self,
        payments: Vec<Payment>,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;
}

/// One attempt at what a payment wishes for, held by one task until it ends or its lease does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// Whose payment.
    pub order_id: Uuid,
    /// How much.
    pub amount: Money,
    /// What the gateway is to do.
    pub wish: Wish,
    /// 1 for the first. When the payment's own count is higher, another attempt has begun since.
    pub number: u32,
    /// An earlier call may have reached the gateway.
    pub in_doubt: bool,
}

/// What the gateway says has come of a wish. It is the truth, whoever brings it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The money was taken.
    Captured {
        /// The gateway's id of the charge.
        charge_id: String,
    },
    /// It was refused for good.
    Declined {
        /// A code in snake case.
        reason: String,
    },
    /// The money was given back.
    Refunded {
        /// The gateway's id of the refund.
        refund_id: String,
    },
}

/// A call without an outcome.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GatewayError {
    /// There was no connection: nothing was sent.
    #[error("gateway cannot be reached")]
    Unreachable,
    /// Sent, and then no answer that says what became of it. It may have happened.
    #[error("gateway gave no outcome ({0})")]
    Unknown(&'static str),
    /// The gateway will not do it. Only of refunds: a charge that is refused is declined.
    #[error("gateway refused with status {0}")]
    Refused(u16),
}

impl GatewayError {
    /// The class of the error, for spans and logs.
    pub fn class(&self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::Unknown(class) => class,
            Self::Refused(_) => "refused",
        }
    }
}

/// The payment gateway, in one conversation about one payment.
pub trait Gateway: Send {
    /// What has come of the wish so far, if anything.
    fn look_up(
        &mut self,
        attempt: &Attempt,
    ) -> impl Future<Output = Result<Option<Outcome>, GatewayError>> + Send;
    /// Makes the wish come true, once, however often it is asked: the key is the order's.
    fn fulfil(
        &mut self,
        attempt: &Attempt,
    ) -> impl Future<Output = Result<Outcome, GatewayError>> + Send;
}
