//! How far orders have come, in Postgres.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

use super::Store;
use crate::application::ports::{Progress, Step, StoreError};
use crate::application::views::ProgressRow;

impl Progress for Store<'_> {
    async fn note(
        &mut self,
        step: Step,
        orders: &[(Uuid, DateTime<Utc>)],
    ) -> Result<bool, StoreError> {
        let name = match step {
            Step::StockReserved => "stock_reserved",
            Step::StockShipped => "stock_shipped",
            Step::StockReleased => "stock_released",
            Step::PaymentRefunded => "payment_refunded",
        };
        let (ids, at): (Vec<Uuid>, Vec<DateTime<Utc>>) = orders.iter().copied().unzip();
        Ok(sqlx::query_scalar!(
            r#"with known as (select id from orders where id = any($1)),
            added as (
                insert into order_progress (order_id, step, at)
                select order_id, $2, at
                from unnest($1::uuid[], $3::timestamptz[]) as t (order_id, at)
                where order_id = any(array(select id from known))
                order by order_id, at
                on conflict do nothing)
            select not exists(
                select from unnest($1) as asked where asked <> all(array(select id from known)))
                as "all_known!""#,
            &ids,
            name,
            &at,
        )
        .fetch_one(self.0.conn())
        .await?)
    }
}

pub(super) async fn progress(
    conn: &mut PgConnection,
    order_ids: &[Uuid],
) -> Result<Vec<ProgressRow>, sqlx::Error> {
    sqlx::query_as!(
        ProgressRow,
        "select order_id, step, at from order_progress where order_id = any($1)
        order by order_id, at, step",
        order_ids,
    )
    .fetch_all(conn)
    .await
}
