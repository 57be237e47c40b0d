//! The catalogue in Postgres.

use super::Store;
use crate::application::ports::{Catalogue, Product, ProductChange, StoreError};

impl Catalogue for Store<'_> {
    async fn products(&mut self, skus: &[String]) -> Result<Vec<Product>, StoreError> {
        Ok(sqlx::query_as!(
            Product,
            "select sku, name, currency, unit_price_minor from catalogue where sku = any($1)",
            skus,
        )
        .fetch_all(self.0.conn())
        .await?)
    }

    async fn follow(&mut self, change: ProductChange) -> Result<bool, StoreError> {
        let now = self.0.now();
        let changed = match change {
            ProductChange::Listed(product) => {
                sqlx::query!(
                    "insert into catalogue (sku, name, currency, unit_price_minor, updated_at,
                        listed_at)
                    values ($1, $2, $3, $4, $5, $5)
                    on conflict (sku) do update set name = excluded.name,
                        currency = excluded.currency, unit_price_minor = excluded.unit_price_minor,
                        updated_at = excluded.updated_at",
                    product.sku,
                    product.name,
                    product.currency,
                    product.unit_price_minor,
                    now,
                )
                .execute(self.0.conn())
                .await?
            }
            ProductChange::Repriced { sku, currency, unit_price_minor } => {
                sqlx::query!(
                    "update catalogue set currency = $2, unit_price_minor = $3, updated_at = $4
                    where sku = $1",
                    sku,
                    currency,
                    unit_price_minor,
                    now,
                )
                .execute(self.0.conn())
                .await?
            }
            ProductChange::Renamed { sku, name } => {
                sqlx::query!(
                    "update catalogue set name = $2, updated_at = $3 where sku = $1",
                    sku,
                    name,
                    now,
                )
                .execute(self.0.conn())
                .await?
            }
        };
        Ok(changed.rows_affected() == 1)
    }
}
