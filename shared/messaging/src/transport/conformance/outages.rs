//! Connections that end, in order or not.

use anyhow::ensure;

use super::stage::{
    LIT, Told, done, fates_of, furnish, ids, ids_of, ledger, nothing, publish, publisher, sorted,
    subscribe, take,
};
use super::{Bench, Checked, Verdict};
use crate::transport::{Delivery, Fate, Subscription, TransportError};

/// Six messages, of which a subscription has four and has settled the second.
async fn one_of_four_settled(
    bench: &dyn Bench,
) -> anyhow::Result<(Box<dyn Subscription>, Vec<Delivery>, Vec<Told>)> {
    furnish(bench).await?;
    let mut told = Told::many(LIT, 6);
    publish(bench, &told).await?;
    let mut subscription = subscribe(bench, &ledger(), 4).await?;
    let mut got = take(&mut subscription, 4).await?;
    let second = got.remove(1);
    told.remove(1);
    subscription.settle(done(vec![second])).await?;
    Ok((subscription, got, told))
}

/// Sees that a new subscription gets `told`, and that the broker says of those in `had` that they may
/// have come before.
async fn they_come_again(bench: &dyn Bench, told: &[Told], had: &[String]) -> anyhow::Result<()> {
    let mut subscription = subscribe(bench, &ledger(), 10).await?;
    let again = take(&mut subscription, told.len()).await?;
    // In whatever order: what was delivered may come back as the broker likes.
    let (got, expected) = (sorted(ids(&again)), sorted(ids_of(told)));
    ensure!(got == expected, "{got:?} came, not {expected:?}");
    let flagged = |id: &String| {
        again.iter().any(|one| one.redelivered && one.message_id.as_ref() == Some(id))
    };
    ensure!(had.iter().all(flagged), "not flagged: {again:?}");
    ensure!(again.iter().all(|one| one.attempts == 0), "an attempt was counted: {again:?}");
    subscription.settle(done(again)).await?;
    nothing(&mut subscription).await?;
    subscription.close().await;
    Ok(())
}

pub(super) async fn a_close_hands_back(bench: &dyn Bench) -> Checked {
    let (subscription, got, told) = one_of_four_settled(bench).await?;
    let had = ids(&got);
    subscription.close().await;
    they_come_again(bench, &told, &had).await?;
    Ok(Verdict::Kept)
}

pub(super) async fn a_subscription_that_is_dropped_hands_back(bench: &dyn Bench) -> Checked {
    let (subscription, got, told) = one_of_four_settled(bench).await?;
    let had = ids(&got);
    drop(subscription);
    they_come_again(bench, &told, &had).await?;
    Ok(Verdict::Kept)
}

pub(super) async fn a_broken_connection_hands_back_and_refuses_settlements(
    bench: &dyn Bench,
) -> Checked {
    let (mut subscription, got, told) = one_of_four_settled(bench).await?;
    if !bench.cut().await {
        return Ok(Verdict::NotShown);
    }
    let had = ids(&got);
    let settled = subscription.settle(done(got)).await;
    ensure!(matches!(settled, Err(TransportError::Away(_))), "settled over nothing: {settled:?}");
    // What it had been sent before may still come; then it says so, too.
    let ended = loop {
        match subscription.next(10).await {
            Ok(buffered) => drop(buffered),
            Err(ended) => break ended,
        }
    };
    ensure!(matches!(ended, TransportError::Away(_)), "{ended:?}");
    subscription.close().await;
    they_come_again(bench, &told, &had).await?;
    Ok(Verdict::Kept)
}

pub(super) async fn a_publisher_that_is_cut_off_says_so(bench: &dyn Bench) -> Checked {
    furnish(bench).await?;
    let mut publisher = publisher(bench).await?;
    ensure!(publisher.connected(), "a fresh one is not connected");
    if !bench.cut().await {
        return Ok(Verdict::NotShown);
    }
    let told = Told::many(LIT, 2);
    let fates = fates_of(&mut publisher, &told).await?;
    ensure!(fates == [Fate::Unknown, Fate::Unknown], "{fates:?}");
    ensure!(!publisher.connected(), "it says that it is connected");
    publisher.close().await;
    publish(bench, &told).await?;
    Ok(Verdict::Kept)
}

pub(super) async fn a_broker_that_is_away_is_told_of(bench: &dyn Bench) -> Checked {
    furnish(bench).await?;
    if !bench.away(true).await {
        return Ok(Verdict::NotShown);
    }
    let away = |error: Option<TransportError>| matches!(error, Some(TransportError::Away(_)));
    let transport = bench.transport();
    ensure!(publisher(bench).await.is_err(), "a publisher of nothing");
    ensure!(away(transport.subscribe(&ledger(), 10).await.err()), "a subscription of nothing");
    ensure!(away(transport.parked(&ledger()).await.err()), "dead letters of nothing");
    ensure!(away(transport.provision(&ledger()).await.err()), "something was made nowhere");
    ensure!(bench.away(false).await, "it stays away");
    publish(bench, &[Told::new(LIT)]).await?;
    Ok(Verdict::Kept)
}
