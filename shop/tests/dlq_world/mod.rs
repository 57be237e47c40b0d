//! Two services that listen to a third and can handle nothing until they are mended, over databases
//! and a vhost as `shop migrate` makes them.

use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use envelope::signature::{KeyDocument, KeyRing, Signer};
use envelope::{Clock, Event, Identity, Subject};
use messaging::transport::rabbitmq::RabbitMq;
use messaging::{
    Cause, Handler, HandlerError, HandlerResult, Handlers, Messaging, Pool, Received, Tx,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sqlx::PgPool;
use testkit::{PrivatePostgres, Vhost, eventually};
use tokio::process::Command;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

pub(crate) const SOON: Duration = Duration::from_secs(30);

/// Something that happened to an order.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Noted {
    pub(crate) order: Uuid,
}

impl Event for Noted {
    const TYPE: &'static str = "order.noted.v1";

    fn subject(&self) -> Subject {
        Subject::new("order", self.order)
    }
}

/// Handles nothing until it is mended.
struct File(Arc<AtomicBool>);

impl Handler<Noted> for File {
    async fn handle(&self, _: &mut Tx, _: Received<Noted>) -> HandlerResult {
        if self.0.load(Ordering::SeqCst) {
            return Ok(());
        }
        Err(HandlerError::Permanent(anyhow::anyhow!("the drawer is stuck")))
    }
}

/// The services and the servers below them.
pub(crate) struct World {
    postgres: PrivatePostgres,
    vhost: Vhost,
    mended: Arc<AtomicBool>,
    order: Pool,
    stop: CancellationToken,
    tasks: Vec<JoinHandle<anyhow::Result<()>>>,
}

/// How the program ended, and what it said.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Said {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

impl World {
    /// With so many letters parked at payment and as many at email.
    pub(crate) async fn with_parked(letters: usize) -> Self {
        let (postgres, vhost) = (PrivatePostgres::start().await, Vhost::new().await);
        let order = pool(&postgres, "order");
        let (mended, stop) = (Arc::default(), CancellationToken::new());
        let mut world = Self { postgres, vhost, mended, order, stop, tasks: Vec::new() };
        let admin = world.postgres.url("postgres");
        let amqp = world.vhost.amqp_url().to_owned();
        let migrate = ["migrate", "--admin-database-url", &admin, "--amqp-url", &amqp];
        let migrated = world.shop(&migrate).await;
        assert_eq!(migrated.code, 0, "{migrated:?}");
        world.run().await;
        world.publish(letters).await;
        for service in ["payment", "email"] {
            eventually(SOON, || async { world.parked(service).await == letters as i64 }).await;
        }
        world
    }

    /// The services run, again.
    pub(crate) async fn run(&mut self) {
        self.stop = CancellationToken::new();
        let handlers = || Handlers::new().on(File(self.mended.clone()));
        let services = [
            (self.order.clone(), Handlers::new()),
            (pool(&self.postgres, "payment"), handlers()),
            (pool(&self.postgres, "email"), handlers()),
        ];
        for (pool, handlers) in services {
            let name = pool.identity().service().to_owned();
            let broker = RabbitMq::new(self.vhost.amqp_url(), name, "shop");
            let kit = Messaging::new(pool, broker, keys(), handlers);
            kit.provision().await.unwrap();
            let tasks = kit.tasks().into_iter();
            self.tasks.extend(tasks.map(|task| tokio::spawn((task.run)(self.stop.clone()))));
        }
    }

    /// The services end in order.
    pub(crate) async fn stop(&mut self) {
        self.stop.cancel();
        for task in self.tasks.drain(..) {
            task.await.unwrap().unwrap();
        }
    }

    /// From now on everything can be handled.
    pub(crate) fn mend(&self) {
        self.mended.store(true, Ordering::SeqCst);
    }

    async fn publish(&self, events: usize) {
        let cause = Cause::resumed(self.order.new_id(), None, None, None);
        let mut tx = Tx::begin(&self.order, cause).await.unwrap();
        for _ in 0..events {
            tx.publish(&Noted { order: self.order.new_id() }, 1).unwrap();
        }
        tx.commit().await.unwrap();
    }

    pub(crate) async fn count(&self, service: &str, what: &'static str) -> i64 {
        let pg = PgPool::connect_lazy(&self.postgres.url(&format!("shop_{service}"))).unwrap();
        let sql = format!("select count(*) from messaging.{what}");
        let count = sqlx::query_scalar(sqlx::AssertSqlSafe(sql)).fetch_one(&pg).await.unwrap();
        pg.close().await;
        count
    }

    /// Writes a header into every letter of a service, as if it had come with it.
    pub(crate) async fn add_header(&self, service: &str, name: &str, value: &str) {
        let pg = PgPool::connect_lazy(&self.postgres.url(&format!("shop_{service}"))).unwrap();
        let sql = "update messaging.dead_letter
            set headers = headers || jsonb_build_object($1::text, $2::text)";
        sqlx::query(sql).bind(name).bind(value).execute(&pg).await.unwrap();
        pg.close().await;
    }

    pub(crate) async fn parked(&self, service: &str) -> i64 {
        self.count(service, "dead_letter where state = 'parked'").await
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_shop"));
        command.args(arguments).stdin(Stdio::null());
        command.env("ADMIN_DATABASE_URL", self.postgres.url("postgres"));
        command.env("USER", "grace").env("TRACES_URL", "http://traces");
        command
    }

    /// `shop` with these arguments, on this world's databases.
    pub(crate) async fn shop(&self, arguments: &[&str]) -> Said {
        let output = self.command(arguments).output().await.unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        let code = output.status.code().unwrap();
        Said { code, out: text(output.stdout), err: text(output.stderr) }
    }

    /// `shop dlq` with these arguments, for machines.
    pub(crate) async fn dlq(&self, arguments: &[&str]) -> Said {
        self.shop(&[&["dlq", "-o", "json"], arguments].concat()).await
    }

    /// The ids of all letters of a service, in a fixed order.
    pub(crate) async fn ids(&self, service: &str) -> Vec<String> {
        let list = self.dlq(&["ls", "--service", service, "--decided"]).await.json();
        let ids = list["letters"].as_array().unwrap().iter();
        let mut ids: Vec<String> = ids.map(|one| one["id"].as_str().unwrap().to_owned()).collect();
        ids.sort();
        ids
    }
}

fn signer(service: &str) -> Signer {
    Signer::from_seed(service, [1; 32])
}

fn identity(service: &str) -> Identity {
    Identity::new("shop", "test", service)
}

fn keys() -> KeyRing {
    let keys = vec![signer("order").public_for(&identity("order"))];
    KeyRing::new(&KeyDocument { keys }).unwrap()
}

fn pool(postgres: &PrivatePostgres, service: &str) -> Pool {
    let url = postgres.url(&format!("shop_{service}"));
    let pg = messaging::connect_lazily(&url, service, 8).unwrap();
    Pool::new(pg, identity(service), signer(service), Clock::system())
}
