#![allow(clippy::unwrap_used, clippy::panic)]

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use envelope::signature::Signer;
use envelope::{Clock, Identity};
use opentelemetry::Context;
use uuid::Uuid;

use super::*;
use crate::step::{Progress, Step as _};

/// Calls that never end, of wishes that nobody stored: no database is needed.
struct Endless {
    pool: Pool,
    wanted: Signal,
    world: Arc<World>,
    settings: Settings,
}

/// What the calls do and what was asked for.
#[derive(Default)]
struct World {
    due: AtomicUsize,
    asked_for: Mutex<Vec<usize>>,
    breaks: bool,
}

impl Errand for Endless {
    type Attempt = usize;
    type Answer = ();

    fn settings(&self) -> Settings {
        self.settings
    }

    fn pool(&self) -> &Pool {
        &self.pool
    }

    fn wanted(&self) -> &Signal {
        &self.wanted
    }

    fn id(attempt: &usize) -> impl Display {
        attempt
    }

    async fn take(&self, most: usize) -> Result<Taken<usize>, sqlx::Error> {
        self.world.asked_for.lock().unwrap().push(most);
        let taken = most.min(self.world.due.load(Ordering::Relaxed));
        self.world.due.fetch_sub(taken, Ordering::Relaxed);
        let cause = || Cause::request(Uuid::nil(), Context::new());
        let leased = (0..taken).map(|attempt| Leased { attempt, cause: cause() }).collect();
        Ok(Taken { leased, next_due: None })
    }

    async fn call(&self, _: &usize, _: Cause) -> Called<()> {
        assert!(!self.world.breaks, "as the test wants it");
        std::future::pending().await
    }

    async fn settle(
        &self,
        _: &mut Tx,
        _: &[Answered<usize, ()>],
    ) -> anyhow::Result<Option<DateTime<Utc>>> {
        panic!("no call ended")
    }
}

fn errands(world: World) -> (Errands<Endless>, Arc<World>, Signal) {
    let pg = crate::connect_lazily("postgres://nobody@127.0.0.1:1/none", "test", 1).unwrap();
    let identity = Identity::new("shop", "test", "lamps");
    let pool = Pool::new(pg, identity, Signer::from_seed("lamps-1", [1; 32]), Clock::system());
    let close_within = Duration::from_millis(20);
    let settings = Settings { most_in_flight: 3, close_within, ..Settings::new("test") };
    let (world, wanted) = (Arc::new(world), Signal::new());
    let errand = Endless { pool, wanted: wanted.clone(), world: world.clone(), settings };
    (Errands::new(errand), world, wanted)
}

fn due(due: usize) -> World {
    World { due: due.into(), ..World::default() }
}

#[tokio::test]
async fn with_no_room_left_the_database_is_not_asked() {
    let (mut errands, world, wanted) = errands(due(10));
    assert_eq!(errands.step().await, Progress::More);
    wanted.notify();
    assert_eq!(errands.step().await, Progress::More);
    assert_eq!(errands.in_flight(), 3);
    assert_eq!(*world.asked_for.lock().unwrap(), [3]);
}

#[tokio::test]
async fn a_new_wish_is_taken_up_at_once_while_a_call_is_under_way() {
    let (mut errands, world, wanted) = errands(due(1));
    let begun = Instant::now();
    wanted.notify();
    assert_eq!(errands.step().await, Progress::More);
    world.due.store(1, Ordering::Relaxed);
    wanted.notify();
    assert_eq!(errands.step().await, Progress::More);
    assert_eq!(*world.asked_for.lock().unwrap(), [3, 2]);
    assert_eq!(errands.in_flight(), 2);
    assert!(begun.elapsed() < Settings::new("test").poll);
}

#[tokio::test]
async fn with_nothing_due_it_idles_until_the_next_look() {
    let (mut errands, world, _) = errands(due(0));
    assert_eq!(errands.step().await, Progress::Idle(Settings::new("test").poll));
    assert_eq!(*world.asked_for.lock().unwrap(), [3]);
}

#[tokio::test]
async fn an_attempt_that_breaks_off_gives_its_room_back() {
    let (mut errands, world, _) = errands(World { breaks: true, ..due(1) });
    assert_eq!(errands.step().await, Progress::More);
    assert_eq!(errands.in_flight(), 0);
    assert!(matches!(errands.step().await, Progress::Idle(_)));
    assert_eq!(*world.asked_for.lock().unwrap(), [3, 3]);
}

#[tokio::test]
async fn a_call_that_outlasts_the_end_of_the_process_is_left() {
    let (mut errands, _, wanted) = errands(due(1));
    wanted.notify();
    errands.step().await;
    errands.close().await;
    assert!(errands.calls.join_next().await.is_some_and(|ended| ended.is_err()));
}

/// Others could not see that we live, and would make the same call at once.
#[tokio::test]
async fn nothing_is_leased_while_others_cannot_see_this_process() {
    let (mut errands, world, wanted) = errands(due(1));
    let pool = errands.errand.pool().clone();
    pool.tell_when_present(&wanted);
    pool.set_absent(true);
    assert!(matches!(errands.step().await, Progress::Idle(_)));
    assert!(world.asked_for.lock().unwrap().is_empty());
    pool.set_absent(false);
    wanted.wait().await;
    errands.step().await;
    assert_eq!(*world.asked_for.lock().unwrap(), [3]);
}
