//! I8: pieces neither appear nor vanish.

use super::super::findings::Findings;
use super::super::tables::{count, found, offenders};
use super::super::world::{Service, World};

pub(crate) const ID: &str = "I8";
pub(crate) const STATEMENT: &str =
    "initial + restocked + adjusted - shipped = on_hand, and what was shipped is what was ordered";

const UNEQUAL: &str = "with moved as (
        select sku, sum(delta)::bigint as pieces, count(*) filter (where kind = 'initial') as firsts
        from stock_movements group by sku)
    select 'product/' || p.sku || ' has ' || p.on_hand || ' pieces on hand, its movements come to '
        || coalesce(m.pieces, 0) || ' from ' || coalesce(m.firsts, 0) || ' initial',
        count(*) over ()
    from products p left join moved m using (sku)
    where p.on_hand <> coalesce(m.pieces, 0) or m.firsts is distinct from 1 order by 1 limit 5";

const SHIPPED_OTHERWISE: &str = "with ordered as (
        select l.order_id, l.sku, l.quantity
        from reservation_lines l join reservations r using (order_id) where r.status = 'shipped'),
    moved as (select order_id, sku, -delta as quantity from stock_movements where kind = 'shipped')
    select 'reservation/' || coalesce(o.order_id, m.order_id) || ' is for '
        || coalesce(o.quantity, 0) || ' pieces of ' || coalesce(o.sku, m.sku) || ', '
        || coalesce(m.quantity, 0) || ' were shipped', count(*) over ()
    from ordered o full join moved m on m.order_id = o.order_id and m.sku = o.sku
    where o.quantity is distinct from m.quantity order by 1 limit 5";

pub(crate) async fn check(world: &World) -> anyhow::Result<Findings> {
    let pool = world.databases.of(Service::Inventory);
    let mut findings = found(pool, offenders(UNEQUAL)).await?;
    findings.add(found(pool, offenders(SHIPPED_OTHERWISE)).await?);
    findings.looked_at(count(pool, "select count(*) from stock_movements").await?);
    Ok(findings)
}
