//! `contracts/golden/<type>.<minor>[.<case>].json`: envelopes as they are on the wire, indented.
//!
//! A sample is written once, for a new minor version, and then stays: it stands for the messages
//! that are stored and replayed.

use std::error::Error;

use chrono::{DateTime, TimeDelta, Utc};
use contracts::email::{EmailFailed, EmailSent, Template};
use contracts::inventory::{
    PriceChanged, ProductChanged, ProductListed, Shortage, StockRejected, StockReleased,
    StockReplenished, StockReserved, StockShipped,
};
use contracts::order::{CancelReason, Line, OrderCancelled, OrderConfirmed, OrderPlaced};
use contracts::payment::{PaymentCaptured, PaymentDeclined, PaymentRefunded};
use contracts::{Currency, Money};
use envelope::{Envelope, Event, Identity};
use serde_json::value::RawValue;
use uuid::Uuid;

use super::schemas::NAMESPACE;

/// One golden envelope.
pub(crate) struct Sample {
    /// The short type.
    pub(crate) event_type: &'static str,
    minor: u32,
    /// What sets it apart from the event's first sample.
    case: Option<&'static str>,
    /// The envelope.
    pub(crate) text: String,
}

impl Sample {
    /// The name of its file.
    pub(crate) fn file_name(&self) -> String {
        let case = self.case.map(|case| format!(".{case}")).unwrap_or_default();
        format!("{}.{}{case}.json", self.event_type, self.minor)
    }
}

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// The samples of today's minor versions: a product, an order that is confirmed, and the ways in
/// which others end.
///
/// # Errors
/// None that an event could cause.
pub(crate) fn samples() -> Result<Vec<Sample>> {
    let mut pen = Pen { written: 0, samples: Vec::new() };
    products(&mut pen)?;
    confirmed(&mut pen)?;
    cancelled(&mut pen)?;
    mails(&mut pen)?;
    Ok(pen.samples)
}

fn products(pen: &mut Pen) -> Result<()> {
    let sku = || "85123A".to_owned();
    let unit_price = gbp(255);
    let name = || "WHITE HANGING HEART T-LIGHT HOLDER".to_owned();
    pen.first(
        "inventory",
        1,
        &ProductListed { sku: sku(), name: name(), unit_price, on_hand: 40 },
    )?;
    let yen = Money::new(500, Currency::parse("JPY")?);
    let foreign = ProductListed {
        sku: "tea.cup-1_b".into(),
        name: "湯呑み".into(),
        unit_price: yen,
        on_hand: 0,
    };
    pen.case("other_currency", 1, &foreign)?;
    pen.first("inventory", 2, &PriceChanged { sku: sku(), unit_price: gbp(295) })?;
    pen.first("inventory", 3, &ProductChanged { sku: sku(), name: name(), on_hand: 38 })?;
    pen.first("inventory", 4, &StockReplenished { sku: sku(), quantity: 12, on_hand: 50 })
}

fn confirmed(pen: &mut Pen) -> Result<()> {
    let (order_id, customer_email, total) = (id(ORDER), address(), gbp(1_530));
    let placed = OrderPlaced {
        order_id,
        customer_id: id(CUSTOMER),
        customer_email: address(),
        lines: lines(),
        total,
        payment_method: "pm_ok".into(),
        placed_at: noon(),
    };
    pen.first("order", 1, &placed)?;
    let reserved = StockReserved { order_id, amount: total, payment_method: "pm_ok".into() };
    pen.answer("inventory", 1, &reserved)?;
    let charge_id = "ch_00000001".to_owned();
    pen.answer("payment", 1, &PaymentCaptured { order_id, charge_id, amount: total })?;
    let confirmed_at = noon();
    pen.answer("order", 2, &OrderConfirmed { order_id, customer_email, total, confirmed_at })?;
    pen.answer("inventory", 2, &StockShipped { order_id, lines: lines() })
}

fn cancelled(pen: &mut Pen) -> Result<()> {
    let (order_id, total) = (id(ORDER), gbp(1_530));
    let shortages = vec![
        Shortage { sku: "85123A".into(), requested: 6, available: 2 },
        Shortage { sku: "71053".into(), requested: 1, available: 0 },
    ];
    pen.answer("inventory", 1, &StockRejected { order_id, shortages })?;
    let reason = "insufficient_funds".to_owned();
    pen.answer("payment", 1, &PaymentDeclined { order_id, reason })?;
    for (case, reason) in [
        (None, CancelReason::OutOfStock),
        (Some("payment_declined"), CancelReason::PaymentDeclined),
        (Some("customer_request"), CancelReason::CustomerRequest),
        (Some("timed_out"), CancelReason::TimedOut),
    ] {
        let customer_email = address();
        let event =
            OrderCancelled { order_id, customer_email, reason, total, cancelled_at: noon() };
        pen.write("order", case, 2, Cause::Event, &event)?;
    }
    pen.answer("inventory", 2, &StockReleased { order_id, lines: lines() })?;
    let refund_id = "re_00000001".to_owned();
    pen.answer("payment", 2, &PaymentRefunded { order_id, refund_id, amount: total })
}

fn mails(pen: &mut Pen) -> Result<()> {
    let (email_id, order_id) = (id(MAIL), id(ORDER));
    for (case, template) in [
        (None, Template::OrderConfirmed),
        (Some("order_cancelled"), Template::OrderCancelled),
        (Some("payment_refunded"), Template::PaymentRefunded),
    ] {
        let message_id = format!("{email_id}@mail.shop.example");
        let event = EmailSent { email_id, order_id, template, message_id };
        pen.write("email", case, 1, Cause::Event, &event)?;
    }
    let (template, reason) = (Template::OrderConfirmed, "550 mailbox unavailable".to_owned());
    pen.answer("email", 1, &EmailFailed { email_id, order_id, template, reason })
}

/// What set an event in motion.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Cause {
    /// A request from outside, untraced.
    Request,
    /// Another event.
    Event,
}

struct Pen {
    written: u32,
    samples: Vec<Sample>,
}

impl Pen {
    fn first<E: Event>(&mut self, owner: &str, aggversion: u32, event: &E) -> Result<()> {
        self.write(owner, None, aggversion, Cause::Request, event)
    }

    fn answer<E: Event>(&mut self, owner: &str, aggversion: u32, event: &E) -> Result<()> {
        self.write(owner, None, aggversion, Cause::Event, event)
    }

    /// One more sample of inventory's.
    fn case<E: Event>(&mut self, case: &'static str, aggversion: u32, event: &E) -> Result<()> {
        self.write("inventory", Some(case), aggversion, Cause::Request, event)
    }

    fn write<E: Event>(
        &mut self,
        owner: &str,
        case: Option<&'static str>,
        aggversion: u32,
        cause: Cause,
        event: &E,
    ) -> Result<()> {
        self.written += 1;
        let number = self.written;
        let publisher = Identity::new(NAMESPACE, "golden", owner);
        let time = noon() + TimeDelta::milliseconds(i64::from(number));
        let mut envelope =
            Envelope::wrap(&publisher, event, aggversion, id(EVENT + u128::from(number)), time)?;
        if cause == Cause::Event {
            let traceparent = format!("00-{:032x}-{number:016x}-01", 0xA11CE);
            envelope = envelope
                .caused_by(id(EVENT), Some(id(EVENT + u128::from(number) - 1)))
                .traced(Some(traceparent), Some("shop=golden".into()));
        }
        // Indented as one document. No line break of JSON text lies within a string.
        let data = serde_json::to_string_pretty(event)?.replace('\n', "\n  ");
        envelope.data = RawValue::from_string(data)?;
        let text = serde_json::to_string_pretty(&envelope)? + "\n";
        self.samples.push(Sample { event_type: E::TYPE, minor: E::MINOR, case, text });
        Ok(())
    }
}

const EVENT: u128 = 0x100;
const ORDER: u128 = 0x200;
const CUSTOMER: u128 = 0x300;
const MAIL: u128 = 0x400;

fn id(number: u128) -> Uuid {
    Uuid::from_u128(0x0199_0000_0000_7000_8000_0000_0000_0000 + number)
}

fn noon() -> DateTime<Utc> {
    // Microseconds in sight: they must survive.
    DateTime::from_timestamp(1_767_614_400, 1_000).unwrap_or_default()
}

fn gbp(amount_minor: i64) -> Money {
    Money::new(amount_minor, Currency::GBP)
}

fn address() -> String {
    "ada@example.com".to_owned()
}

fn lines() -> Vec<Line> {
    let line = |sku: &str, quantity| Line { sku: sku.to_owned(), quantity };
    vec![line("71053", 1), line("85123A", 6)]
}
