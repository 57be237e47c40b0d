//! The other half of I2: what was handled had its effect, in the tables of whoever handled it.

use futures_util::{Stream, TryStreamExt as _};
use uuid::Uuid;

use super::super::findings::Findings;
use super::super::merge::{Side, merge};
use super::super::tables::rows;
use super::super::world::{Service, World};

const ORDERS: &str = "select id, status from orders order by id";
const RESERVATIONS: &str = "select order_id, status from reservations order by order_id";
const PAYMENTS: &str = "select order_id, status from payments order by order_id";
/// Which of the two mails that an order ends with were written.
const MAILS: &str = "select order_id, string_agg(template, ' ' order by template) from emails
    where template in ('order_confirmed', 'order_cancelled') group by order_id order by order_id";

pub(super) async fn check(world: &World) -> Result<Findings, sqlx::Error> {
    let mut findings = compare(
        stream(world, Service::Order, ORDERS),
        stream(world, Service::Inventory, RESERVATIONS),
        reservation,
    )
    .await?;
    let reservations = stream(world, Service::Inventory, RESERVATIONS);
    let payments = stream(world, Service::Payment, PAYMENTS);
    findings.add(compare(reservations, payments, payment).await?);
    let orders = stream(world, Service::Order, ORDERS);
    findings.add(compare(orders, stream(world, Service::Email, MAILS), mail).await?);
    Ok(findings)
}

fn stream<'a>(
    world: &'a World,
    service: Service,
    sql: &'static str,
) -> impl Stream<Item = Result<(Uuid, String), sqlx::Error>> + 'a {
    rows(world.databases.of(service), sql)
}

async fn compare(
    causes: impl Stream<Item = Result<(Uuid, String), sqlx::Error>>,
    effects: impl Stream<Item = Result<(Uuid, String), sqlx::Error>>,
    judge: impl Fn(Option<&str>, Option<&str>) -> Option<&'static str>,
) -> Result<Findings, sqlx::Error> {
    let mut findings = Findings::new();
    let as_rows = |row: (Uuid, String)| row;
    merge(causes.map_ok(as_rows), effects.map_ok(as_rows), |id, side| {
        findings.looked_at(1);
        let fault = match &side {
            Side::Left(cause) => judge(Some(cause), None),
            Side::Right(effect) => judge(None, Some(effect)),
            Side::Both(cause, effect) => judge(Some(cause), Some(effect)),
        };
        if let Some(fault) = fault {
            findings.violation(|| format!("order {id}: {fault}"));
        }
    })
    .await?;
    Ok(findings)
}

/// An order, and what inventory made of it.
fn reservation(order: Option<&str>, reservation: Option<&str>) -> Option<&'static str> {
    match (order, reservation) {
        (None, _) => Some("inventory knows it, order does not"),
        (Some(_), None) => Some("it was placed, and inventory never decided on it"),
        (Some("confirmed"), Some(status)) if status != "shipped" => {
            Some("it was confirmed, and its goods did not leave")
        }
        _ => None,
    }
}

/// What inventory set aside, and what payment made of it.
fn payment(reservation: Option<&str>, payment: Option<&str>) -> Option<&'static str> {
    match (reservation, payment) {
        (Some("reserved" | "released" | "shipped"), None) => {
            Some("its goods were set aside, and payment never heard of it")
        }
        // Payment remembers a cancelled order, whatever inventory knows of it.
        (None | Some("rejected" | "cancelled"), Some(status)) if status != "void" => {
            Some("it was charged, though no goods were set aside for it")
        }
        _ => None,
    }
}

/// An order's end, and the mail about it.
fn mail(order: Option<&str>, mails: Option<&str>) -> Option<&'static str> {
    let written =
        |template: &str| mails.is_some_and(|mails| mails.split(' ').any(|m| m == template));
    match order {
        None => Some("a mail was written about it, and order does not know it"),
        Some("confirmed") if !written("order_confirmed") => {
            Some("it was confirmed, and no mail was written")
        }
        Some("cancelled") if !written("order_cancelled") => {
            Some("it was cancelled, and no mail was written")
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_effect_belongs_to_its_cause() {
        assert_eq!(reservation(Some("pending"), Some("reserved")), None);
        assert_eq!(reservation(Some("confirmed"), Some("shipped")), None);
        assert_eq!(reservation(Some("cancelled"), Some("cancelled")), None);
        assert!(reservation(Some("confirmed"), Some("reserved")).is_some());
        assert!(reservation(None, Some("reserved")).is_some());

        assert_eq!(payment(Some("rejected"), None), None);
        assert_eq!(payment(Some("rejected"), Some("void")), None);
        assert_eq!(payment(Some("released"), Some("declined")), None);
        assert!(payment(Some("shipped"), None).is_some());
        assert!(payment(Some("rejected"), Some("captured")).is_some());

        assert_eq!(mail(Some("pending"), None), None);
        assert_eq!(mail(Some("confirmed"), Some("order_cancelled order_confirmed")), None);
        assert!(mail(Some("cancelled"), Some("order_confirmed")).is_some());
        assert!(mail(None, Some("order_confirmed")).is_some());
    }
}
