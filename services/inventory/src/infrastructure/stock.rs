//! Pieces set aside, freed and taken out, in Postgres.

use std::collections::{BTreeMap, HashMap};

use uuid::Uuid;

use super::Store;
use crate::application::ports::{Stock, StoreError};
use crate::domain::reservation::Line;

impl Stock for Store<'_> {
    async fn lock_free(&mut self, skus: &[String]) -> Result<HashMap<String, i64>, StoreError> {
        let rows = sqlx::query!(
            r#"select sku, on_hand - reserved as "free!" from products where sku = any($1)
            order by sku for update"#,
            skus,
        )
        .fetch_all(self.0.conn())
        .await?;
        Ok(rows.into_iter().map(|row| (row.sku, row.free)).collect())
    }

    async fn lock_all(&mut self, skus: &[String], order_ids: &[Uuid]) -> Result<(), StoreError> {
        sqlx::query!(
            r#"select sku from products
            where sku = any($1 || array(
                select sku from reservation_lines where order_id = any($2)))
            order by sku for update"#,
            skus,
            order_ids,
        )
        .fetch_all(self.0.conn())
        .await?;
        Ok(())
    }

    async fn set_aside(&mut self, lines: &[Line]) -> Result<(), StoreError> {
        let (skus, quantities) = added_up(lines);
        let now = self.0.now();
        let updated = sqlx::query!(
            "update products p set reserved = reserved + l.quantity, updated_at = $3
            from unnest($1::text[], $2::bigint[]) as l (sku, quantity)
            where p.sku = any($1) and p.sku = l.sku
                and p.on_hand - p.reserved >= l.quantity",
            &skus,
            &quantities,
            now,
        )
        .execute(self.0.conn())
        .await?;
        all_of(skus.len(), updated.rows_affected())
    }

    async fn set_free(&mut self, lines: &[Line]) -> Result<(), StoreError> {
        let (skus, quantities) = added_up(lines);
        let now = self.0.now();
        // `locked` is there to lock in the order of the SKUs, which an update alone does not.
        let updated = sqlx::query!(
            "with locked as (
                select p.sku, l.quantity
                from products p join unnest($1::text[], $2::bigint[]) as l (sku, quantity)
                    on p.sku = l.sku
                where p.sku = any($1) order by p.sku for update of p
            )
            update products p set reserved = reserved - l.quantity, updated_at = $3
            from locked l where p.sku = any($1) and p.sku = l.sku",
            &skus,
            &quantities,
            now,
        )
        .execute(self.0.conn())
        .await?;
        all_of(skus.len(), updated.rows_affected())
    }

    async fn take_out(&mut self, lines: &[(Uuid, Line)]) -> Result<(), StoreError> {
        let orders: Vec<Uuid> = lines.iter().map(|(order_id, _)| *order_id).collect();
        let (skus, quantities) = columns(lines.iter().map(|(_, line)| line));
        let (products, sums) = added_up(lines.iter().map(|(_, line)| line));
        let now = self.0.now();
        let moved = sqlx::query!(
            "with locked as (
                select p.sku, l.quantity
                from products p join unnest($4::text[], $5::bigint[]) as l (sku, quantity)
                    on p.sku = l.sku
                where p.sku = any($4) order by p.sku for update of p
            ), gone as (
                update products p set on_hand = on_hand - l.quantity,
                    reserved = reserved - l.quantity, updated_at = $6
                from locked l where p.sku = any($4) and p.sku = l.sku
                returning p.sku
            )
            insert into stock_movements (sku, delta, kind, order_id, at)
            select l.sku, -l.quantity, 'shipped', l.order_id, $6
            from gone join unnest($1::uuid[], $2::text[], $3::bigint[])
                as l (order_id, sku, quantity) on l.sku = gone.sku",
            &orders,
            &skus,
            &quantities,
            &products,
            &sums,
            now,
        )
        .execute(self.0.conn())
        .await?;
        all_of(lines.len(), moved.rows_affected())
    }
}

pub(super) fn columns<'a>(lines: impl IntoIterator<Item = &'a Line>) -> (Vec<String>, Vec<i64>) {
    lines.into_iter().map(|line| (line.sku.clone(), i64::from(line.quantity))).unzip()
}

/// How much of each product, by SKU: an update changes a row once, whatever it is told of it.
fn added_up<'a>(lines: impl IntoIterator<Item = &'a Line>) -> (Vec<String>, Vec<i64>) {
    let mut sums: BTreeMap<&str, i64> = BTreeMap::new();
    for line in lines {
        *sums.entry(&line.sku).or_default() += i64::from(line.quantity);
    }
    sums.into_iter().map(|(sku, quantity)| (sku.to_owned(), quantity)).unzip()
}

/// All or none: fewer rows mean that what was decided on is not what is stored.
fn all_of(wanted: usize, rows: u64) -> Result<(), StoreError> {
    if rows == wanted as u64 { Ok(()) } else { Err(StoreError::Conflict("stock".to_owned())) }
}
