//! I16: every message is somewhere.

use std::time::{Duration, Instant};

use super::super::Facts;
use super::super::accounting::{Books, books};
use super::super::broker::Queues;
use super::super::findings::Findings;
use super::super::world::{Service, World};

pub(crate) const ID: &str = "I16";
pub(crate) const STATEMENT: &str = "per queue: published = processed + waiting + retrying + \
     dead letters; the broker dropped nothing";

/// The broker takes its figures every 5 s when nothing else is said.
const FIGURES_AGE: Duration = Duration::from_secs(6);
const PAUSE: Duration = Duration::from_millis(500);

pub(crate) async fn check(world: &World, facts: &Facts) -> anyhow::Result<Findings> {
    let mut look = look(world, facts.queues.as_ref().ok()).await?;
    let until = Instant::now() + FIGURES_AGE;
    // The tables are as of now and the broker's figures are not: what they disagree on counts only if
    // they still do when the figures are of a later time.
    while !look.faults.is_empty() && facts.queues.is_ok() && Instant::now() < until {
        tokio::time::sleep(PAUSE).await;
        let Ok(queues) = world.broker.queues().await else { break };
        look = self::look(world, Some(&queues)).await?;
    }
    let mut findings = Findings::new();
    findings.looked_at(look.published);
    for fault in look.faults {
        findings.violation(|| fault);
    }
    match &facts.queues {
        Err(why) => findings.unknown(why),
        Ok(queues) if queues.dropped > 0 => {
            findings
                .violation(|| format!("the broker dropped {} unroutable messages", queues.dropped));
        }
        Ok(_) => {}
    }
    Ok(findings)
}

struct Look {
    /// Events, counted once for each service that they are for.
    published: u64,
    faults: Vec<String>,
}

/// Compares the tables with what `queues` hold, if that is known.
async fn look(world: &World, queues: Option<&Queues>) -> anyhow::Result<Look> {
    let mut look = Look { published: 0, faults: Vec::new() };
    for consumer in Service::ALL {
        let books = books(world, consumer).await?;
        look.published += books.published.unsigned_abs();
        let in_broker = queues.map(|queues| {
            i64::try_from(queues.waiting(consumer) + queues.parked(consumer)).unwrap_or(i64::MAX)
        });
        look.faults.extend(fault(consumer, books, in_broker));
    }
    Ok(look)
}

/// `in_broker` are the messages in the consumer's queues; none when nobody knows.
fn fault(consumer: Service, books: Books, in_broker: Option<i64>) -> Option<String> {
    let outstanding = books.outstanding();
    let sound = match in_broker {
        Some(in_broker) => outstanding == in_broker,
        // Some may be in the broker, but not fewer than none.
        None => outstanding >= 0,
    };
    let Books { published, processed, parked } = books;
    (!sound).then(|| {
        let in_broker = in_broker.map_or_else(|| "unknown".to_owned(), |n| n.to_string());
        format!(
            "{consumer}.in: published {published}, processed {processed}, dead letters {parked}, \
             in the broker {in_broker}"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_published_is_processed_parked_or_in_the_broker() {
        let books = Books { published: 10, processed: 7, parked: 1 };
        let fault = |in_broker| fault(Service::Email, books, in_broker);
        assert_eq!(fault(Some(2)), None);
        assert_eq!(fault(None), None);
        assert!(fault(Some(1)).is_some() && fault(Some(3)).is_some());
        let doubled = Books { processed: 12, ..books };
        assert!(super::fault(Service::Email, doubled, None).is_some());
    }
}
