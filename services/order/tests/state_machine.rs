//! Whatever happens to an order, in any order and however often.
#![allow(clippy::unwrap_used)]

use chrono::{DateTime, TimeDelta, Utc};
use order::domain::order::{Basket, CancelReason, Line, Order, OrderEvent, Status, Stored};
use proptest::prelude::*;
use uuid::Uuid;

const PLACED_AT: DateTime<Utc> = DateTime::UNIX_EPOCH;
const DEADLINE: TimeDelta = TimeDelta::minutes(15);

#[derive(Debug, Clone, Copy)]
enum Happening {
    Confirm,
    Cancel(CancelReason),
    TimeOut,
    /// It is stored, and found again.
    Reload,
    Pass(TimeDelta),
}

fn happening() -> impl Strategy<Value = Happening> {
    use CancelReason::{CustomerRequest, OutOfStock, PaymentDeclined};
    let reasons = prop::sample::select(vec![OutOfStock, PaymentDeclined, CustomerRequest]);
    prop_oneof![
        Just(Happening::Confirm),
        reasons.prop_map(Happening::Cancel),
        Just(Happening::TimeOut),
        Just(Happening::Reload),
        (0_i64..600).prop_map(|seconds| Happening::Pass(TimeDelta::seconds(seconds))),
    ]
}

fn placed() -> Order {
    let basket = Basket {
        customer_id: Uuid::nil(),
        customer_email: "a@example.com".into(),
        payment_method: "pm_ok".into(),
        lines: vec![Line { sku: "A".into(), quantity: 1, unit_price_minor: 250 }],
        currency: "GBP".into(),
    };
    Order::place(Uuid::nil(), basket, PLACED_AT + DEADLINE, PLACED_AT).unwrap()
}

fn reloaded(order: &Order) -> Order {
    Order::load(Stored {
        id: order.id(),
        basket: order.basket().clone(),
        total_minor: order.total().amount_minor,
        status: order.status(),
        cancel_reason: order.cancel_reason(),
        version: order.version(),
        placed_at: order.placed_at(),
        updated_at: order.updated_at(),
        deadline_at: order.deadline_at(),
    })
}

/// What others see of it.
fn state(order: &Order) -> (Status, Option<CancelReason>, u32, DateTime<Utc>) {
    (order.status(), order.cancel_reason(), order.version(), order.updated_at())
}

/// Lets it happen at `now`. The answers must be those of the state that it leads to.
fn happen(order: &mut Order, happening: Happening, now: DateTime<Utc>) {
    match happening {
        Happening::Confirm => order.confirm(now),
        Happening::Cancel(reason) => {
            assert_eq!(order.cancel(reason, now), order.cancel_reason() == Some(reason));
        }
        Happening::TimeOut => {
            let timed_out = order.time_out(now);
            assert_eq!(timed_out, order.cancel_reason() == Some(CancelReason::TimedOut));
            assert!(!timed_out || now >= order.deadline_at());
        }
        Happening::Reload | Happening::Pass(_) => {}
    }
}

proptest! {
    #[test]
    fn an_order_ends_once_and_tells_of_it_once(all in prop::collection::vec(happening(), 0..40)) {
        let (mut order, mut now, mut told) = (placed(), PLACED_AT, Vec::new());
        for happening in all {
            let before = state(&order);
            happen(&mut order, happening, now);
            match happening {
                Happening::Reload => {
                    told.extend(order.take_events());
                    order = reloaded(&order);
                }
                Happening::Pass(time) => now += time,
                _ => {}
            }
            if before.0 != Status::Pending {
                prop_assert_eq!(state(&order), before, "it has left its end");
            }
            prop_assert_eq!(order.cancel_reason().is_some(), order.status() == Status::Cancelled);
        }
        told.extend(order.take_events());

        let versions: Vec<u32> = told.iter().map(|(version, _)| *version).collect();
        prop_assert_eq!(versions, (1..=order.version()).collect::<Vec<_>>());
        prop_assert_eq!(told[0].1, OrderEvent::Placed);
        let ends: Vec<OrderEvent> = told[1..].iter().map(|(_, event)| *event).collect();
        let expected = match (order.status(), order.cancel_reason()) {
            (Status::Pending, _) => vec![],
            (Status::Confirmed, _) => vec![OrderEvent::Confirmed],
            (Status::Cancelled, reason) => vec![OrderEvent::Cancelled(reason.unwrap())],
        };
        prop_assert_eq!(ends, expected);
    }
}
