//! I1: state and the events that tell of it were committed together.

use super::super::findings::Findings;
use super::super::tables::{count, found, offenders};
use super::super::world::{Service, World};

pub(crate) const ID: &str = "I1";
pub(crate) const STATEMENT: &str = "an aggregate at version n has the events 1 to n, and no others";

/// Aggregates of one table against their events. What was published a month ago may be pruned, from
/// the oldest on: of an aggregate born before then (`$1`) the first events may be gone.
macro_rules! aggregate {
    ($kind:literal, $rows:literal) => {
        concat!(
            "with known as (select '",
            $kind,
            "/' || key as subject, version, born from (",
            $rows,
            ") as aggregates), told as (
                select subject collate \"C\" as subject, count(*) as events,
                    min(aggversion) as low, max(aggversion) as high
                from messaging.outbox where subject like '",
            $kind,
            "/%' group by 1)
            select coalesce(k.subject, t.subject)
                    || coalesce(' is at version ' || k.version, ' does not exist') || ', but has '
                    || coalesce(t.events || ' events up to version ' || t.high, 'no events'),
                count(*) over ()
            from known k full join told t on t.subject = k.subject
            where k.subject is null
               or (t.high is distinct from nullif(k.version, 0)
                   and not (t.high is null and k.born < $1))
               or t.events <> t.high - t.low + 1
               or (t.low <> 1 and k.born >= $1)
            order by 1 limit 5"
        )
    };
}

const AGGREGATES: [(Service, &str); 5] = [
    (
        Service::Order,
        aggregate!(
            "order",
            "select id::text collate \"C\" as key, version, placed_at as born from orders"
        ),
    ),
    (
        Service::Inventory,
        aggregate!("product", "select sku as key, version, created_at as born from products"),
    ),
    (
        Service::Inventory,
        aggregate!(
            "reservation",
            "select order_id::text collate \"C\" as key, version, created_at as born
            from reservations"
        ),
    ),
    (
        Service::Payment,
        aggregate!(
            "payment",
            "select order_id::text collate \"C\" as key, version, created_at as born
            from payments"
        ),
    ),
    (
        Service::Email,
        aggregate!(
            "email",
            "select id::text collate \"C\" as key,
                case when status = 'pending' then 0 else 1 end as version, created_at as born
            from emails"
        ),
    ),
];

/// Events of a kind of aggregate that nobody above looks at.
const OTHERS: &str =
    "select type || ' of ' || subject || ' is an event of no aggregate of this service',
        count(*) over ()
    from messaging.outbox where split_part(subject, '/', 1) <> all($1)
    order by 1 limit 5";

const EVENTS: &str = "select count(*) from messaging.outbox";

pub(crate) async fn check(world: &World) -> anyhow::Result<Findings> {
    let mut findings = Findings::new();
    for (service, sql) in AGGREGATES {
        let pool = world.databases.of(service);
        findings.add(found(pool, offenders(sql).bind(world.remembered_since())).await?);
    }
    for service in Service::ALL {
        let pool = world.databases.of(service);
        findings.add(found(pool, offenders(OTHERS).bind(kinds(service))).await?);
        findings.looked_at(count(pool, EVENTS).await?);
    }
    Ok(findings)
}

/// The kinds of aggregates that a service tells of.
fn kinds(service: Service) -> &'static [&'static str] {
    match service {
        Service::Order => &["order"],
        Service::Inventory => &["product", "reservation"],
        Service::Payment => &["payment"],
        Service::Email => &["email"],
        Service::Audit => &[],
    }
}
