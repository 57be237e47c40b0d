//! Exchanges, queues and bindings of every service.

use anyhow::Context as _;
use messaging::topology::Topology;
use messaging::transport::rabbitmq::{RabbitMq, Survey};

use super::bindings;
use super::told::Told;
use crate::Output;
use crate::services::SERVICES;

/// What the services need of a broker, and what of it is missing.
pub(super) struct Found<'a> {
    amqp_url: &'a str,
    broker: RabbitMq,
    survey: Survey,
}

/// Makes what the services need of the broker and is not there; gives what it made. Looks at all of
/// it before it makes any.
///
/// # Errors
/// When the broker does not answer, or something exists with other properties.
pub(crate) async fn migrate(amqp_url: &str) -> anyhow::Result<Vec<String>> {
    let mut told = Told::silently();
    found(amqp_url).await?.make(&mut told).await?;
    Ok(told.all())
}

/// Looks at the broker and changes nothing. With a management address, bindings are looked at, too.
///
/// # Errors
/// When the broker does not answer, or something exists with other properties.
pub(super) async fn look<'a>(
    amqp_url: &'a str,
    management_url: Option<&str>,
    out: &Output,
) -> anyhow::Result<Found<'a>> {
    let mut found = found(amqp_url).await?;
    if let Some(management_url) = management_url {
        let bound = bindings::all(management_url, vhost(amqp_url)).await?;
        for unwanted in found.survey.with_bindings(bound) {
            out.note(format_args!(
                "no service wants this any more, and it is left alone: {unwanted}"
            ));
        }
    }
    Ok(found)
}

async fn found(amqp_url: &str) -> anyhow::Result<Found<'_>> {
    let broker = RabbitMq::new(amqp_url, "shop migrate", "shop");
    let topologies: Vec<Topology> = SERVICES
        .iter()
        .map(|service| Topology {
            service: service.name.to_owned(),
            bindings: (service.bindings)(),
        })
        .collect();
    let survey = broker.survey(&topologies).await.with_context(|| at(amqp_url))?;
    Ok(Found { amqp_url, broker, survey })
}

impl Found<'_> {
    /// Makes what is missing.
    pub(super) async fn make(self, told: &mut Told<'_>) -> anyhow::Result<()> {
        let made = self.broker.make(&self.survey, |one| told.change(one)).await;
        made.with_context(|| at(self.amqp_url))
    }
}

fn at(url: &str) -> String {
    format!("RabbitMQ at {}", place(url))
}

/// Host, port and vhost of the address: no user, no password.
fn place(url: &str) -> &str {
    url.rsplit('@').next().unwrap_or_default().split('?').next().unwrap_or_default()
}

/// The vhost, percent-encoded as it is in the address; `/` where it names none.
fn vhost(url: &str) -> &str {
    let place = place(url);
    let place = place.split_once("://").map_or(place, |(_, rest)| rest);
    place.split_once('/').map_or("%2F", |(_, vhost)| vhost)
}

#[cfg(test)]
mod tests {
    use super::{place, vhost};

    #[test]
    fn an_address_is_shown_without_its_password() {
        assert_eq!(
            place("amqp://shop:secret@127.0.0.1:5672/shop?heartbeat=10"),
            "127.0.0.1:5672/shop"
        );
    }

    #[test]
    fn the_vhost_is_the_path_of_the_address() {
        assert_eq!(vhost("amqp://shop:secret@h:5672/shop?heartbeat=10"), "shop");
        assert_eq!(vhost("amqp://h:5672/%2f"), "%2f");
        assert_eq!(vhost("amqp://h:5672"), "%2F");
    }
}
