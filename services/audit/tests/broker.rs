//! Audit on a real broker, beside services that publish.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::time::Duration;

use audit::App;
use audit::presentation::messages;
use axum::body::Body;
use common::{Archive, replica};
use envelope::signature::{KeyDocument, KeyRing, Signed, Signer};
use envelope::{Clock, Envelope, Event, Identity, Subject};
use feed::Follower;
use http_body_util::BodyExt as _;
use messaging::transport::rabbitmq::RabbitMq;
use messaging::{Cause, Handlers, Messaging, Pool, Tx};
use opentelemetry::Context;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use testkit::{Database, Vhost, eventually};
use tokio::task::JoinSet;
use tokio::time::timeout;
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
        let recording = messages::handlers(here.app.feed.changed());
        for (pool, handlers) in [(&here.pool, recording), (&mystery, Handlers::new())] {
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

/// The ids of a stream's next events.
async fn next_ids(stream: &mut Body, count: usize) -> Vec<i64> {
    let mut ids = Vec::new();
    while ids.len() < count {
        let frame = timeout(SOON, stream.frame()).await.unwrap().unwrap().unwrap();
        let text = String::from_utf8(frame.into_data().unwrap().to_vec()).unwrap();
        let [event, id, data] = text.trim_end().lines().collect::<Vec<_>>()[..] else {
            assert_eq!(text, ":\n\n");
            continue;
        };
        assert_eq!(event, "event: recorded");
        ids.push(id.strip_prefix("id: ").unwrap().parse().unwrap());
        let data: Value = serde_json::from_str(data.strip_prefix("data: ").unwrap()).unwrap();
        assert_eq!(
            (&data["seq"], &data["type"]),
            (&json!(ids.last()), &json!("shop.mystery.happened.v7"))
        );
        assert!(data["published_at"].is_string(), "the relay says when: {data}");
    }
    ids
}

#[tokio::test]
async fn a_stream_tells_what_was_and_what_comes_on_every_replica() {
    let mut world = World::start().await;
    // A process that records nothing itself.
    let other = App::new(replica(world.here.database.pool()));
    for app in [world.here.app.clone(), other.clone()] {
        let running = Follower::new(app.feed).run(world.stop.clone());
        world.running.spawn(async move {
            running.await;
            Ok(())
        });
    }
    let chain = world.mystery.new_id();
    world.publish(chain, 40).await;
    world.wait_for(40).await;
    let mut streams = Vec::new();
    for (app, last_id) in [(&world.here.app, None), (&other, Some("30")), (&other, Some("99"))] {
        eventually(SOON, || async { common::stream(app, None).await.is_some() }).await;
        streams.push(common::stream(app, last_id).await.unwrap());
    }
    for (stream, first) in streams.iter_mut().zip([1, 31, 1]) {
        assert!(next_ids(stream, 41 - first).await.into_iter().eq(first as i64..=40));
    }
    world.publish(world.mystery.new_id(), 5).await;
    for stream in &mut streams {
        assert_eq!(next_ids(stream, 5).await, [41, 42, 43, 44, 45]);
    }
    world.end().await;
}
