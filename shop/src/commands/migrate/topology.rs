//! Exchanges, queues and bindings of every service.

use anyhow::Context as _;
use messaging::topology::Topology;
use messaging::transport::Transport as _;
use messaging::transport::rabbitmq::RabbitMq;

use crate::services::SERVICES;

/// Makes what the services need of the broker and is not there; gives what it made.
///
/// # Errors
/// When the broker does not answer, or something exists with other properties.
pub(crate) async fn migrate(amqp_url: &str) -> anyhow::Result<Vec<String>> {
    let broker = RabbitMq::new(amqp_url, "shop migrate", "shop");
    let mut changes = Vec::new();
    for service in SERVICES {
        let topology =
            Topology { service: service.name.to_owned(), bindings: (service.bindings)() };
        let made = broker.provision(&topology).await;
        changes.extend(made.with_context(|| format!("RabbitMQ at {}", place(amqp_url)))?);
    }
    Ok(changes)
}

/// Host, port and vhost of the address: no user, no password.
fn place(url: &str) -> &str {
    url.rsplit('@').next().unwrap_or_default().split('?').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::place;

    #[test]
    fn an_address_is_shown_without_its_password() {
        assert_eq!(
            place("amqp://shop:secret@127.0.0.1:5672/shop?heartbeat=10"),
            "127.0.0.1:5672/shop"
        );
    }
}
