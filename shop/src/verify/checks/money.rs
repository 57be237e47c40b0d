//! I9: who got the goods has paid, once, and nobody else has.

use std::collections::HashSet;

use futures_util::TryStreamExt as _;
use uuid::Uuid;

use super::super::Facts;
use super::super::findings::Findings;
use super::super::ledger::{Account, Ledger};
use super::super::merge::{Side, merge};
use super::super::tables::rows;
use super::super::world::{Service, World};

pub(crate) const ID: &str = "I9";
pub(crate) const STATEMENT: &str = "net captured is the order's total if it is confirmed, else 0; \
     at most one capture per order; payment's books are the gateway's";

const ORDERS: &str = "select id, status, total_minor, currency from orders order by id";
const PAYMENTS: &str =
    "select order_id, status, amount_minor, currency from payments order by order_id";

/// A status and an amount: of an order, or of its payment.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    status: String,
    minor: i64,
    currency: String,
}

type Row = (Uuid, String, i64, String);

fn entry((id, status, minor, currency): Row) -> (Uuid, Entry) {
    (id, Entry { status, minor, currency })
}

pub(crate) async fn check(world: &World, facts: &Facts) -> anyhow::Result<Findings> {
    let mut findings = Findings::new();
    let ledger = match &facts.ledger {
        Ok(ledger) => Some(ledger),
        Err(why) => {
            findings.unknown(why);
            None
        }
    };
    let mut charged: HashSet<Uuid> = ledger.map(|l| l.orders().collect()).unwrap_or_default();
    let orders = rows::<Row>(world.databases.of(Service::Order), ORDERS).map_ok(entry);
    let payments = rows::<Row>(world.databases.of(Service::Payment), PAYMENTS).map_ok(entry);
    merge(orders, payments, |id, side| {
        charged.remove(&id);
        let account = ledger.map(|ledger| ledger.account(id));
        let fault = match side {
            Side::Left(order) => fault(Some(&order), None, account),
            Side::Right(payment) => fault(None, Some(&payment), account),
            Side::Both(order, payment) => fault(Some(&order), Some(&payment), account),
        };
        findings.looked_at(1);
        if let Some(fault) = fault {
            findings.violation(|| format!("order {id}: {fault}"));
        }
    })
    .await?;
    strangers(&mut findings, &charged, ledger);
    Ok(findings)
}

/// Money taken for what is no order.
fn strangers(findings: &mut Findings, charged: &HashSet<Uuid>, ledger: Option<&Ledger>) {
    for id in charged {
        findings.violation(|| format!("the gateway charged {id}, which nobody ordered"));
    }
    for id in ledger.iter().flat_map(|ledger| &ledger.foreign) {
        findings.violation(|| format!("the gateway charged {id:?}, which is no order's id"));
    }
}

/// What is wrong between an order, its payment and the gateway's account of it.
fn fault(
    order: Option<&Entry>,
    payment: Option<&Entry>,
    account: Option<Account>,
) -> Option<String> {
    let Some(order) = order else {
        return Some("payment knows it, order does not".to_owned());
    };
    if let Some(payment) = payment
        && (payment.minor, &payment.currency) != (order.minor, &order.currency)
    {
        return Some(format!(
            "it costs {} {}, its payment is for {} {}",
            order.minor, order.currency, payment.minor, payment.currency
        ));
    }
    let stage = payment.map_or("none", |payment| payment.status.as_str());
    stage_fault(order, stage).or_else(|| account_fault(order, stage, account?))
}

/// Where the payment must stand when the order has ended.
fn stage_fault(order: &Entry, stage: &str) -> Option<String> {
    let fits = match order.status.as_str() {
        "confirmed" => stage == "captured",
        // Of nothing, nothing can be given back.
        "cancelled" => !matches!(stage, "pending" | "captured") || order.minor == 0,
        _ => true,
    };
    (!fits).then(|| format!("it is {}, its payment is {stage}", order.status))
}

fn account_fault(order: &Entry, stage: &str, account: Account) -> Option<String> {
    let Account { captures, net_minor, captured_minor, currency } = account;
    if captures > 1 {
        return Some(format!("the gateway charged it {captures} times"));
    }
    if captures == 1
        && currency.as_ref().map(<[u8; 3]>::as_slice) != Some(order.currency.as_bytes())
    {
        return Some("the gateway charged it in another currency".to_owned());
    }
    let expected = match stage {
        "captured" => (1, order.minor, order.minor),
        "refunded" => (1, 0, order.minor),
        "declined" | "void" | "none" => (0, 0, 0),
        // Under way: what the gateway knows, payment may not know yet.
        _ => return None,
    };
    (expected != (captures, net_minor, captured_minor)).then(|| {
        format!(
            "its payment of {} is {stage}, but the gateway has captured {captured_minor} \
             in {captures} charges and holds {net_minor}",
            order.minor
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(status: &str, minor: i64) -> Entry {
        Entry { status: status.into(), minor, currency: "GBP".into() }
    }

    fn account(captures: u32, captured_minor: i64, net_minor: i64) -> Account {
        let currency = (captures > 0).then_some(*b"GBP");
        Account { captures, net_minor, captured_minor, currency }
    }

    fn judged(order: &str, payment: Option<&str>, account: Account) -> Option<String> {
        let payment = payment.map(|status| of(status, 500));
        fault(Some(&of(order, 500)), payment.as_ref(), Some(account))
    }

    #[test]
    fn sound_books_are_sound() {
        let (none, paid, back) = (account(0, 0, 0), account(1, 500, 500), account(1, 500, 0));
        for (order, payment, account) in [
            ("confirmed", Some("captured"), paid),
            ("cancelled", Some("declined"), none),
            ("cancelled", Some("refunded"), back),
            ("cancelled", Some("void"), none),
            ("cancelled", None, none),
            ("pending", None, none),
            ("pending", Some("pending"), none),
            ("pending", Some("pending"), paid),
        ] {
            assert_eq!(judged(order, payment, account), None, "{order} {payment:?}");
        }
    }

    #[test]
    fn every_way_to_take_too_much_or_too_little_is_seen() {
        let (none, paid) = (account(0, 0, 0), account(1, 500, 500));
        for (order, payment, account) in [
            ("confirmed", Some("captured"), none),
            ("confirmed", Some("captured"), account(2, 1_000, 1_000)),
            ("confirmed", Some("captured"), account(1, 400, 400)),
            ("confirmed", Some("captured"), account(1, 500, 100)),
            ("confirmed", Some("declined"), none),
            ("confirmed", None, paid),
            ("cancelled", Some("captured"), paid),
            ("cancelled", Some("refunded"), paid),
            ("cancelled", Some("declined"), paid),
            ("cancelled", None, paid),
            ("pending", Some("void"), paid),
        ] {
            assert!(judged(order, payment, account).is_some(), "{order} {payment:?} {account:?}");
        }
        assert!(fault(None, Some(&of("captured", 500)), Some(paid)).is_some());
        assert!(fault(Some(&of("pending", 500)), Some(&of("pending", 400)), None).is_some());
        let dollars = Account { currency: Some(*b"USD"), ..paid };
        assert!(judged("confirmed", Some("captured"), dollars).is_some());
    }

    #[test]
    fn an_order_of_nothing_needs_no_refund() {
        let order = of("cancelled", 0);
        let charged = Account { currency: Some(*b"GBP"), captures: 1, ..Account::default() };
        assert_eq!(fault(Some(&order), Some(&of("captured", 0)), Some(charged)), None);
    }
}
