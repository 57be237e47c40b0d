//! What holds when a world has come to rest.

use std::collections::BTreeMap;

use anyhow::{Context as _, ensure};
use envelope::Envelope;
use messaging::simulation::World;
use sandbox::gateway::Gateway;
use sandbox::smtp::Mailbox;
use shop::verify::{self, Broker, Service, check};

use crate::databases::Databases;

/// Every invariant of `shop verify`, and what only a simulation can see: the order in which events left,
/// the mails, and that nothing was parked.
pub(crate) async fn hold(
    world: &World,
    databases: &Databases,
    gateway: &Gateway,
    mailbox: &Mailbox,
) -> anyhow::Result<String> {
    let pools = verify::Databases::over(|service| databases.of(service).clone());
    let gateway = verify::Gateway::with(&gateway.charges());
    let shop = verify::World::new(pools, Broker::idle(), gateway);
    let shop = verify::World { clock: world.time().clock(), ..shop };
    for verdict in check(&shop).await? {
        let (id, statement, findings) = (verdict.id, verdict.statement, &verdict.findings);
        ensure!(findings.violations == 0, "{id} ({statement}): {}", findings.examples.join("; "));
    }
    left_in_order(world)?;
    nothing_is_parked(databases).await?;
    mails_went_out(databases, mailbox).await?;
    ending(databases).await
}

/// P5: the events of one aggregate leave in version order. Once more is no harm, sooner is.
fn left_in_order(world: &World) -> anyhow::Result<()> {
    let mut last: BTreeMap<String, u32> = BTreeMap::new();
    for accepted in world.broker().accepted() {
        let envelope = Envelope::decode(&accepted.content.body).context("an envelope")?;
        let (subject, version) = (envelope.subject.to_string(), envelope.aggversion);
        let before = last.entry(subject.clone()).or_default();
        ensure!(version <= *before + 1, "version {version} of {subject} left after {before}");
        *before = version.max(*before);
    }
    Ok(())
}

async fn nothing_is_parked(databases: &Databases) -> anyhow::Result<()> {
    for service in Service::ALL {
        let parked: Vec<(String, String)> =
            sqlx::query_as("select reason_code, reason from messaging.dead_letter")
                .fetch_all(databases.of(service))
                .await?;
        ensure!(parked.is_empty(), "parked by {service}: {parked:?}");
    }
    Ok(())
}

/// Each mail that counts as sent is in the mailbox, and no other one.
async fn mails_went_out(databases: &Databases, mailbox: &Mailbox) -> anyhow::Result<()> {
    let mails: Vec<(String, String)> =
        sqlx::query_as("select message_id, status from emails order by message_id")
            .fetch_all(databases.of(Service::Email))
            .await?;
    for (message_id, status) in &mails {
        let arrived = mailbox.by_message_id(message_id).len();
        ensure!(
            status == "sent" && arrived > 0,
            "mail {message_id} is {status}, came {arrived} times"
        );
    }
    let known = |id: &str| mails.iter().any(|(message_id, _)| message_id.contains(id));
    for mail in mailbox.all() {
        let id = mail.message_id.as_deref().unwrap_or_default();
        ensure!(!id.is_empty() && known(id), "a mail that nobody wrote: {id}");
    }
    Ok(())
}

/// How the one order ended; that it did is an invariant, too.
async fn ending(databases: &Databases) -> anyhow::Result<String> {
    let sql = "select status, coalesce(cancel_reason, '') from orders";
    let orders: Vec<(String, String)> =
        sqlx::query_as(sql).fetch_all(databases.of(Service::Order)).await?;
    let [(status, reason)] = orders.as_slice() else { anyhow::bail!("{} orders", orders.len()) };
    ensure!(status != "pending", "the order is pending");
    Ok(if reason.is_empty() { status.clone() } else { reason.clone() })
}
