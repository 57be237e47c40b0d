//! Products and the movements of their stock in Postgres.

use super::{Store, integration_events};
use crate::application::ports::{Products, StoreError};
use crate::domain::money::Money;
use crate::domain::product::{Description, Product, ProductEvent, Stored};

impl Products for Store<'_> {
    async fn product(&mut self, sku: &str) -> Result<Option<Product>, StoreError> {
        let row = sqlx::query!(
            "select sku, name, currency, unit_price_minor, on_hand, reserved, version, created_at,
                updated_at
            from products where sku = $1 for update",
            sku,
        )
        .fetch_optional(self.0.conn())
        .await?;
        Ok(row.map(|row| {
            let unit_price = Money::new(row.unit_price_minor, row.currency);
            Product::load(Stored {
                sku: row.sku,
                description: Description { name: row.name, unit_price, on_hand: row.on_hand },
                reserved: row.reserved,
                version: row.version.unsigned_abs(),
                created_at: row.created_at,
                updated_at: row.updated_at,
            })
        }))
    }

    async fn add_product(&mut self, product: Product) -> Result<bool, StoreError> {
        let inserted = sqlx::query!(
            "insert into products (sku, name, currency, unit_price_minor, on_hand, version,
                created_at, updated_at)
            values ($1, $2, $3, $4, $5, $6, $7, $8)
            on conflict (sku) do nothing",
            product.sku(),
            product.name(),
            product.unit_price().currency,
            product.unit_price().amount_minor,
            product.on_hand(),
            product.version() as i32,
            product.created_at(),
            product.updated_at(),
        )
        .execute(self.0.conn())
        .await?;
        if inserted.rows_affected() == 0 {
            return Ok(false);
        }
        self.tell_of(vec![product]).await?;
        Ok(true)
    }

    async fn save_product(&mut self, product: Product) -> Result<(), StoreError> {
        let mut untold = product.clone();
        let events = untold.take_events().len() as u32;
        if events == 0 {
            return Ok(());
        }
        let updated = sqlx::query!(
            "update products set name = $3, currency = $4, unit_price_minor = $5, on_hand = $6,
                version = $7, updated_at = $8
            where sku = $1 and version = $2",
            product.sku(),
            (product.version() - events) as i32,
            product.name(),
            product.unit_price().currency,
            product.unit_price().amount_minor,
            product.on_hand(),
            product.version() as i32,
            product.updated_at(),
        )
        .execute(self.0.conn())
        .await?;
        if updated.rows_affected() != 1 {
            return Err(StoreError::Conflict(format!("product/{}", product.sku())));
        }
        self.tell_of(vec![product]).await
    }
}

impl Store<'_> {
    /// Tells of everything that happened to these products, and notes how their stock moved.
    pub(super) async fn tell_of(&mut self, products: Vec<Product>) -> Result<(), StoreError> {
        let (mut skus, mut deltas, mut kinds) = (Vec::new(), Vec::new(), Vec::new());
        for mut product in products {
            for (version, event) in product.take_events() {
                if let Some((delta, kind)) = movement(&product, event) {
                    skus.push(product.sku().to_owned());
                    deltas.push(delta);
                    kinds.push(kind.to_owned());
                }
                integration_events::publish_product(self.0, &product, version, event)?;
            }
        }
        if skus.is_empty() {
            return Ok(());
        }
        let now = self.0.now();
        sqlx::query!(
            "insert into stock_movements (sku, delta, kind, at)
            select sku, delta, kind, $4 from unnest($1::text[], $2::bigint[], $3::text[])
                with ordinality as t (sku, delta, kind, n)
            order by n",
            &skus,
            &deltas,
            &kinds,
            now,
        )
        .execute(self.0.conn())
        .await?;
        Ok(())
    }
}

/// How an event moved the product's stock, and the name of such movements.
fn movement(product: &Product, event: ProductEvent) -> Option<(i64, &'static str)> {
    match event {
        ProductEvent::Listed => Some((product.on_hand(), "initial")),
        ProductEvent::Replenished { quantity } => Some((quantity, "restocked")),
        ProductEvent::Changed { stock_delta: 0 } | ProductEvent::PriceChanged => None,
        ProductEvent::Changed { stock_delta } => Some((stock_delta, "adjusted")),
    }
}
