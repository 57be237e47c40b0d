//! Every event in one table: who owns it, who reads it and what for.

use envelope::{Event, Subject};
use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema};
use serde_json::Value;

use crate::email::{EmailFailed, EmailSent};
use crate::inventory::{
    PriceChanged, ProductChanged, ProductListed, StockRejected, StockReleased, StockReplenished,
    StockReserved, StockShipped,
};
use crate::order::{OrderCancelled, OrderConfirmed, OrderPlaced};
use crate::payment::{PaymentCaptured, PaymentDeclined, PaymentRefunded};

/// One event of the system.
#[derive(Debug, Clone, Copy)]
pub struct EventInfo {
    /// The short type and routing key: `order.placed.v1`.
    pub event_type: &'static str,
    /// Today's minor version.
    pub minor: u32,
    /// The Rust type's name.
    pub name: &'static str,
    /// The one service that publishes it.
    pub owner: &'static str,
    /// The subject, with the field that fills it in braces: `order/{order_id}`.
    pub subject: &'static str,
    /// Who acts on it. Audit is not listed: it stores every event.
    pub consumers: &'static [Consumer],
    schema: fn() -> Schema,
    read: fn(&Value) -> serde_json::Result<(Subject, Value)>,
}

/// A service that acts on an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Consumer {
    /// Its short name.
    pub service: &'static str,
    /// What it does with the event.
    pub purpose: &'static str,
}

/// The service that stores every event, also of types that stand in no table.
pub const AUDIT: Consumer = Consumer { service: "audit", purpose: "append it to the audit log" };

impl EventInfo {
    /// JSON Schema 2020-12 of the event's `data`, as today's type has it.
    pub fn schema(&self) -> Schema {
        (self.schema)()
    }

    /// Reads `data` as today's consumers do: the aggregate it belongs to, and `data` as today's
    /// producer would write it again.
    ///
    /// # Errors
    /// When `data` does not have the event's shape.
    pub fn read(&self, data: &Value) -> serde_json::Result<(Subject, Value)> {
        (self.read)(data)
    }

    /// All that receive the event: the consumers that act on it, and audit.
    pub fn receivers(&self) -> impl Iterator<Item = &Consumer> {
        self.consumers.iter().chain(std::iter::once(&AUDIT))
    }

    const fn of<E: Event + JsonSchema>(
        name: &'static str,
        owner: &'static str,
        subject: &'static str,
        consumers: &'static [Consumer],
    ) -> Self {
        Self {
            event_type: E::TYPE,
            minor: E::MINOR,
            name,
            owner,
            subject,
            consumers,
            schema: schema_of::<E>,
            read: read_as::<E>,
        }
    }
}

fn schema_of<E: JsonSchema>() -> Schema {
    SchemaSettings::draft2020_12().into_generator().into_root_schema_for::<E>()
}

fn read_as<E: Event>(data: &Value) -> serde_json::Result<(Subject, Value)> {
    let event: E = serde_json::from_value(data.clone())?;
    Ok((event.subject(), serde_json::to_value(&event)?))
}

const fn to(service: &'static str, purpose: &'static str) -> Consumer {
    Consumer { service, purpose }
}

/// The row of `event_type` (a short type), if there is such an event.
pub fn find(event_type: &str) -> Option<&'static EventInfo> {
    EVENTS.iter().find(|event| event.event_type == event_type)
}

const ORDER: &str = "order/{order_id}";
const PRODUCT: &str = "product/{sku}";
const RESERVATION: &str = "reservation/{order_id}";
const PAYMENT: &str = "payment/{order_id}";
const EMAIL: &str = "email/{email_id}";

/// Every event, in the order of its way through the system.
pub static EVENTS: &[EventInfo] = &[
    EventInfo::of::<ProductListed>(
        "ProductListed",
        "inventory",
        PRODUCT,
        &[to("order", "list the product in its catalogue")],
    ),
    EventInfo::of::<PriceChanged>(
        "PriceChanged",
        "inventory",
        PRODUCT,
        &[to("order", "price new orders from its catalogue")],
    ),
    EventInfo::of::<ProductChanged>(
        "ProductChanged",
        "inventory",
        PRODUCT,
        &[to("order", "keep its catalogue")],
    ),
    // The catalogue checks versions of `product/<sku>` for gaps, so it must see every type of it.
    EventInfo::of::<StockReplenished>(
        "StockReplenished",
        "inventory",
        PRODUCT,
        &[to("order", "keep its catalogue")],
    ),
    EventInfo::of::<OrderPlaced>(
        "OrderPlaced",
        "order",
        ORDER,
        &[to("inventory", "reserve stock")],
    ),
    EventInfo::of::<StockReserved>(
        "StockReserved",
        "inventory",
        RESERVATION,
        &[to("payment", "charge"), to("order", "show progress")],
    ),
    EventInfo::of::<StockRejected>(
        "StockRejected",
        "inventory",
        RESERVATION,
        &[to("order", "cancel (`out_of_stock`)")],
    ),
    EventInfo::of::<PaymentCaptured>(
        "PaymentCaptured",
        "payment",
        PAYMENT,
        &[to("order", "confirm")],
    ),
    EventInfo::of::<PaymentDeclined>(
        "PaymentDeclined",
        "payment",
        PAYMENT,
        &[to("order", "cancel (`payment_declined`)")],
    ),
    EventInfo::of::<OrderConfirmed>(
        "OrderConfirmed",
        "order",
        ORDER,
        &[to("inventory", "ship (stock leaves)"), to("email", "send the confirmation")],
    ),
    EventInfo::of::<OrderCancelled>(
        "OrderCancelled",
        "order",
        ORDER,
        &[
            to("inventory", "release stock"),
            to("payment", "refund if captured, or never charge"),
            to("email", "send the cancellation"),
        ],
    ),
    EventInfo::of::<StockReleased>(
        "StockReleased",
        "inventory",
        RESERVATION,
        &[to("order", "show progress")],
    ),
    EventInfo::of::<StockShipped>(
        "StockShipped",
        "inventory",
        RESERVATION,
        &[to("order", "show progress")],
    ),
    EventInfo::of::<PaymentRefunded>(
        "PaymentRefunded",
        "payment",
        PAYMENT,
        &[to("order", "show progress"), to("email", "send the refund note")],
    ),
    EventInfo::of::<EmailSent>("EmailSent", "email", EMAIL, &[]),
    EventInfo::of::<EmailFailed>("EmailFailed", "email", EMAIL, &[]),
];
