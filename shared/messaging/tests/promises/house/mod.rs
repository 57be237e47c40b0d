//! Two services with a database each, on a vhost of the test's own.

mod clock;
mod events;
mod faulty;
mod figures;
mod handlers;
mod ledger;
mod proxy;
mod service;
mod wire;

use std::time::Duration;

use envelope::Identity;
use envelope::signature::{KeyDocument, KeyRing, KeyState, PublicKey, Signer};
use messaging::transport::rabbitmq::RabbitMq;
use messaging::{ConsumerSettings, Handlers};
use testkit::{Broker, Vhost, eventually};

pub use clock::Shifted;
pub use events::{Booked, Dimmed, Lit, Mood};
pub use faulty::{Faults, Faulty};
pub use figures::{counted, counters, gauged};
pub use handlers::{Book, BookAll, CountUp, Library, LockLamps, Relight, Switch};
pub use ledger::Entry;
pub use proxy::Proxy;
pub use service::{Running, Service, eventually_pending};
pub use wire::{Raw, Wire, header};

pub const NAMESPACE: &str = "house";
/// For anything that takes no time by itself.
pub const SOON: Duration = Duration::from_secs(20);

/// A broker's vhost and who may speak on it.
pub struct House {
    pub vhost: Vhost,
    pub clock: Shifted,
    /// Where the services think that the broker is.
    amqp_url: String,
    keys: Vec<PublicKey>,
}

impl House {
    /// On the broker that all tests share.
    pub async fn new() -> Self {
        Self::at(Vhost::new().await)
    }

    /// On a broker of the test's own.
    pub async fn on(broker: &Broker) -> Self {
        Self::at(broker.vhost().await)
    }

    /// On the shared broker, behind a proxy that only the services go through.
    pub async fn behind_a_proxy() -> (Self, Proxy) {
        let mut house = Self::new().await;
        let (login, rest) = house.amqp_url.split_once('@').unwrap();
        let (server, path) = rest.split_once('/').unwrap();
        let proxy = Proxy::to(server.parse().unwrap()).await;
        house.amqp_url = format!("{login}@127.0.0.1:{}/{path}", proxy.port);
        (house, proxy)
    }

    fn at(vhost: Vhost) -> Self {
        log();
        figures::install();
        let public = |service: &str| signer(service).public_for(&identity(service));
        let mut old = signer("old").public_for(&identity("lamp"));
        old.state = KeyState::Revoked;
        let keys = vec![public("lamp"), public("ledger"), old];
        let amqp_url = vhost.amqp_url().to_owned();
        Self { vhost, clock: Shifted::default(), amqp_url, keys }
    }

    /// The service that only publishes.
    pub async fn lamp(&self) -> Service {
        Service::new(self, "lamp", Handlers::new()).await
    }

    /// A service that books what it hears of with `switch` deciding how.
    pub async fn ledger(&self, switch: &Switch) -> Service {
        Service::new(self, "ledger", Handlers::new().on(Book(switch.clone()))).await
    }

    /// As [`ledger`](Self::ledger), provisioned and running.
    pub async fn running_ledger(&self, switch: &Switch) -> (Service, Running) {
        let ledger = self.ledger(switch).await;
        ledger.provision().await;
        let running = ledger.run();
        (ledger, running)
    }

    pub fn transport(&self, service: &str) -> RabbitMq {
        let confirm_timeout = Duration::from_secs(3);
        RabbitMq::new(&self.amqp_url, service, NAMESPACE).confirm_timeout(confirm_timeout)
    }

    pub fn key_ring(&self) -> KeyRing {
        KeyRing::new(&KeyDocument { keys: self.keys.clone() }).unwrap()
    }

    /// Lets a ledger handle all that was sent before, stops it, and sees that everything is settled.
    pub async fn finish(&self, ledger: &Service, running: Vec<Running>) {
        let last = format!("last-{}", ledger.pool.new_id());
        self.wire().await.publish("events", "lamp.lit.v1", &Raw::of(&Lit::new(&last, 1), 1)).await;
        let pg = &ledger.pg;
        eventually(SOON, || async {
            sqlx::query("delete from entry where lamp = $1")
                .bind(&last)
                .execute(pg)
                .await
                .unwrap()
                .rows_affected()
                == 1
        })
        .await;
        if running.len() > 1 {
            // Whoever handled the last message, another may still hold some from before it.
            eventually(SOON, || async {
                let queue = self.vhost.queue("ledger.in").await.unwrap();
                queue.ready + queue.unacked == 0
            })
            .await;
        }
        for one in running {
            one.stop().await;
        }
        assert_eq!(self.vhost.depth("ledger.in").await, Some(0), "something was not settled");
    }

    /// From now on `spy` gets a copy of whatever takes the first rung of the ledger's ladder.
    pub async fn spy_on_retries(&self) -> Wire {
        let wire = self.wire().await;
        wire.queue("spy", &[]).await;
        wire.bind_to("retry", "spy", "ledger.retry.1s").await;
        wire
    }

    /// A connection for what no service would do.
    pub async fn wire(&self) -> Wire {
        Wire::connect(self.vhost.amqp_url()).await
    }
}

pub fn identity(service: &str) -> Identity {
    Identity::new(NAMESPACE, "test", service)
}

/// The signing key of a service: its name, as often as it fits.
pub fn signer(service: &str) -> Signer {
    let mut seed = [0; 32];
    for (to, from) in seed.iter_mut().zip(service.bytes().cycle()) {
        *to = from;
    }
    Signer::from_seed(format!("{service}-1"), seed)
}

/// One message per transaction.
pub fn one_by_one() -> ConsumerSettings {
    ConsumerSettings { chunk: 1, ..ConsumerSettings::default() }
}

/// What the kit says stands beside a failed test; RUST_LOG says how much.
fn log() {
    let filter = tracing_subscriber::EnvFilter::builder()
        .with_default_directive(tracing_subscriber::filter::LevelFilter::WARN.into())
        .from_env_lossy()
        .add_directive("lapin=off".parse().unwrap());
    let _ = tracing_subscriber::fmt().with_env_filter(filter).with_test_writer().try_init();
}
