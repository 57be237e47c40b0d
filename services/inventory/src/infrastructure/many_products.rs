//! Many products at once, in Postgres: each step is one statement.

use std::collections::HashSet;

use super::Store;
use crate::application::ports::{ManyProducts, StoreError};
use crate::domain::money::Money;
use crate::domain::product::{Description, Product, Stored};

/// Products as lists side by side, for `unnest`.
#[derive(Default)]
struct Columns {
    skus: Vec<String>,
    names: Vec<String>,
    currencies: Vec<String>,
    prices: Vec<i64>,
    on_hand: Vec<i64>,
    versions: Vec<i32>,
    /// The versions that the products had when they were read.
    seen: Vec<i32>,
}

impl Columns {
    fn of(products: &[Product]) -> Self {
        let mut columns = Self::default();
        for product in products {
            let events = product.clone().take_events().len() as u32;
            columns.skus.push(product.sku().to_owned());
            columns.names.push(product.name().to_owned());
            columns.currencies.push(product.unit_price().currency.clone());
            columns.prices.push(product.unit_price().amount_minor);
            columns.on_hand.push(product.on_hand());
            columns.versions.push(product.version() as i32);
            columns.seen.push((product.version() - events) as i32);
        }
        columns
    }
}

impl ManyProducts for Store<'_> {
    async fn add_products(
        &mut self,
        mut products: Vec<Product>,
    ) -> Result<HashSet<String>, StoreError> {
        let (new, now) = (Columns::of(&products), self.0.now());
        // The update that never takes place locks the product all the same. One statement meets new
        // and known products in the order of their SKUs; two, one after the other, would not.
        let added = sqlx::query_scalar!(
            r#"insert into products as p (sku, name, currency, unit_price_minor, on_hand, version,
                created_at, updated_at)
            select sku, name, currency, unit_price_minor, on_hand, version, $7, $7
            from unnest($1::text[], $2::text[], $3::text[], $4::bigint[], $5::bigint[], $6::int[])
                as t (sku, name, currency, unit_price_minor, on_hand, version)
            order by sku collate "C"
            on conflict (sku) do update set version = p.version where false
            returning sku"#,
            &new.skus,
            &new.names,
            &new.currencies,
            &new.prices,
            &new.on_hand,
            &new.versions,
            now,
        )
        .fetch_all(self.0.conn())
        .await?;
        let added: HashSet<String> = added.into_iter().collect();
        products.retain(|product| added.contains(product.sku()));
        self.tell_of(products).await?;
        Ok(added)
    }

    async fn products(&mut self, skus: &[String]) -> Result<Vec<Product>, StoreError> {
        if skus.is_empty() {
            return Ok(Vec::new());
        }
        let rows = sqlx::query!(
            "select sku, name, currency, unit_price_minor, on_hand, reserved, version, created_at,
                updated_at
            from products where sku = any($1) order by sku for update",
            skus,
        )
        .fetch_all(self.0.conn())
        .await?;
        let products = rows.into_iter().map(|row| {
            let unit_price = Money::new(row.unit_price_minor, row.currency);
            Product::load(Stored {
                sku: row.sku,
                description: Description { name: row.name, unit_price, on_hand: row.on_hand },
                reserved: row.reserved,
                version: row.version.unsigned_abs(),
                created_at: row.created_at,
                updated_at: row.updated_at,
            })
        });
        Ok(products.collect())
    }

    async fn save_products(&mut self, products: Vec<Product>) -> Result<(), StoreError> {
        if products.is_empty() {
            return Ok(());
        }
        let (changed, now) = (Columns::of(&products), self.0.now());
        let updated = sqlx::query!(
            "update products p set name = t.name, currency = t.currency,
                unit_price_minor = t.unit_price_minor, on_hand = t.on_hand, version = t.version,
                updated_at = $8
            from unnest($1::text[], $2::text[], $3::text[], $4::bigint[], $5::bigint[], $6::int[],
                    $7::int[])
                as t (sku, name, currency, unit_price_minor, on_hand, version, seen)
            where p.sku = t.sku and p.version = t.seen",
            &changed.skus,
            &changed.names,
            &changed.currencies,
            &changed.prices,
            &changed.on_hand,
            &changed.versions,
            &changed.seen,
            now,
        )
        .execute(self.0.conn())
        .await?;
        if updated.rows_affected() != products.len() as u64 {
            return Err(StoreError::Conflict("a product".to_owned()));
        }
        self.tell_of(products).await
    }
}
