//! Reservations in Postgres.

use uuid::Uuid;

use super::stock::columns;
use super::{Store, integration_events, unreadable};
use crate::application::ports::{Reservations, StoreError};
use crate::domain::money::Money;
use crate::domain::reservation::{Charge, Line, Reservation, Status, Stored};

impl Reservations for Store<'_> {
    async fn reservation(&mut self, order_id: Uuid) -> Result<Option<Reservation>, StoreError> {
        // Lines never change, so they need no lock of their own.
        let row = sqlx::query!(
            r#"select status, amount_minor, currency, payment_method, version, created_at,
                updated_at,
                array(select sku from reservation_lines l where l.order_id = r.order_id
                    order by sku) as "skus!",
                array(select quantity from reservation_lines l where l.order_id = r.order_id
                    order by sku) as "quantities!"
            from reservations r where order_id = $1 for update"#,
            order_id,
        )
        .fetch_optional(self.0.conn())
        .await?;
        let Some(row) = row else { return Ok(None) };
        let charge = match (row.amount_minor, row.currency, row.payment_method) {
            (Some(amount), Some(currency), Some(payment_method)) => {
                Some(Charge { amount: Money::new(amount, currency), payment_method })
            }
            _ => None,
        };
        let lines = row.skus.into_iter().zip(row.quantities);
        Ok(Some(Reservation::load(Stored {
            order_id,
            status: status_from(&row.status)?,
            charge,
            lines: lines.map(line).collect::<Result<_, _>>()?,
            version: row.version.unsigned_abs(),
            created_at: row.created_at,
            updated_at: row.updated_at,
        })))
    }

    async fn add_reservation(&mut self, mut reservation: Reservation) -> Result<bool, StoreError> {
        let added = self.insert(&reservation).await?;
        if added {
            for (version, event) in reservation.take_events() {
                integration_events::publish_reservation(self.0, &reservation, version, event)?;
            }
        }
        Ok(added)
    }

    async fn save_reservation(&mut self, mut reservation: Reservation) -> Result<(), StoreError> {
        let events = reservation.take_events();
        let order_id = reservation.order_id();
        let updated = sqlx::query!(
            "update reservations set status = $3, version = $4, updated_at = $5
            where order_id = $1 and version = $2",
            order_id,
            (reservation.version() - events.len() as u32) as i32,
            status_name(reservation.status()),
            reservation.version() as i32,
            reservation.updated_at(),
        )
        .execute(self.0.conn())
        .await?;
        if updated.rows_affected() != 1 {
            return Err(StoreError::Conflict(format!("reservation/{order_id}")));
        }
        for (version, event) in events {
            integration_events::publish_reservation(self.0, &reservation, version, event)?;
        }
        Ok(())
    }
}

impl Store<'_> {
    /// The reservation and its lines, in one statement. False when the order has one already.
    async fn insert(&mut self, reservation: &Reservation) -> Result<bool, StoreError> {
        let (skus, quantities) = columns(reservation.lines());
        let charge = reservation.charge();
        let added = sqlx::query_scalar!(
            r#"with added as (
                insert into reservations (order_id, status, amount_minor, currency,
                    payment_method, version, created_at, updated_at)
                values ($1, $2, $3, $4, $5, $6, $7, $8)
                on conflict (order_id) do nothing
                returning order_id
            ), lines as (
                insert into reservation_lines (order_id, sku, quantity)
                select a.order_id, l.sku, l.quantity
                from added a, unnest($9::text[], $10::bigint[]) as l (sku, quantity)
            )
            select exists(select from added) as "added!""#,
            reservation.order_id(),
            status_name(reservation.status()),
            charge.map(|charge| charge.amount.amount_minor),
            charge.map(|charge| charge.amount.currency.as_str()),
            charge.map(|charge| charge.payment_method.as_str()),
            reservation.version() as i32,
            reservation.created_at(),
            reservation.updated_at(),
            &skus,
            &quantities,
        )
        .fetch_one(self.0.conn())
        .await?;
        Ok(added)
    }
}

fn line((sku, quantity): (String, i64)) -> Result<Line, sqlx::Error> {
    let read =
        u32::try_from(quantity).map_err(|_| unreadable("quantity", &quantity.to_string()))?;
    Ok(Line { sku, quantity: read })
}

fn status_name(status: Status) -> &'static str {
    match status {
        Status::Reserved => "reserved",
        Status::Rejected => "rejected",
        Status::Released => "released",
        Status::Shipped => "shipped",
        Status::Cancelled => "cancelled",
    }
}

fn status_from(name: &str) -> Result<Status, sqlx::Error> {
    match name {
        "reserved" => Ok(Status::Reserved),
        "rejected" => Ok(Status::Rejected),
        "released" => Ok(Status::Released),
        "shipped" => Ok(Status::Shipped),
        "cancelled" => Ok(Status::Cancelled),
        other => Err(unreadable("status", other)),
    }
}
