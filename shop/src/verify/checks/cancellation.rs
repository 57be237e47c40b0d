//! I11: cancelled means cancelled, everywhere.

use futures_util::TryStreamExt as _;
use uuid::Uuid;

use super::super::Facts;
use super::super::findings::Findings;
use super::super::merge::{Side, merge};
use super::super::tables::rows;
use super::super::world::{Service, World};

pub(crate) const ID: &str = "I11";
pub(crate) const STATEMENT: &str =
    "a cancelled order holds no stock and no money, and its last mail does not confirm it";

const CANCELLED: &str = "select id from orders where status = 'cancelled' order by id";
const HOLDING: &str = "select order_id, status from reservations
    where status in ('reserved', 'shipped') order by order_id";
/// Mails that confirm, and that no later mail takes back.
const CONFIRMING: &str = "select order_id, status from emails c
    where template = 'order_confirmed' and status <> 'failed'
      and not exists (select from emails x where x.order_id = c.order_id
          and x.template = 'order_cancelled' and x.created_at >= c.created_at)
    order by order_id";

pub(crate) async fn check(world: &World, facts: &Facts) -> anyhow::Result<Findings> {
    let mut findings = against(world, Service::Inventory, HOLDING, "its goods are").await?;
    let mails = against(world, Service::Email, CONFIRMING, "its confirmation mail is").await?;
    // The same orders again.
    findings.add(Findings { checked: 0, ..mails });
    match &facts.ledger {
        Err(why) => findings.unknown(why),
        Ok(ledger) => {
            let mut cancelled = rows::<(Uuid,)>(world.databases.of(Service::Order), CANCELLED);
            while let Some((id,)) = cancelled.try_next().await? {
                let held = ledger.account(id).net_minor;
                if held != 0 {
                    findings.violation(|| format!("order {id} is cancelled, {held} is captured"));
                }
            }
        }
    }
    Ok(findings)
}

/// Cancelled orders that have what they must not have.
async fn against(
    world: &World,
    service: Service,
    sql: &'static str,
    what: &str,
) -> Result<Findings, sqlx::Error> {
    let cancelled = rows::<(Uuid,)>(world.databases.of(Service::Order), CANCELLED);
    let cancelled = cancelled.map_ok(|(id,)| (id, ()));
    let mut findings = Findings::new();
    merge(
        cancelled,
        rows::<(Uuid, String)>(world.databases.of(service), sql),
        |id, side| match side {
            Side::Right(_) => {}
            Side::Left(()) => findings.looked_at(1),
            Side::Both((), status) => {
                findings.looked_at(1);
                findings.violation(|| format!("order {id} is cancelled, {what} {status}"));
            }
        },
    )
    .await?;
    Ok(findings)
}
