//! Waiting until nothing is under way.

use std::time::{Duration, Instant};

use super::accounting::books;
use super::tables::count;
use super::world::{Service, World};

const SHORTEST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// Waits up to `within` until nothing is under way any more: no event waits to be published, no
/// message to be handled, no task to be done. Returns what still is, when the time is over.
///
/// # Errors
/// When a database cannot be read. A broker that does not answer is left out: what it holds shows
/// in the tables.
pub async fn settle(world: &World, within: Duration) -> anyhow::Result<Option<String>> {
    let until = Instant::now() + within;
    let mut pause = SHORTEST_PAUSE;
    loop {
        let looked = Instant::now();
        let Some(busy) = busy(world).await? else { return Ok(None) };
        // A look that takes long must not be all that the databases do.
        let rest = pause.max(looked.elapsed());
        if Instant::now() + rest >= until {
            return Ok(Some(busy));
        }
        tokio::time::sleep(rest).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// The first thing found that is under way: what is cheap to ask first.
async fn busy(world: &World) -> anyhow::Result<Option<String>> {
    for service in Service::ALL {
        let pending = count(world.databases.of(service), PENDING).await?;
        if pending > 0 {
            return Ok(Some(format!("{pending} events wait in {service}'s outbox")));
        }
    }
    for service in Service::ALL {
        let replays = count(world.databases.of(service), REPLAYS).await?;
        if replays > 0 {
            return Ok(Some(format!(
                "{replays} replays of {service}'s dead letters are under way"
            )));
        }
    }
    for (service, sql, what) in TASKS {
        let open = count(world.databases.of(service), sql).await?;
        if open > 0 {
            return Ok(Some(format!("{open} {what}")));
        }
    }
    if let Ok(queues) = world.broker.queues().await
        && let Some((queue, messages)) = queues.first_busy()
    {
        return Ok(Some(format!("{messages} messages are in {queue}")));
    }
    // The broker's figures are some seconds old, the tables are not.
    for consumer in Service::ALL {
        let outstanding = books(world, consumer).await?.outstanding();
        if outstanding > 0 {
            return Ok(Some(format!("{outstanding} events have not reached {consumer}")));
        }
    }
    Ok(None)
}

/// Without those that are to leave later by their own wish.
const PENDING: &str = "select count(*) from messaging.outbox
    where published_at is null
      and (not_before is null or not_before <= now() or last_error is not null)";

/// Jobs, and letters that will have a second chance by themselves and are in no job yet.
const REPLAYS: &str = "select (select count(*) from messaging.replay_job where state = 'running')
    + (select count(*) from messaging.dead_letter
        where state = 'parked' and reason_code = 'delivery_limit' and not second_chance)";

/// What leased tasks still have to do.
const TASKS: [(Service, &str, &str); 2] = [
    (
        Service::Payment,
        "select count(*) from payments where next_attempt_at is not null",
        "payments wait for the gateway",
    ),
    (
        Service::Email,
        "select count(*) from emails where next_attempt_at is not null",
        "mails wait for the mail server",
    ),
];
