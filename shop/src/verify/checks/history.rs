//! I12: how an order came to where it is.

use super::super::findings::Findings;
use super::super::tables::{count, found, offenders};
use super::super::world::{Service, World};

pub(crate) const ID: &str = "I12";
pub(crate) const STATEMENT: &str =
    "an order's history goes pending, then confirmed or cancelled, in versions without a gap";

const STEPS: &str = "with steps as (
        select order_id, version, status,
            lag(version) over w as before, lag(status) over w as came_from
        from order_history window w as (partition by order_id order by version))
    select 'order ' || order_id || ' went from ' || coalesce(came_from || ' ' || before, 'nothing')
        || ' to ' || status || ' ' || version, count(*) over ()
    from steps
    where version <> coalesce(before, 0) + 1
       or not case when came_from is null then status = 'pending'
                   when came_from = 'pending' then status in ('confirmed', 'cancelled')
                   else false end
    order by 1 limit 5";

const ENDS: &str = "with ends as (
        select distinct on (order_id) order_id, version, status
        from order_history order by order_id, version desc)
    select 'order ' || o.id || ' is ' || o.status || ' ' || o.version || ', its history ends with '
        || coalesce(e.status || ' ' || e.version, 'nothing'), count(*) over ()
    from orders o left join ends e on e.order_id = o.id
    where (e.status, e.version) is distinct from (o.status, o.version)
    order by 1 limit 5";

pub(crate) async fn check(world: &World) -> anyhow::Result<Findings> {
    let pool = world.databases.of(Service::Order);
    let mut findings = found(pool, offenders(STEPS)).await?;
    findings.add(found(pool, offenders(ENDS)).await?);
    findings.looked_at(count(pool, "select count(*) from order_history").await?);
    Ok(findings)
}
