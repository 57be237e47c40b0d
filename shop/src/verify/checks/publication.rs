//! I5: published means confirmed.

use super::super::findings::{Coverage, Findings};
use super::super::tables::{count, found, offenders};
use super::super::world::{Service, World};

pub(crate) const ID: &str = "I5";
pub(crate) const STATEMENT: &str =
    "an event counts as published only after the broker's own confirm for it";

/// The relay forgets a refusal when the confirm comes. Who marks a row otherwise does not.
const REFUSED: &str = "select type || ' of ' || subject || ' (event ' || event_id
        || ') counts as published, but the last word on it is: ' || last_error, count(*) over ()
    from messaging.outbox where published_at is not null and last_error is not null
    order by 1 limit 5";

const PUBLISHED: &str = "select count(*) from messaging.outbox where published_at is not null";

pub(crate) async fn check(world: &World) -> anyhow::Result<Findings> {
    let mut findings = Findings {
        coverage: Coverage::Partial(
            "stored state does not show the confirm itself; an event that was marked without one \
             shows as lost in I2",
        ),
        ..Findings::new()
    };
    for service in Service::ALL {
        let pool = world.databases.of(service);
        findings.looked_at(count(pool, PUBLISHED).await?);
        findings.add(found(pool, offenders(REFUSED)).await?);
    }
    Ok(findings)
}
