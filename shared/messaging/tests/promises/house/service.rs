//! One service: its database, its kit, its tasks.

use std::sync::Arc;

use envelope::Event;
use messaging::repair::DeadLetters;
use messaging::transport::TransportError;
use messaging::{Cause, Handlers, Messaging, Pool, Tx};
use opentelemetry::Context;
use sqlx::PgPool;
use testkit::{Database, eventually};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{Faults, Faulty, House, SOON, identity, signer};

/// A service of the house. Another one over the same database is a replica.
pub struct Service {
    pub database: Arc<Database>,
    pub pg: PgPool,
    pub pool: Pool,
    pub kit: Messaging,
    pub faults: Faults,
}

impl Service {
    /// Makes what the service needs of the broker. A broker that is busy with other tests may break off
    /// with an internal error.
    pub async fn provision(&self) {
        let made = || async {
            match self.kit.provision().await {
                Err(TransportError::Away(why)) => Err(why),
                made => Ok(made.unwrap()),
            }
        };
        eventually(SOON, made).await;
    }

    pub async fn new(house: &House, name: &str, handlers: Handlers) -> Self {
        Self::with_database(house, name, handlers, Database::new("messaging").await).await
    }

    pub async fn with_database(
        house: &House,
        name: &str,
        handlers: Handlers,
        database: Database,
    ) -> Self {
        let database = Arc::new(database);
        sqlx::query(
            "create table entry (at bigint generated always as identity, lamp text not null,
                n int not null, event_id uuid not null)",
        )
        .execute(&database.pool())
        .await
        .unwrap();
        Self::over(house, name, handlers, database)
    }

    /// Another process with the same database.
    pub fn replica(&self, house: &House, handlers: Handlers) -> Self {
        let name = self.pool.identity().service().to_owned();
        Self::over(house, &name, handlers, self.database.clone())
    }

    fn over(house: &House, name: &str, handlers: Handlers, database: Arc<Database>) -> Self {
        let pg = messaging::connect_lazily(database.local_url(), name, 8).unwrap();
        let pool = Pool::new(pg.clone(), identity(name), signer(name), house.clock.clock());
        let faults = Faults::default();
        let transport = Faulty { inner: house.transport(name), faults: faults.clone() };
        let kit = Messaging::new(pool.clone(), transport, house.key_ring(), handlers);
        Self { database, pg, pool, kit, faults }
    }

    /// With other settings of the kit.
    pub fn with(mut self, change: impl FnOnce(Messaging) -> Messaging) -> Self {
        self.kit = change(self.kit);
        self
    }

    pub async fn begin(&self) -> Tx {
        let cause = Cause::request(self.pool.new_id(), Context::new());
        Tx::begin(&self.pool, cause).await.unwrap()
    }

    /// Publishes one event in a transaction of its own.
    pub async fn tell<E: Event>(&self, event: &E, version: u32) -> Uuid {
        let mut tx = self.begin().await;
        let id = tx.publish(event, version).unwrap();
        tx.commit().await.unwrap();
        id
    }

    /// What an operator does about its dead letters.
    pub fn repair(&self) -> DeadLetters {
        DeadLetters::new(self.pg.clone(), self.pool.clock().clone())
    }

    /// Runs all tasks of the kit.
    pub fn run(&self) -> Running {
        self.run_only(&[
            "presence",
            "relay",
            "gauges",
            "housekeeping",
            "parker",
            "replayer",
            "consumer",
        ])
    }

    /// Runs the tasks of these names.
    pub fn run_only(&self, names: &[&str]) -> Running {
        let stop = CancellationToken::new();
        let chosen = self.kit.tasks().into_iter().filter(|task| names.contains(&task.name));
        let tasks = chosen.map(|task| tokio::spawn((task.run)(stop.clone()))).collect();
        Running { stop, tasks }
    }
}

/// Tasks that run until they are stopped. Dropping it ends them as a crash would.
pub struct Running {
    stop: CancellationToken,
    tasks: Vec<JoinHandle<anyhow::Result<()>>>,
}

impl Running {
    /// In order: what has begun is finished.
    pub async fn stop(mut self) {
        self.stop.cancel();
        for task in self.tasks.drain(..) {
            tokio::time::timeout(SOON, task).await.expect("a task drains").unwrap().unwrap();
        }
    }

    /// At once: every future is dropped where it stands.
    pub async fn crash(mut self) {
        for task in self.tasks.drain(..) {
            task.abort();
            let _ = task.await;
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

/// Waits until exactly these subjects and versions are pending.
pub async fn eventually_pending(service: &Service, expected: &[(&str, i32)]) {
    let expected: Vec<(String, i32)> =
        expected.iter().map(|(subject, n)| ((*subject).to_owned(), *n)).collect();
    eventually(SOON, || async {
        let pending = service.pending().await;
        let seen: Vec<_> = pending.iter().map(|(subject, n, ..)| (subject.clone(), *n)).collect();
        if seen == expected { Ok(()) } else { Err(format!("{pending:?}")) }
    })
    .await;
}
