//! A slice of `make simulate`, and that its worlds follow from their seeds.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::time::Duration;

use simulation::{Plan, Server, Stage, drawn, run, tell};

/// Of each run of all tests.
const SLICE: Duration = Duration::from_secs(6);

#[test]
fn drawn_worlds_keep_every_promise() {
    let (seeds, within) = (u64::MAX, Some(SLICE));
    let plan = Plan { first: drawn(), seeds, within, threads: 2, bug: None };
    println!("first seed {}", plan.first);
    let outcome = run(&plan, &Server::Shared).unwrap();
    let told = tell(&plan, &outcome);
    println!("{told}");
    assert!(outcome.failed.is_empty() && outcome.report.seeds > 0, "{told}");
}

#[tokio::test]
async fn a_seed_has_one_history_and_another_seed_another() {
    let stage = Stage::new("histories", &Server::Shared).await.unwrap();
    for seed in [3, 11, 12] {
        let (once, again) =
            (stage.history(seed).await.unwrap(), stage.history(seed).await.unwrap());
        let differs = once.iter().zip(&again).find(|(one, other)| one != other);
        assert_eq!(differs, None, "seed {seed}");
        assert_eq!(once.len(), again.len());
    }
    assert_ne!(stage.history(3).await.unwrap(), stage.history(11).await.unwrap());
}
