//! Every transport under the same suite.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(unreachable_pub, reason = "a test has no outside")]

mod memory;
mod rabbitmq;

use std::collections::BTreeMap;

use futures_util::StreamExt;
use messaging::transport::conformance::{Bench, PROMISES, Verdict};

/// Runs all promises, `at_once` of them at a time, and asserts that each is kept but for those that the
/// bench cannot show.
async fn judge<B: Bench>(fresh: impl AsyncFn() -> B, at_once: usize, not_shown: &[&str]) {
    let checks = PROMISES.iter().map(async |promise| {
        let bench = fresh().await;
        (promise.name, (promise.check)(&bench).await)
    });
    let verdicts: BTreeMap<&str, _> =
        futures_util::stream::iter(checks).buffer_unordered(at_once).collect().await;
    let of = |wanted: Verdict| {
        let these =
            verdicts.iter().filter(move |(_, one)| one.as_ref().is_ok_and(|v| *v == wanted));
        these.map(|(name, _)| *name).collect::<Vec<_>>()
    };
    let broken: Vec<String> = verdicts
        .iter()
        .filter_map(|(name, one)| Some(format!("{name}: {:#}", one.as_ref().err()?)))
        .collect();
    assert!(broken.is_empty(), "broken promises:\n{}", broken.join("\n"));
    assert_eq!(of(Verdict::NotShown), not_shown);
    assert_eq!(of(Verdict::Kept).len() + not_shown.len(), PROMISES.len());
}

#[tokio::test]
async fn memory_keeps_every_promise() {
    judge(async || memory::OfMemory::new(), 1, &[]).await;
}

#[tokio::test]
async fn memory_keeps_every_promise_by_a_time_of_its_own() {
    judge(async || memory::OfMemory::with_virtual_time(), 1, &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rabbitmq_keeps_every_promise_that_a_shared_broker_can_show() {
    // The rest is shown by the promises of the kit, over brokers of their own.
    let not_shown = [
        "a_blocked_publisher_waits_and_says_so",
        "a_broker_that_is_away_is_told_of",
        "a_lost_confirm_is_unknown_and_spends_the_publisher",
    ];
    judge(rabbitmq::OfRabbitMq::new, 4, &not_shown).await;
}
