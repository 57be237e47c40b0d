//! A listener that hears every event in the order in which the broker took it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use messaging::topology::Topology;
use messaging::transport::rabbitmq::RabbitMq;
use messaging::transport::{Delivery, Settlement, Transport as _};
use serde_json::Value;

use crate::world::World;

const AT_ONCE: u16 = 100;

/// Hears everything that is published from its start on.
pub struct Tap(Arc<Mutex<Vec<(String, i64)>>>);

impl Tap {
    pub async fn start(world: &World) -> Self {
        let broker = RabbitMq::new(world.vhost.amqp_url(), "tap", "shop");
        let topology = Topology { service: "tap".into(), bindings: vec!["#".into()] };
        broker.provision(&topology).await.unwrap();
        let mut subscription = broker.subscribe(&topology, AT_ONCE).await.unwrap();
        let heard = Arc::new(Mutex::new(Vec::new()));
        let listening = heard.clone();
        tokio::spawn(async move {
            while let Ok(deliveries) = subscription.next(AT_ONCE.into()).await {
                listening.lock().unwrap().extend(deliveries.iter().map(subject_and_version));
                let done = deliveries.into_iter().map(|one| (one, Settlement::Done)).collect();
                subscription.settle(done).await.unwrap();
            }
        });
        Self(heard)
    }

    /// The versions of each aggregate in the order of their first copies: an event that was on its
    /// way when its publisher was killed comes again.
    pub fn versions(&self) -> BTreeMap<String, Vec<i64>> {
        let mut heard = BTreeSet::new();
        let mut versions = BTreeMap::<String, Vec<i64>>::new();
        for one in self.0.lock().unwrap().iter() {
            if heard.insert(one.clone()) {
                versions.entry(one.0.clone()).or_default().push(one.1);
            }
        }
        versions
    }
}

fn subject_and_version(delivery: &Delivery) -> (String, i64) {
    let event: Value = serde_json::from_slice(&delivery.body).unwrap();
    (event["subject"].as_str().unwrap().to_owned(), event["aggversion"].as_i64().unwrap())
}
