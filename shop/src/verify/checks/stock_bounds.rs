//! I6: nothing is sold twice.

use super::super::findings::Findings;
use super::super::tables::{count, found, offenders};
use super::super::world::{Service, World};

pub(crate) const ID: &str = "I6";
pub(crate) const STATEMENT: &str =
    "0 <= reserved <= on_hand for every product, and the database insists";

const OUT_OF_BOUNDS: &str = "select 'product/' || sku || ' has ' || reserved || ' of ' || on_hand
        || ' pieces reserved', count(*) over ()
    from products where not (0 <= reserved and reserved <= on_hand) order by 1 limit 5";

/// Without the constraint the sentence above would be true by luck.
const UNGUARDED: &str =
    "select 'table products has no constraint that keeps reserved within bounds',
        1::bigint
    where not exists (
        select from pg_constraint
        where conrelid = 'products'::regclass and contype = 'c' and convalidated
          and pg_get_constraintdef(oid) like '%0 <= reserved%reserved <= on_hand%')";

pub(crate) async fn check(world: &World) -> anyhow::Result<Findings> {
    let pool = world.databases.of(Service::Inventory);
    let mut findings = found(pool, offenders(OUT_OF_BOUNDS)).await?;
    findings.add(found(pool, offenders(UNGUARDED)).await?);
    findings.looked_at(count(pool, "select count(*) from products").await?);
    Ok(findings)
}
