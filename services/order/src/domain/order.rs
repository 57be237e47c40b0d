//! The order: from placed to confirmed or cancelled, and never back.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::money::Money;

/// Where an order stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// Accepted; stock and money are being seen to.
    Pending,
    /// Paid and shipped.
    Confirmed,
    /// It will not happen; stock and money go back.
    Cancelled,
}

/// Why an order was cancelled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CancelReason {
    /// Inventory could not reserve all of it.
    OutOfStock,
    /// The gateway would not charge.
    PaymentDeclined,
    /// The customer changed their mind.
    CustomerRequest,
    /// Nobody finished it in time.
    TimedOut,
}

/// A line of an order, at the price of the moment it was placed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// What.
    pub sku: String,
    /// How many, 1 to 1,000.
    pub quantity: u32,
    /// Minor units of the order's currency, each.
    pub unit_price_minor: i64,
}

/// Who orders what, priced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Basket {
    /// Who.
    pub customer_id: Uuid,
    /// Where mail goes.
    pub customer_email: String,
    /// The gateway's token for how it is paid.
    pub payment_method: String,
    /// At least one; no SKU twice.
    pub lines: Vec<Line>,
    /// Of all lines.
    pub currency: String,
}

/// What happened to an order, as a plain value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OrderEvent {
    /// It was accepted.
    Placed,
    /// It is paid and its stock is on its way.
    Confirmed,
    /// It will not happen.
    Cancelled(CancelReason),
}

/// An order that cannot be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OrderError {
    /// No lines.
    #[error("an order needs at least one line")]
    Empty,
    /// The total does not fit into 64 bits.
    #[error("the total is too large")]
    Overflow,
}

/// An order. Its status changes only through the methods that also tell of the change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    id: Uuid,
    basket: Basket,
    total_minor: i64,
    status: Status,
    cancel_reason: Option<CancelReason>,
    version: u32,
    placed_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
    deadline_at: DateTime<Utc>,
    events: Vec<(u32, OrderEvent)>,
}

/// What is stored of an order.
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "the fields are those of the order")]
pub struct Stored {
    pub id: Uuid,
    pub basket: Basket,
    pub total_minor: i64,
    pub status: Status,
    pub cancel_reason: Option<CancelReason>,
    pub version: u32,
    pub placed_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
    pub deadline_at: DateTime<Utc>,
}

impl Order {
    /// Places a new order, which times out at its deadline.
    ///
    /// # Errors
    /// [`OrderError`] when the basket is empty or its total overflows.
    pub fn place(
        id: Uuid,
        basket: Basket,
        deadline_at: DateTime<Utc>,
        now: DateTime<Utc>,
    ) -> Result<Self, OrderError> {
        if basket.lines.is_empty() {
            return Err(OrderError::Empty);
        }
        let total_minor = basket
            .lines
            .iter()
            .try_fold(0_i64, |sum, line| {
                sum.checked_add(line.unit_price_minor.checked_mul(i64::from(line.quantity))?)
            })
            .ok_or(OrderError::Overflow)?;
        let mut order = Self {
            id,
            basket,
            total_minor,
            status: Status::Pending,
            cancel_reason: None,
            version: 0,
            placed_at: now,
            updated_at: now,
            deadline_at,
            events: Vec::new(),
        };
        order.happened(OrderEvent::Placed, now);
        Ok(order)
    }

    /// The order as it was stored.
    pub fn load(stored: Stored) -> Self {
        let Stored { id, basket, total_minor, status, cancel_reason, version, .. } = stored;
        let Stored { placed_at, updated_at, deadline_at, .. } = stored;
        Self {
            id,
            basket,
            total_minor,
            status,
            cancel_reason,
            version,
            placed_at,
            updated_at,
            deadline_at,
            events: Vec::new(),
        }
    }

    /// The money is there. An order that was cancelled meanwhile stays cancelled: payment sees the
    /// cancellation too, and gives the money back.
    pub fn confirm(&mut self, now: DateTime<Utc>) {
        if self.status == Status::Pending {
            self.status = Status::Confirmed;
            self.happened(OrderEvent::Confirmed, now);
        }
    }

    /// It will not happen. Only a pending order can be cancelled; the first reason stands. Returns
    /// whether it is cancelled for this reason now.
    pub fn cancel(&mut self, reason: CancelReason, now: DateTime<Utc>) -> bool {
        if self.status == Status::Pending {
            self.status = Status::Cancelled;
            self.cancel_reason = Some(reason);
            self.happened(OrderEvent::Cancelled(reason), now);
        }
        self.cancel_reason == Some(reason)
    }

    /// Nobody has finished it in time. Before its deadline this does nothing. Returns whether it is
    /// cancelled for this reason now.
    pub fn time_out(&mut self, now: DateTime<Utc>) -> bool {
        now >= self.deadline_at && self.cancel(CancelReason::TimedOut, now)
    }

    fn happened(&mut self, event: OrderEvent, now: DateTime<Utc>) {
        self.version += 1;
        self.updated_at = now;
        self.events.push((self.version, event));
    }

    /// What happened since it was placed or loaded, each with its version, to be stored and told.
    pub fn take_events(&mut self) -> Vec<(u32, OrderEvent)> {
        std::mem::take(&mut self.events)
    }

    /// Its id.
    pub fn id(&self) -> Uuid {
        self.id
    }

    /// Who ordered what.
    pub fn basket(&self) -> &Basket {
        &self.basket
    }

    /// The sum of its lines.
    pub fn total(&self) -> Money {
        Money::new(self.total_minor, self.basket.currency.clone())
    }

    /// Where it stands.
    pub fn status(&self) -> Status {
        self.status
    }

    /// Why it was cancelled, if it was.
    pub fn cancel_reason(&self) -> Option<CancelReason> {
        self.cancel_reason
    }

    /// How many events it has had.
    pub fn version(&self) -> u32 {
        self.version
    }

    /// When it was placed.
    pub fn placed_at(&self) -> DateTime<Utc> {
        self.placed_at
    }

    /// When it times out.
    pub fn deadline_at(&self) -> DateTime<Utc> {
        self.deadline_at
    }

    /// When it last changed.
    pub fn updated_at(&self) -> DateTime<Utc> {
        self.updated_at
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn basket(lines: Vec<Line>) -> Basket {
        Basket {
            customer_id: Uuid::nil(),
            customer_email: "a@example.com".into(),
            payment_method: "pm_ok".into(),
            lines,
            currency: "GBP".into(),
        }
    }

    fn line(quantity: u32, unit_price_minor: i64) -> Line {
        Line { sku: "A".into(), quantity, unit_price_minor }
    }

    const NOW: DateTime<Utc> = DateTime::UNIX_EPOCH;
    const DEADLINE: DateTime<Utc> = DateTime::from_timestamp(900, 0).unwrap();

    fn place(lines: Vec<Line>) -> Result<Order, OrderError> {
        Order::place(Uuid::nil(), basket(lines), DEADLINE, NOW)
    }

    fn placed() -> Order {
        place(vec![line(3, 250), line(1, 99)]).unwrap()
    }

    #[test]
    fn the_total_is_the_sum_of_the_lines_and_never_wraps() {
        assert_eq!(placed().total(), Money::new(849, "GBP"));
        assert_eq!(place(vec![line(1_000, i64::MAX / 2)]), Err(OrderError::Overflow));
        assert_eq!(place(vec![]), Err(OrderError::Empty));
    }

    #[test]
    fn every_change_is_told_once_with_the_next_version() {
        let mut order = placed();
        order.confirm(NOW);
        order.confirm(NOW);
        assert_eq!(order.take_events(), [(1, OrderEvent::Placed), (2, OrderEvent::Confirmed)]);
        assert_eq!(order.take_events(), []);
    }

    #[test]
    fn an_order_times_out_at_its_deadline_and_no_earlier() {
        let mut order = placed();
        assert!(!order.time_out(DEADLINE - chrono::TimeDelta::microseconds(1)));
        assert_eq!(order.status(), Status::Pending);
        assert!(order.time_out(DEADLINE));
        assert_eq!(order.cancel_reason(), Some(CancelReason::TimedOut));
        assert_eq!(order.updated_at(), DEADLINE);
    }

    #[test]
    fn the_first_ending_stands() {
        let mut order = placed();
        assert!(order.cancel(CancelReason::OutOfStock, NOW));
        assert!(!order.cancel(CancelReason::TimedOut, NOW));
        order.confirm(NOW);
        assert_eq!(order.status(), Status::Cancelled);
        assert_eq!(order.cancel_reason(), Some(CancelReason::OutOfStock));
        assert_eq!(order.version(), 2);

        let mut order = placed();
        order.confirm(NOW);
        assert!(!order.cancel(CancelReason::PaymentDeclined, NOW));
        assert_eq!(order.status(), Status::Confirmed);
    }
}
