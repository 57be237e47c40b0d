//! The kit under simulation: two services, two processes each, and everything that goes wrong.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(unreachable_pub, reason = "a test has no outside")]

mod errands;
mod example;
mod house;

use std::ops::Range;

use messaging::crash::{Bug, Point};
use messaging::simulation::{Entry, Report, Simulation, simulate};
use tokio::runtime::Builder;

use house::{House, NAMESPACE};

/// The worlds that every run looks at.
const SEEDS: u64 = 120;
const THREADS: u64 = 2;
/// A bug has to be found in so many.
const FOUND_WITHIN: u64 = 5_000;

/// The worlds of some seeds, on a thread with databases of its own.
fn simulated(seeds: Range<u64>) -> Report {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let house = House::new().await;
        let check = async |world: &_| house.holds(world).await;
        let build = async |world: &mut _| house.furnish(world).await;
        simulate(NAMESPACE, seeds, build, check).await.expect("its history is printed")
    })
}

#[test]
fn many_worlds_keep_every_promise_and_see_every_fault() {
    let report = std::thread::scope(|scope| {
        let share = |n| n * SEEDS / THREADS..(n + 1) * SEEDS / THREADS;
        let threads: Vec<_> =
            (0..THREADS).map(|n| scope.spawn(move || simulated(share(n)))).collect();
        let reports = threads.into_iter().map(|thread| thread.join().unwrap());
        reports.fold(Report::default(), Report::and)
    });
    assert_eq!(report.seeds, SEEDS);
    let errands = [Point::C16, Point::C17];
    let deaths = Point::ALL.iter().filter(|point| !errands.contains(point));
    let deaths = deaths.map(|point| format!("died at {}", point.name()));
    let faults =
        ["duplicate", "reorder", "delay", "loseconfirms", "losecopyconfirm", "cut", "kill"]
            .into_iter()
            .chain(["restart", "stop", "away", "block", "unbind", "fill", "call held"])
            .map(str::to_owned);
    let missing: Vec<String> =
        deaths.chain(faults).filter(|what| !report.happened.contains_key(what)).collect();
    assert!(missing.is_empty(), "never happened: {missing:?} of {:?}", report.happened);
    println!("{} entries of {SEEDS} worlds: {:?}", report.entries, report.happened);
}

#[tokio::test]
async fn a_seed_has_one_history_and_another_seed_another() {
    let house = House::new().await;
    let simulation = Simulation::new(NAMESPACE);
    let history = async |seed| -> Vec<Entry> {
        simulation.history(seed, async |world| house.furnish(world).await).await.unwrap()
    };
    for seed in [3, 11] {
        let (once, again) = (history(seed).await, history(seed).await);
        let differs = once.iter().zip(&again).find(|(one, other)| one != other);
        assert_eq!(differs, None, "seed {seed}");
        assert_eq!(once.len(), again.len());
    }
    assert_ne!(history(3).await, history(11).await);
}

#[tokio::test]
async fn without_faults_nothing_is_done_twice() {
    let house = House::new().await;
    let simulation = Simulation::new(NAMESPACE).faults(0);
    let history = simulation.history(1, async |world| house.furnish(world).await).await.unwrap();
    let told = |what: &str| history.iter().filter(|entry| entry.outcome.contains(what)).count();
    assert!(told("took 1 of 1") > 0 && told("died") + told("held") == 0, "{history:#?}");
}

async fn is_found(bug: Bug) {
    let house = House::new().await;
    let simulation = Simulation::new(NAMESPACE).bug(bug);
    let check = async |world: &_| house.holds(world).await;
    let seeds = 0..FOUND_WITHIN;
    let ended = simulation.run(seeds, async |world| house.furnish(world).await, check).await;
    let found = ended.expect_err("nobody noticed");
    println!("{bug:?} found in world {}: {:#}", found.seed, found.why);
}

#[tokio::test]
async fn an_acknowledgement_before_the_commit_is_found() {
    is_found(Bug::AckBeforeCommit).await;
}

#[tokio::test]
async fn confirms_taken_by_their_position_are_found() {
    is_found(Bug::ConfirmByPosition).await;
}

#[tokio::test]
async fn an_inbox_row_in_a_transaction_of_its_own_is_found() {
    is_found(Bug::InboxApart).await;
}

#[tokio::test]
async fn a_relay_that_never_looks_back_is_found() {
    is_found(Bug::CursorPolling).await;
}

#[tokio::test]
async fn relays_that_share_an_aggregate_are_found() {
    is_found(Bug::SplitAggregates).await;
}
