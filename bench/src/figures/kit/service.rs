//! One service: its database, its kit, its tasks, all in this process.

use std::time::{Duration, Instant};

use anyhow::ensure;
use envelope::signature::{KeyDocument, KeyRing, KeyState, Signer};
use envelope::{Clock, Identity};
use messaging::transport::rabbitmq::RabbitMq;
use messaging::{Handlers, Messaging, Pool};
use sqlx::PgPool;
use testkit::{Database, Vhost};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::stage::Stage;

const NAMESPACE: &str = "shop";
const ENVIRONMENT: &str = "bench";
/// Connections of a service to its database, as the shop's services have.
const CONNECTIONS: u32 = 10;
/// How long a drain may make no end.
const STUCK_AFTER: Duration = Duration::from_secs(300);
/// Between two looks whether it has: seldom enough to cost nothing.
const LOOK: Duration = Duration::from_millis(100);
/// Who signs.
const SIGNING: [&str; 2] = ["order", "inventory"];
/// Who did, and may not any more.
const REVOKED: &str = "old";

/// A service with everything but its tasks running.
pub(crate) struct Service {
    /// For what no service does, without a service's limits of time.
    pub(crate) pg: PgPool,
    pub(crate) pool: Pool,
    pub(crate) kit: Messaging,
    database: Database,
}

impl Service {
    /// A service with a new database.
    ///
    /// # Errors
    /// When it cannot be made, or the broker's part of it.
    pub(crate) async fn new(
        stage: &Stage,
        vhost: &Vhost,
        name: &str,
        handlers: Handlers,
    ) -> anyhow::Result<Self> {
        let database = stage.postgres.database("messaging").await;
        let own = messaging::connect_lazily(database.local_url(), name, CONNECTIONS)?;
        let pool = Pool::new(own, identity(name), signer(name), Clock::system());
        let broker = RabbitMq::new(vhost.amqp_url(), name, NAMESPACE);
        let kit = Messaging::new(pool.clone(), broker, key_ring()?, handlers);
        kit.provision().await?;
        Ok(Self { pg: database.pool(), pool, kit, database })
    }

    /// The address of its database.
    pub(crate) fn url(&self) -> &str {
        self.database.local_url()
    }

    /// Runs the service until nothing waits in its outbox.
    ///
    /// # Errors
    /// When it makes no end, or a server does not answer.
    pub(crate) async fn drain(&self) -> anyhow::Result<()> {
        let running = self.run();
        self.until_drained().await?;
        running.stop().await
    }

    /// Waits until nothing waits in its outbox.
    ///
    /// # Errors
    /// When it makes no end, or the database does not answer.
    pub(crate) async fn until_drained(&self) -> anyhow::Result<()> {
        let begun = Instant::now();
        let first = "select seq from messaging.outbox where published_at is null
            order by seq + 0 limit 1";
        while sqlx::query(first).fetch_optional(&self.pg).await?.is_some() {
            ensure!(begun.elapsed() < STUCK_AFTER, "the relay makes no end");
            tokio::time::sleep(LOOK).await;
        }
        Ok(())
    }

    /// Runs all tasks of the kit.
    #[expect(clippy::disallowed_methods, reason = "the bench waits for its tasks itself")]
    pub(crate) fn run(&self) -> Running {
        let stop = CancellationToken::new();
        let begin = |task: messaging::Task| tokio::spawn((task.run)(stop.clone()));
        let tasks = self.kit.tasks().into_iter().map(begin).collect();
        Running { stop, tasks }
    }
}

/// The tasks of a service.
#[must_use = "they run until they are stopped"]
pub(crate) struct Running {
    stop: CancellationToken,
    tasks: Vec<JoinHandle<anyhow::Result<()>>>,
}

impl Running {
    /// Stops them in order and waits.
    ///
    /// # Errors
    /// When one of them has failed.
    pub(crate) async fn stop(mut self) -> anyhow::Result<()> {
        self.stop.cancel();
        for task in self.tasks.drain(..) {
            task.await??;
        }
        Ok(())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

/// Who a service publishes as.
pub(crate) fn identity(service: &str) -> Identity {
    Identity::new(NAMESPACE, ENVIRONMENT, service)
}

/// The signing key of a service: its name, as often as it fits.
pub(crate) fn signer(service: &str) -> Signer {
    let mut seed = [0; 32];
    for (to, from) in seed.iter_mut().zip(service.bytes().cycle()) {
        *to = from;
    }
    Signer::from_seed(format!("{service}-1"), seed)
}

fn key_ring() -> anyhow::Result<KeyRing> {
    let mut keys: Vec<_> =
        SIGNING.iter().map(|service| signer(service).public_for(&identity(service))).collect();
    let mut revoked = signer(REVOKED).public_for(&identity("order"));
    revoked.state = KeyState::Revoked;
    keys.push(revoked);
    Ok(KeyRing::new(&KeyDocument { keys })?)
}
