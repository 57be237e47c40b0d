//! Deliveries that are given back without having failed, and parked messages that get another chance.

use std::collections::BTreeMap;

use anyhow::ensure;
use uuid::Uuid;

use super::stage::{
    LIT, Told, archive, done, failure, furnish, header, ids, ids_of, ledger, nothing, publish,
    publisher, put_back, sorted, subscribe, take,
};
use super::{Bench, Checked, NAMESPACE, Verdict};
use crate::transport::{Delivery, Fate, Parked, Properties, Settlement};

pub(super) async fn a_pause_keeps_one_and_hands_back_the_others(bench: &dyn Bench) -> Checked {
    furnish(bench).await?;
    let told = Told::many(LIT, 6);
    publish(bench, &told).await?;
    let mut paused = subscribe(bench, &ledger(), 4).await?;
    let mut got = take(&mut paused, 3).await?;
    let kept = got.remove(1);
    paused.pause(&kept).await?;
    let mut other = subscribe(bench, &ledger(), 10).await?;
    let others = take(&mut other, 5).await?;
    let mut expected = ids_of(&told);
    expected.remove(1);
    let (all, expected) = (sorted(ids(&others)), sorted(expected));
    ensure!(all == expected, "{all:?} came to another, not {expected:?}");
    other.settle(done(others)).await?;
    // New ones go to whoever takes some.
    let more = Told::many(LIT, 2);
    publish(bench, &more).await?;
    let others = take(&mut other, 2).await?;
    ensure!(ids(&others) == ids_of(&more), "others came: {others:?}");
    other.settle(done(others)).await?;
    other.close().await;
    // What was kept is settled as ever, and what comes after a resume, too.
    paused.settle(done(vec![kept])).await?;
    paused.resume().await?;
    publish(bench, &more).await?;
    let last = take(&mut paused, 2).await?;
    ensure!(ids(&last) == ids_of(&more), "others came: {last:?}");
    paused.settle(done(last)).await?;
    nothing(&mut paused).await?;
    paused.close().await;
    Ok(Verdict::Kept)
}

/// What a parker has stored of a letter.
fn stored(letter: &Delivery) -> Properties {
    Properties {
        content_type: letter.content_type.clone(),
        message_id: letter.message_id.clone(),
        type_name: letter.type_name.clone(),
        correlation_id: letter.correlation_id.clone(),
        app_id: letter.app_id.clone(),
        timestamp: letter.timestamp,
    }
}

pub(super) async fn what_is_put_back_comes_as_it_was_to_its_queue_only(
    bench: &dyn Bench,
) -> Checked {
    furnish(bench).await?;
    publish(bench, &[Told::new(LIT)]).await?;
    let mut bystander = subscribe(bench, &archive(), 10).await?;
    let seen = take(&mut bystander, 1).await?;
    bystander.settle(done(seen)).await?;
    let mut subscription = subscribe(bench, &ledger(), 10).await?;
    let first = take(&mut subscription, 1).await?.remove(0);
    subscription.settle(vec![(first.clone(), Settlement::Park(failure(3)))]).await?;
    let mut parked = bench.transport().parked(&ledger()).await?;
    let letter = take(&mut parked, 1).await?.remove(0);
    parked.settle(done(vec![letter.clone()])).await?;
    parked.close().await;
    let (properties, replay) = (stored(&letter), Uuid::from_u128(7));
    let (headers, namespace) = (&letter.headers, NAMESPACE);
    let back = Parked { body: &letter.body, properties: &properties, headers, namespace, replay };
    let mut publisher = publisher(bench).await?;
    let fates = put_back(&mut publisher, &[back]).await?;
    publisher.close().await;
    ensure!(fates == [Fate::Confirmed], "{fates:?}");
    let again = take(&mut subscription, 1).await?.remove(0);
    ensure!(again.body == first.body, "another body");
    ensure!(stored(&again) == stored(&first), "{:?}, not {:?}", stored(&again), stored(&first));
    ensure!((again.attempts, again.first_failed_at) == (0, None), "{again:?}");
    let name = header("replay");
    ensure!(again.headers.get(&name) == Some(&replay.to_string()), "no word of the replay");
    for what in ["attempt", "first-failed", "code", "reason", "origin-queue"] {
        ensure!(!again.headers.contains_key(&header(what)), "{what} went along");
    }
    for (name, value) in &first.headers {
        ensure!(again.headers.get(name) == Some(value), "{name} is lost");
    }
    subscription.settle(done(vec![again])).await?;
    nothing(&mut subscription).await?;
    nothing(&mut bystander).await?;
    subscription.close().await;
    bystander.close().await;
    Ok(Verdict::Kept)
}

pub(super) async fn what_is_put_back_has_a_fate_of_its_own(bench: &dyn Bench) -> Checked {
    furnish(bench).await?;
    let (properties, headers) = (Properties::default(), BTreeMap::new());
    // No id, and the same bytes: nothing but its place in the batch tells one from the other.
    let parked = |body| {
        let (properties, headers) = (&properties, &headers);
        Parked { body, properties, headers, namespace: NAMESPACE, replay: Uuid::from_u128(7) }
    };
    let mut publisher = publisher(bench).await?;
    let fates = put_back(&mut publisher, &[parked(b"1"), parked(b"1")]).await?;
    ensure!(fates == [Fate::Confirmed, Fate::Confirmed], "{fates:?}");
    let mut subscription = subscribe(bench, &ledger(), 10).await?;
    let got = take(&mut subscription, 2).await?;
    ensure!(got.iter().all(|one| one.body == b"1" && one.message_id.is_none()), "{got:?}");
    subscription.settle(done(got)).await?;
    subscription.close().await;
    if !bench.delete_queue(&ledger().work_queue()).await {
        return Ok(Verdict::NotShown);
    }
    let fates = put_back(&mut publisher, &[parked(b"2")]).await?;
    ensure!(fates == [Fate::Unroutable], "into a queue that is not there: {fates:?}");
    publisher.close().await;
    Ok(Verdict::Kept)
}
