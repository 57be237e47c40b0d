//! What is counted of orders, for those who watch.

use messaging::Tx;
use metrics::{Counter, counter};

use super::orders::{reason_name, status_name};
use crate::domain::order::{CancelReason, OrderEvent, Status};

const ENDINGS: [OrderEvent; 5] = [
    OrderEvent::Confirmed,
    OrderEvent::Cancelled(CancelReason::OutOfStock),
    OrderEvent::Cancelled(CancelReason::PaymentDeclined),
    OrderEvent::Cancelled(CancelReason::CustomerRequest),
    OrderEvent::Cancelled(CancelReason::TimedOut),
];

/// Shows every counter at once, so that the first ending of a kind is an increase.
pub fn name_metrics() {
    ENDINGS.into_iter().filter_map(ended).for_each(|ended| ended.increment(0));
}

/// Counts `event` if it is an ending, and if `tx` commits.
pub(super) fn count(tx: &mut Tx, event: OrderEvent) {
    if let Some(ended) = ended(event) {
        tx.count(ended);
    }
}

fn ended(event: OrderEvent) -> Option<Counter> {
    let (status, reason) = match event {
        OrderEvent::Placed => return None,
        OrderEvent::Confirmed => (Status::Confirmed, "none"),
        OrderEvent::Cancelled(why) => (Status::Cancelled, reason_name(why)),
    };
    Some(counter!("orders_ended_total", "status" => status_name(status), "reason" => reason))
}
