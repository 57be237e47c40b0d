//! How an order ends, seen from every side at once.

use sandbox::gateway::{Charge, ChargeStatus};
use serde_json::Value;
use uuid::Uuid;

use super::World;

/// Cancelled by its customer.
pub const BY_CUSTOMER: &str = "cancelled customer_request";
/// Cancelled at its deadline.
pub const TIMED_OUT: &str = "cancelled timed_out";

/// An order that is over: its state, its goods, its money and the mail about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ending {
    /// Status and reason.
    pub order: String,
    /// What inventory says of its goods.
    pub goods: String,
    /// What payment says of its money, and why it was declined.
    pub payment: String,
    /// What the gateway was asked for, and what came of it.
    pub charges: Vec<(ChargeStatus, i64)>,
    /// What the gateway gave back.
    pub refunds: Vec<i64>,
    /// The mails' headings, sorted.
    pub mails: Vec<String>,
}

impl Ending {
    fn of(order: &str, goods: &str, payment: &str) -> Self {
        let end = if order == "confirmed" { "confirmed" } else { "cancelled" };
        Self {
            order: order.to_owned(),
            goods: goods.to_owned(),
            payment: payment.to_owned(),
            charges: Vec::new(),
            refunds: Vec::new(),
            mails: vec![format!("Your order is {end}")],
        }
    }

    /// Paid and sent.
    pub fn confirmed(total: i64) -> Self {
        let charges = vec![(ChargeStatus::Captured, total)];
        Self { charges, ..Self::of("confirmed", "shipped", "captured") }
    }

    /// There was too little of something.
    pub fn out_of_stock() -> Self {
        Self::of("cancelled out_of_stock", "rejected", "void")
    }

    /// The gateway said no.
    pub fn declined(why: &str, total: i64) -> Self {
        let payment = format!("declined {why}");
        let charges = vec![(ChargeStatus::Declined, total)];
        Self { charges, ..Self::of("cancelled payment_declined", "released", &payment) }
    }

    /// Cancelled before anybody could charge it.
    pub fn never_charged(order: &str, goods: &str) -> Self {
        Self::of(order, goods, "void")
    }

    /// Cancelled, and charged all the same: the money went back.
    pub fn refunded(order: &str, total: i64) -> Self {
        let mut ending = Self::of(order, "released", "refunded");
        ending.charges = vec![(ChargeStatus::Captured, total)];
        ending.refunds = vec![total];
        ending.mails.insert(0, "Your money is on its way back".to_owned());
        ending
    }

    /// Every ending that an order of that total may have, whoever was faster.
    pub fn lawful(total: i64) -> Vec<Self> {
        let mut all = vec![Self::confirmed(total), Self::out_of_stock()];
        for why in ["card_declined", "insufficient_funds"] {
            let declined = Self::declined(why, total);
            for order in [BY_CUSTOMER, TIMED_OUT] {
                all.push(Self { order: order.to_owned(), ..declined.clone() });
            }
            all.push(declined);
        }
        for order in [BY_CUSTOMER, TIMED_OUT] {
            all.push(Self::refunded(order, total));
            for goods in ["released", "rejected", "cancelled"] {
                all.push(Self::never_charged(order, goods));
            }
        }
        all
    }
}

/// Those of the fields that are there and say something, one after the other.
fn words(body: &Value, fields: &[&str]) -> String {
    fields.iter().filter_map(|field| body[field].as_str()).collect::<Vec<_>>().join(" ")
}

impl World {
    /// How an order has ended. The shop is at rest, so nothing more will come.
    pub async fn ending(&self, order: Uuid) -> Ending {
        let id = order.to_string();
        let seen = self.get("order", &format!("/orders/{id}")).await;
        let goods = self.get("inventory", &format!("/reservations/{id}")).await;
        let payment = self.get("payment", &format!("/payments/{id}")).await;
        let charge = |charge: Charge| (charge.status, charge.amount_minor);
        let mails = self.mailbox.all();
        let about = mails.iter().filter(|m| m.text.as_deref().is_some_and(|t| t.contains(&id)));
        let heading = |subject: &str| subject.split(" (").next().unwrap_or_default().to_owned();
        let mut mails: Vec<String> = about.map(|mail| heading(&mail.subject)).collect();
        mails.sort();
        Ending {
            order: words(&seen, &["status", "cancel_reason"]),
            goods: words(&goods, &["status"]),
            payment: words(&payment, &["status", "decline_reason"]),
            charges: self.gateway.charges_of(&id).into_iter().map(charge).collect(),
            refunds: self.gateway.refunds_of(&id).iter().map(|r| r.amount_minor).collect(),
            mails,
        }
    }

    /// Pieces on hand and pieces reserved.
    pub async fn pieces(&self, sku: &str) -> (i64, i64) {
        let stock = self.get("inventory", &format!("/stock/{sku}")).await;
        (stock["on_hand"].as_i64().unwrap(), stock["reserved"].as_i64().unwrap())
    }
}
