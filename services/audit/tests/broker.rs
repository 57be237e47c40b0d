//! Audit on a real broker, beside services that publish.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::time::Duration;

use audit::presentation::messages;
use common::Archive;
use envelope::signature::{KeyDocument, KeyRing, Signed, Signer};
use envelope::{Clock, Envelope, Event, Identity, Subject};
use messaging::transport::rabbitmq::RabbitMq;
use messaging::{Cause, Handlers, Messaging, Pool, Tx};
use opentelemetry::Context;
use serde::{Deserialize, Serialize};
use testkit::{Database, Vhost, eventually};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

const SOON: Duration = Duration::from_secs(30);

/// An event that stands in no contract.
#[derive(Serialize, Deserialize)]
struct Mystery {
    name: String,
}

impl Event for Mystery {
    const TYPE: &'static str = "mystery.happened.v7";

    fn subject(&self) -> Subject {
        Subject::new("mystery", &self.name)
    }
}

struct World {
    here: Archive,
    mystery: Pool,
    keys: KeyDocument,
    running: JoinSet<anyhow::Result<()>>,
    stop: CancellationToken,
    _database: Database,
    _vhost: Vhost,
}

impl World {
    async fn start() -> Self {
        let (here, vhost) = (Archive::open().await, Vhost::new().await);
        let database = Database::new("messaging").await;
        let identity = Identity::new("shop", "test", "mystery");
        let signer = Signer::from_seed("mystery-1", [9; 32]);
        let keys = KeyDocument { keys: vec![signer.public_for(&identity)] };
        let mystery = Pool::new(database.pool(), identity, signer, Clock::system());
        let (stop, mut running) = (CancellationToken::new(), JoinSet::new());
        for (pool, handlers) in [(&here.pool, messages::handlers()), (&mystery, Handlers::new())] {
            let broker = RabbitMq::new(vhost.amqp_url(), "test", "shop");
            let kit = Messaging::new(pool.clone(), broker, KeyRing::new(&keys).unwrap(), handlers);
            kit.provision().await.unwrap();
            for task in kit.tasks() {
                running.spawn((task.run)(stop.clone()));
            }
        }
        Self { here, mystery, keys, running, stop, _database: database, _vhost: vhost }
    }

    /// Publishes `count` events of one chain, in one transaction.
    async fn publish(&self, correlation_id: Uuid, count: u64) {
        let cause = Cause::request(correlation_id, Context::new());
        let mut tx = Tx::begin(&self.mystery, cause).await.unwrap();
        for number in 0..count {
            // Each chain has aggregates of its own.
            tx.publish(&Mystery { name: format!("{correlation_id}-{number}") }, 1).unwrap();
        }
        tx.commit().await.unwrap();
    }

    async fn wait_for(&self, count: i64) {
        let look = || async {
            let found = self.here.count().await;
            if found == count { Ok(()) } else { Err(format!("{found} entries")) }
        };
        eventually(SOON, look).await;
    }

    async fn end(mut self) {
        self.stop.cancel();
        while let Some(ended) = self.running.join_next().await {
            ended.unwrap().unwrap();
        }
    }
}

#[tokio::test]
async fn every_event_is_recorded_also_of_a_type_that_nobody_knows() {
    let world = World::start().await;
    let chain = world.mystery.new_id();
    world.publish(chain, 300).await;
    world.wait_for(300).await;
    assert_eq!(world.here.check().await, (300, None));
    let first = world.here.get("/events?limit=1&type=mystery.happened.v7").await.body;
    assert_eq!(first["events"][0]["source"], "urn:shop:test:mystery");
    assert_eq!(first["events"][0]["correlationid"], serde_json::json!(chain));
    world.end().await;
}

#[tokio::test]
async fn what_is_recorded_can_still_be_verified_and_read() {
    let world = World::start().await;
    let chain = world.mystery.new_id();
    world.publish(chain, 1).await;
    world.wait_for(1).await;
    let (body, signature, kid): (Vec<u8>, Vec<u8>, String) =
        sqlx::query_as("select body, signature, key_id from entries")
            .fetch_one(world.here.pool.pg())
            .await
            .unwrap();
    let signature: [u8; 64] = signature.try_into().unwrap();
    let signed = Signed { body: &body, signature: &signature, kid: &kid };
    assert_eq!(KeyRing::new(&world.keys).unwrap().verify(signed), Ok(()));
    let envelope = Envelope::decode(&body).unwrap();
    assert_eq!(envelope.correlationid, chain);
    assert_eq!(envelope.data::<Mystery>().unwrap().name, format!("{chain}-0"));
    world.end().await;
}

#[tokio::test]
async fn an_event_that_the_inbox_has_forgotten_is_not_recorded_twice() {
    let world = World::start().await;
    world.publish(world.mystery.new_id(), 3).await;
    world.wait_for(3).await;
    sqlx::query("delete from messaging.inbox").execute(world.here.pool.pg()).await.unwrap();
    // As a replay: the same rows leave the outbox again.
    sqlx::query("update messaging.outbox set published_at = null")
        .execute(world.mystery.pg())
        .await
        .unwrap();
    // One more, which wakes the relay for all of them.
    world.publish(world.mystery.new_id(), 1).await;
    let look = || async {
        let sql = "select count(*) from messaging.inbox";
        let again: i64 = sqlx::query_scalar(sql).fetch_one(world.here.pool.pg()).await.unwrap();
        if again == 4 { Ok(()) } else { Err(format!("{again} handled again")) }
    };
    eventually(SOON, look).await;
    assert_eq!((world.here.count().await, world.here.check().await), (4, (4, None)));
    world.end().await;
}

#[test]
fn the_queue_is_bound_to_everything() {
    assert_eq!(audit::bindings(), ["#"]);
}
