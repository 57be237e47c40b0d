//! I16: every message is somewhere.

use super::super::Facts;
use super::super::accounting::{Books, books};
use super::super::findings::Findings;
use super::super::world::{Service, World};

pub(crate) const ID: &str = "I16";
pub(crate) const STATEMENT: &str = "per queue: published = processed + waiting + retrying + \
     dead letters; the broker dropped nothing";

pub(crate) async fn check(world: &World, facts: &Facts) -> anyhow::Result<Findings> {
    let mut findings = Findings::new();
    for consumer in Service::ALL {
        let books = books(world, consumer).await?;
        findings.looked_at(books.published.unsigned_abs());
        let in_broker = facts.queues.as_ref().ok().map(|queues| {
            i64::try_from(queues.waiting(consumer) + queues.parked(consumer)).unwrap_or(i64::MAX)
        });
        if let Some(fault) = fault(consumer, books, in_broker) {
            findings.violation(|| fault);
        }
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
