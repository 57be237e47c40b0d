//! The inbox for requests: one effect per key, for as long as its answer is kept.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(unreachable_pub, reason = "a test has no outside")]

#[path = "promises/house/clock.rs"]
mod clock;

use std::time::Duration;

use chrono::TimeDelta;
use clock::Shifted;
use envelope::Identity;
use envelope::signature::{KeyDocument, KeyRing, Signer};
use messaging::answers::{Answer, Remembered, RequestKey};
use messaging::step::{Progress, Step as _};
use messaging::transport::rabbitmq::RabbitMq;
use messaging::{Cause, Handlers, Housekeeping, Messaging, Pool, Retention, Tx, TxError};
use opentelemetry::Context;
use testkit::Database;
use uuid::Uuid;

/// A service that answers requests, at a time that the test chooses.
struct Desk {
    pool: Pool,
    clock: Shifted,
    _database: Database,
}

impl Desk {
    async fn open() -> Self {
        let (database, clock) = (Database::new("messaging").await, Shifted::default());
        let identity = Identity::new("house", "test", "desk");
        let signer = Signer::from_seed("desk-1", [7; 32]);
        let pool = Pool::new(database.pool(), identity, signer, clock.clock());
        Self { pool, clock, _database: database }
    }

    async fn begin(&self) -> Tx {
        Tx::begin(&self.pool, Cause::request(Uuid::nil(), Context::new())).await.unwrap()
    }

    /// What is known of a key, asked in a transaction of its own.
    async fn known(&self, key: &RequestKey) -> Remembered {
        let mut tx = self.begin().await;
        let known = tx.remembered(key).await.unwrap();
        // A dropped transaction may keep its lock for a moment.
        tx.commit().await.unwrap();
        known
    }

    /// The same, asked by somebody who will not handle the request.
    async fn looked_up(&self, key: &RequestKey) -> Remembered {
        self.pool.remembered(key).await.unwrap()
    }

    /// Handles a request under a key that must be free.
    async fn answer(&self, key: &RequestKey, answer: &Answer) {
        let mut tx = self.begin().await;
        assert_eq!(tx.remembered(key).await.unwrap(), Remembered::Nothing);
        tx.remember(key, answer).await.unwrap();
        tx.commit().await.unwrap();
    }

    async fn stored(&self) -> i64 {
        let count = sqlx::query_scalar("select count(*) from messaging.answer");
        count.fetch_one(self.pool.pg()).await.unwrap()
    }

    /// Fills the table with so many answers of now, under keys `PREFIX-1`, `PREFIX-2` and so on.
    async fn fill(&self, prefix: &str, rows: i32) {
        sqlx::query(
            "insert into messaging.answer (scope, key, fingerprint, status, body, answered_at)
            select 'POST /lamps', $1 || '-' || n, sha256(''), 200, '', $3
            from generate_series(1, $2) n",
        )
        .bind(prefix)
        .bind(rows)
        .bind(self.pool.clock().now())
        .execute(self.pool.pg())
        .await
        .unwrap();
    }

    /// Steps housekeeping until it has nothing more to do; returns the number of steps.
    async fn sweep(&self) -> usize {
        let mut work = Housekeeping::new(self.pool.clone(), Retention::default());
        for steps in 1..50 {
            match work.step().await {
                Progress::Idle(pause) if pause > Duration::from_secs(1) => return steps,
                _ => {}
            }
        }
        panic!("housekeeping does not come to an end");
    }
}

fn key(body: &str) -> RequestKey {
    RequestKey::new("POST /lamps", "0198c0de-light-it", body.as_bytes())
}

fn lit(lamp: &str) -> Answer {
    Answer { status: 202, location: Some(format!("/lamps/{lamp}")), body: lamp.into() }
}

#[tokio::test]
async fn an_answer_is_given_again_to_the_same_request_and_to_no_other() {
    let desk = Desk::open().await;
    desk.answer(&key("hall"), &lit("hall")).await;
    assert_eq!(desk.known(&key("hall")).await, Remembered::Answer(lit("hall")));
    assert_eq!(desk.known(&key("attic")).await, Remembered::Reused);
    let elsewhere = RequestKey { scope: "POST /doors".into(), ..key("hall") };
    assert_eq!(desk.known(&elsewhere).await, Remembered::Nothing);
    let dimmed = || key("cellar").with_parameter("dimmed");
    let elsewhere = RequestKey { scope: "POST /cellars".into(), ..dimmed() };
    desk.answer(&elsewhere, &lit("cellar")).await;
    assert_eq!(desk.known(&elsewhere.clone()).await, Remembered::Answer(lit("cellar")));
    let plain = RequestKey { fingerprint: key("cellar").fingerprint, ..elsewhere };
    assert_eq!(desk.known(&plain).await, Remembered::Reused);
}

#[tokio::test]
async fn a_look_takes_no_key_and_knows_only_what_was_answered() {
    let desk = Desk::open().await;
    let mut first = desk.begin().await;
    assert_eq!(desk.looked_up(&key("hall")).await, Remembered::Nothing);
    assert_eq!(first.remembered(&key("hall")).await.unwrap(), Remembered::Nothing, "it is free");
    first.remember(&key("hall"), &lit("hall")).await.unwrap();
    assert_eq!(desk.looked_up(&key("attic")).await, Remembered::Nothing, "not before its end");
    first.commit().await.unwrap();
    assert_eq!(desk.looked_up(&key("hall")).await, Remembered::Answer(lit("hall")));
    assert_eq!(desk.looked_up(&key("attic")).await, Remembered::Reused);
    desk.clock.set(TimeDelta::hours(25));
    assert_eq!(desk.looked_up(&key("attic")).await, Remembered::Nothing);
}

#[tokio::test]
async fn a_twin_learns_at_once_that_the_first_is_still_at_it() {
    let desk = Desk::open().await;
    let mut first = desk.begin().await;
    assert_eq!(first.remembered(&key("hall")).await.unwrap(), Remembered::Nothing);
    first.remember(&key("hall"), &lit("hall")).await.unwrap();
    let twin = tokio::time::timeout(Duration::from_secs(10), desk.known(&key("hall"))).await;
    assert_eq!(twin.expect("a twin does not wait"), Remembered::InProgress);
    first.commit().await.unwrap();
    assert_eq!(desk.known(&key("hall")).await, Remembered::Answer(lit("hall")));
}

#[tokio::test]
async fn two_who_repeat_an_answered_request_at_once_both_get_the_answer() {
    let desk = Desk::open().await;
    desk.answer(&key("hall"), &lit("hall")).await;
    let mut one = desk.begin().await;
    assert_eq!(one.remembered(&key("hall")).await.unwrap(), Remembered::Answer(lit("hall")));
    assert_eq!(desk.known(&key("hall")).await, Remembered::Answer(lit("hall")));
    desk.clock.set(TimeDelta::hours(25));
    assert_eq!(desk.known(&key("hall")).await, Remembered::InProgress, "too old, and one has it");
}

#[tokio::test]
async fn a_request_that_was_rolled_back_leaves_its_key_free() {
    let desk = Desk::open().await;
    let mut first = desk.begin().await;
    assert_eq!(first.remembered(&key("hall")).await.unwrap(), Remembered::Nothing);
    first.remember(&key("hall"), &lit("hall")).await.unwrap();
    drop(first);
    // The rollback reaches the server in its own time.
    testkit::eventually(Duration::from_secs(10), || async {
        desk.known(&key("hall")).await == Remembered::Nothing
    })
    .await;
    desk.answer(&key("attic"), &lit("attic")).await;
}

#[tokio::test]
async fn the_first_answer_counts() {
    let desk = Desk::open().await;
    desk.answer(&key("hall"), &lit("hall")).await;
    let mut tx = desk.begin().await;
    let second = tx.remember(&key("hall"), &lit("attic")).await;
    assert!(matches!(second, Err(TxError::Database(_))), "{second:?}");
    drop(tx);
    assert_eq!(desk.known(&key("hall")).await, Remembered::Answer(lit("hall")));
}

#[tokio::test]
async fn a_key_older_than_a_day_is_new_and_its_row_is_replaced() {
    let desk = Desk::open().await;
    desk.answer(&key("hall"), &lit("hall")).await;
    desk.clock.set(TimeDelta::hours(23));
    assert_eq!(desk.known(&key("hall")).await, Remembered::Answer(lit("hall")));
    desk.clock.set(TimeDelta::hours(25));
    // Another body, and no housekeeping in between.
    desk.answer(&key("attic"), &lit("attic")).await;
    assert_eq!(desk.known(&key("attic")).await, Remembered::Answer(lit("attic")));
    assert_eq!(desk.known(&key("hall")).await, Remembered::Reused);
    assert_eq!(desk.stored().await, 1);
    desk.clock.set(TimeDelta::hours(48));
    assert_eq!(desk.known(&key("attic")).await, Remembered::Answer(lit("attic")));
}

#[tokio::test]
async fn old_answers_are_pruned_in_bites_and_young_ones_stay() {
    let desk = Desk::open().await;
    desk.fill("old", 2_500).await;
    desk.clock.set(TimeDelta::hours(12));
    desk.fill("young", 3).await;
    assert_eq!(desk.sweep().await, 1);
    assert_eq!(desk.stored().await, 2_503);

    desk.clock.set(TimeDelta::hours(25));
    assert_eq!(desk.sweep().await, 3, "two full bites and the rest");
    assert_eq!(desk.stored().await, 3);
}

#[tokio::test]
async fn pruning_does_not_wait_for_a_request_that_replaces_an_old_answer() {
    let desk = Desk::open().await;
    desk.answer(&key("hall"), &lit("hall")).await;
    desk.fill("old", 10).await;
    desk.clock.set(TimeDelta::hours(25));
    let mut tx = desk.begin().await;
    assert_eq!(tx.remembered(&key("hall")).await.unwrap(), Remembered::Nothing);
    let swept = tokio::time::timeout(Duration::from_secs(10), desk.sweep()).await;
    assert_eq!(swept.expect("it does not wait"), 1);
    tx.remember(&key("hall"), &lit("hall")).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(desk.stored().await, 1);
    assert_eq!(desk.known(&key("hall")).await, Remembered::Answer(lit("hall")));
}

#[tokio::test]
async fn how_long_an_answer_is_given_again_is_a_setting() {
    let desk = Desk::open().await;
    let broker = RabbitMq::new("amqp://nowhere.invalid", "desk", "house");
    let keys = KeyRing::new(&KeyDocument { keys: Vec::new() }).unwrap();
    let kit = Messaging::new(desk.pool.clone(), broker, keys, Handlers::new());
    let week = Retention { answers: TimeDelta::days(7), ..Retention::default() };
    let _kit = kit.keep_for(week).unwrap();
    desk.answer(&key("hall"), &lit("hall")).await;
    desk.clock.set(TimeDelta::days(6));
    assert_eq!(desk.known(&key("hall")).await, Remembered::Answer(lit("hall")));
    desk.clock.set(TimeDelta::days(8));
    assert_eq!(desk.known(&key("hall")).await, Remembered::Nothing);
}
