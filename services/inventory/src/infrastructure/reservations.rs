//! Reservations in Postgres.

use std::collections::HashSet;

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::{Store, integration_events, stock, unreadable};
use crate::application::ports::{Reservations, StoreError};
use crate::domain::money::Money;
use crate::domain::reservation::{Charge, Line, Reservation, Status, Stored};

impl Reservations for Store<'_> {
    async fn reservations(&mut self, order_ids: &[Uuid]) -> Result<Vec<Reservation>, StoreError> {
        // Lines never change, so they need no lock of their own.
        let rows = sqlx::query!(
            r#"select order_id, status, amount_minor, currency, payment_method, version, created_at,
                updated_at,
                array(select sku from reservation_lines l where l.order_id = r.order_id
                    order by sku) as "skus!",
                array(select quantity from reservation_lines l where l.order_id = r.order_id
                    order by sku) as "quantities!"
            from reservations r where order_id = any($1) order by order_id for update"#,
            order_ids,
        )
        .fetch_all(self.0.conn())
        .await?;
        let reservations = rows.into_iter().map(|row| {
            let charge = match (row.amount_minor, row.currency, row.payment_method) {
                (Some(amount), Some(currency), Some(payment_method)) => {
                    Some(Charge { amount: Money::new(amount, currency), payment_method })
                }
                _ => None,
            };
            let lines = row.skus.into_iter().zip(row.quantities);
            Ok(Reservation::load(Stored {
                order_id: row.order_id,
                status: status_from(&row.status)?,
                charge,
                lines: lines.map(line).collect::<Result<_, _>>()?,
                version: row.version.unsigned_abs(),
                created_at: row.created_at,
                updated_at: row.updated_at,
            }))
        });
        reservations.collect()
    }

    async fn add_reservations(
        &mut self,
        mut reservations: Vec<Reservation>,
    ) -> Result<HashSet<Uuid>, StoreError> {
        let added = self.insert(&Columns::of(&reservations)).await?;
        reservations.retain(|reservation| added.contains(&reservation.order_id()));
        self.tell_of_reservations(reservations)?;
        Ok(added)
    }

    async fn save_reservations(
        &mut self,
        reservations: Vec<Reservation>,
    ) -> Result<(), StoreError> {
        let changed = Columns::of(&reservations);
        let updated = sqlx::query!(
            "update reservations r
            set status = t.status, version = t.version, updated_at = t.updated_at
            from unnest($1::uuid[], $2::int[], $3::text[], $4::int[], $5::timestamptz[])
                as t (order_id, seen, status, version, updated_at)
            where r.order_id = any($1) and r.order_id = t.order_id and r.version = t.seen",
            &changed.order_ids,
            &changed.seen,
            &changed.statuses as &[&str],
            &changed.versions,
            &changed.updated_at,
        )
        .execute(self.0.conn())
        .await?;
        if updated.rows_affected() != reservations.len() as u64 {
            return Err(StoreError::Conflict("reservations".to_owned()));
        }
        self.tell_of_reservations(reservations)
    }
}

impl Store<'_> {
    /// Reservations and their lines, in one statement. Returns of which orders: not of those that have
    /// one already.
    async fn insert(&mut self, new: &Columns<'_>) -> Result<HashSet<Uuid>, StoreError> {
        let added = sqlx::query_scalar!(
            "with added as (
                insert into reservations (order_id, status, amount_minor, currency,
                    payment_method, version, created_at, updated_at)
                select * from unnest($1::uuid[], $2::text[], $3::bigint[], $4::text[], $5::text[],
                    $6::int[], $7::timestamptz[], $8::timestamptz[]) as t (order_id)
                order by t.order_id
                on conflict (order_id) do nothing
                returning order_id
            ), lines as (
                insert into reservation_lines (order_id, sku, quantity)
                select a.order_id, l.sku, l.quantity
                from added a join unnest($9::uuid[], $10::text[], $11::bigint[])
                    as l (order_id, sku, quantity) on l.order_id = a.order_id
            )
            select order_id from added",
            &new.order_ids,
            &new.statuses as &[&str],
            &new.amounts as &[Option<i64>],
            &new.currencies as &[Option<&str>],
            &new.payment_methods as &[Option<&str>],
            &new.versions,
            &new.created_at,
            &new.updated_at,
            &new.lines_of,
            &new.skus,
            &new.quantities,
        )
        .fetch_all(self.0.conn())
        .await?;
        Ok(added.into_iter().collect())
    }

    fn tell_of_reservations(&mut self, reservations: Vec<Reservation>) -> Result<(), StoreError> {
        for mut reservation in reservations {
            self.turn_to(reservation.order_id());
            for (version, event) in reservation.take_events() {
                integration_events::publish_reservation(self.0, &reservation, version, event)?;
            }
        }
        Ok(())
    }
}

/// Reservations as lists side by side, for `unnest`.
#[derive(Default)]
struct Columns<'a> {
    order_ids: Vec<Uuid>,
    statuses: Vec<&'static str>,
    amounts: Vec<Option<i64>>,
    currencies: Vec<Option<&'a str>>,
    payment_methods: Vec<Option<&'a str>>,
    versions: Vec<i32>,
    /// The versions that they had when they were read.
    seen: Vec<i32>,
    created_at: Vec<DateTime<Utc>>,
    updated_at: Vec<DateTime<Utc>>,
    /// Their lines, with the order of each.
    lines_of: Vec<Uuid>,
    skus: Vec<String>,
    quantities: Vec<i64>,
}

impl<'a> Columns<'a> {
    fn of(reservations: &'a [Reservation]) -> Self {
        let mut columns = Self::default();
        for reservation in reservations {
            let charge = reservation.charge();
            columns.order_ids.push(reservation.order_id());
            columns.statuses.push(status_name(reservation.status()));
            columns.amounts.push(charge.map(|charge| charge.amount.amount_minor));
            columns.currencies.push(charge.map(|charge| &*charge.amount.currency));
            columns.payment_methods.push(charge.map(|charge| &*charge.payment_method));
            columns.versions.push(reservation.version() as i32);
            columns.seen.push((reservation.version() - reservation.news()) as i32);
            columns.created_at.push(reservation.created_at());
            columns.updated_at.push(reservation.updated_at());
            let (skus, quantities) = stock::columns(reservation.lines());
            columns.lines_of.extend(skus.iter().map(|_| reservation.order_id()));
            columns.skus.extend(skus);
            columns.quantities.extend(quantities);
        }
        columns
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
