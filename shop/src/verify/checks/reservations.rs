//! I7: what is reserved is reserved for somebody.

use super::super::findings::Findings;
use super::super::tables::{count, found, offenders};
use super::super::world::{Service, World};

pub(crate) const ID: &str = "I7";
pub(crate) const STATEMENT: &str = "a product's reserved pieces are those of its live reservations";

const UNEQUAL: &str = "with live as (
        select l.sku, sum(l.quantity)::bigint as pieces
        from reservation_lines l join reservations r using (order_id)
        where r.status = 'reserved' group by l.sku)
    select 'product/' || coalesce(p.sku, l.sku) || ' has ' || coalesce(p.reserved, 0)
        || ' pieces reserved, its live reservations hold ' || coalesce(l.pieces, 0),
        count(*) over ()
    from products p full join live l on l.sku = p.sku
    where coalesce(p.reserved, 0) <> coalesce(l.pieces, 0) order by 1 limit 5";

pub(crate) async fn check(world: &World) -> anyhow::Result<Findings> {
    let pool = world.databases.of(Service::Inventory);
    let mut findings = found(pool, offenders(UNEQUAL)).await?;
    findings.looked_at(count(pool, "select count(*) from products").await?);
    Ok(findings)
}
