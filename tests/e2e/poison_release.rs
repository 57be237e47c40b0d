//! A release that can handle nothing, what it leaves behind, and how that is put right.

use std::time::Duration;

use futures_util::future::join_all;
use messaging::repair::{Asked, DeadLetters, Filter, JobState, JobStatus, Selection};
use testkit::eventually;
use uuid::Uuid;

use crate::world::{LATER, SOON, World};

const ORDERS: usize = 500;
const AT_ONCE: usize = 50;
const PER_SECOND: i32 = 50;
const PRICE: i64 = 1_000;

async fn place_all(world: &World) -> Vec<Uuid> {
    let mut orders = Vec::new();
    for _ in 0..ORDERS / AT_ONCE {
        let placing = (0..AT_ONCE).map(|n| world.place(n, "LAMP", 1, "pm_ok"));
        orders.extend(join_all(placing).await);
    }
    orders
}

async fn status(letters: &DeadLetters, job: Uuid) -> JobStatus {
    letters.status(job).await.unwrap().unwrap()
}

#[tokio::test]
async fn what_a_poison_release_has_parked_is_replayed_at_a_rate_and_survives_a_kill_midway() {
    let world = World::start().await;
    world.stock("LAMP", PRICE, 1_000).await;
    // It does not know whose events it is to believe.
    world.kill("inventory");
    let keys = Box::leak(World::event_keys_without("order").into_boxed_str());
    world.run("inventory", &[("EVENT_KEYS", keys)]);
    world.ready().await;
    let orders = place_all(&world).await;
    let letters = DeadLetters::new(world.pg("inventory"), envelope::Clock::system());
    let group = eventually(LATER, || async {
        let mut groups = letters.groups(&Filter::default()).await.unwrap();
        match groups.pop() {
            Some(group) if group.letters == ORDERS as i64 => Ok(group),
            seen => Err(format!("{seen:?}")),
        }
    })
    .await;
    assert_eq!((group.queue.as_str(), group.reason_code.as_str()), ("inventory.in", "unknown_key"));
    assert_eq!(group.event_type.as_deref(), Some("shop.order.placed.v1"));

    // Back to the release before. Two operators are at it, and do not know of each other.
    world.kill("inventory");
    world.run("inventory", &[]);
    world.ready().await;
    let selection = Selection::Group { reason_code: group.reason_code, event_type: None };
    let asked = Asked { by: "grace", note: "the release before is back" };
    let twice = [
        letters.replay(&selection, PER_SECOND, asked),
        letters.replay(&selection, PER_SECOND, asked),
    ];
    let jobs: Vec<_> = join_all(twice).await.into_iter().filter_map(Result::unwrap).collect();
    let taken: Vec<usize> = jobs.iter().map(|job| job.pending).filter(|n| *n > 0).collect();
    assert_eq!(taken, [ORDERS], "each letter in one of the two: {jobs:?}");
    let job = jobs.iter().find(|job| job.pending > 0).unwrap().job;

    eventually(SOON, || async { status(&letters, job).await.replayed >= 100 }).await;
    world.kill("inventory");
    assert!(status(&letters, job).await.pending > 0, "it was to die midway");
    world.run("inventory", &[]);
    let done = eventually(LATER, || async {
        let status = status(&letters, job).await;
        if status.state == JobState::Done { Ok(status) } else { Err(format!("{status:?}")) }
    })
    .await;
    assert_eq!((done.replayed, done.refused.len()), (ORDERS as i64, 0));
    let took = (done.ended_at.unwrap() - done.asked_at).to_std().unwrap();
    // Two starts give a batch each for nothing.
    assert!(took >= Duration::from_secs(9), "{ORDERS} within {took:?}");

    for ended in join_all(orders.into_iter().map(|order| world.ended(order))).await {
        assert_eq!(ended["status"], "confirmed", "{ended}");
    }
    world.verified().await;
    assert!(letters.groups(&Filter::default()).await.unwrap().is_empty());
    let sold = "select count(*) from messaging.dead_letter where state = 'replayed'";
    assert_eq!(world.count("inventory", sold).await, ORDERS as i64);
}
