//! One look at everything: what each service says of itself, and what the broker says of its queues.

use std::time::{Duration, Instant};

use futures_util::future::join_all;

use super::metrics::Metrics;
use crate::commands::client::Addresses;
use crate::probe::{Probe, Readiness};
use crate::verify::{Broker, Depths, Service};

/// More than a service takes to find out that a dependency of its own does not answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(3);

/// Where to look.
pub(super) struct Sources {
    probe: Probe,
    services: Vec<(Service, String)>,
    broker: Broker,
}

/// What was seen.
pub(super) struct Reading {
    pub(super) services: Vec<ServiceReading>,
    /// The queues, or why nobody knows.
    pub(super) queues: Result<Depths, String>,
}

/// What was seen of a service.
pub(super) struct ServiceReading {
    pub(super) service: Service,
    pub(super) readiness: Readiness,
    /// Its metrics and when they came, if they came.
    pub(super) metrics: Option<(Instant, Metrics)>,
}

impl Sources {
    /// Everything at its address.
    ///
    /// # Errors
    /// When the management address has another form, or there is no HTTP client.
    pub(super) fn new(addresses: &Addresses) -> anyhow::Result<Self> {
        let services = Service::ALL.map(|service| (service, addresses.service(service))).to_vec();
        let broker = Broker::new(&addresses.management(), addresses.vhost())?;
        Ok(Self { probe: Probe::new(ANSWER_WITHIN)?, services, broker })
    }

    /// Looks at all of it at the same time, so that what does not answer holds up nothing else.
    pub(super) async fn read(&self) -> Reading {
        let (services, queues) = tokio::join!(self.services(), self.queues());
        Reading { services, queues }
    }

    /// Looks at the services alone.
    pub(super) async fn services(&self) -> Vec<ServiceReading> {
        join_all(self.services.iter().map(|(service, url)| self.ask(*service, url))).await
    }

    async fn ask(&self, service: Service, url: &str) -> ServiceReading {
        let (ready, metrics) = (format!("{url}/health/ready"), format!("{url}/metrics"));
        let metrics = async {
            let text = self.probe.text(&metrics).await;
            text.map(|text| (Instant::now(), Metrics::read(&text)))
        };
        let (readiness, metrics) = tokio::join!(self.probe.readiness(&ready), metrics);
        ServiceReading { service, readiness, metrics }
    }

    async fn queues(&self) -> Result<Depths, String> {
        match tokio::time::timeout(ANSWER_WITHIN, self.broker.depths()).await {
            Ok(answer) => answer.map_err(|error| in_a_line(&error)),
            Err(_) => Err("the broker's management API does not answer in time".to_owned()),
        }
    }
}

/// What failed, and the reason at the bottom of it; what lies between repeats the address.
fn in_a_line(error: &anyhow::Error) -> String {
    let (what, why) = (error.to_string(), error.root_cause().to_string());
    if what == why { what } else { format!("{what}: {why}") }
}
