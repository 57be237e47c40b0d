//! What becomes of deliveries: done, later, parked, owed.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{bail, ensure};

use super::stage::{
    LIT, Told, archive, done, failure, furnish, header, ids, ids_of, ledger, nothing, publish,
    subscribe, take,
};
use super::{Bench, Checked, Raw, Verdict};
use crate::retry::LADDER;
use crate::transport::{Delivery, Settlement, Subscription, TransportError};

pub(super) async fn what_is_done_does_not_come_again(bench: &dyn Bench) -> Checked {
    furnish(bench).await?;
    let told = Told::many(LIT, 4);
    publish(bench, &told).await?;
    let mut subscription = subscribe(bench, &ledger(), 10).await?;
    let got = take(&mut subscription, 4).await?;
    let (odd, even): (Vec<Delivery>, Vec<Delivery>) =
        got.into_iter().partition(|one| one.tag % 2 == 1);
    // In any order, and not all of them.
    let even_ids = ids(&even);
    subscription.settle(done(odd.into_iter().rev().collect())).await?;
    subscription.close().await;
    let mut subscription = subscribe(bench, &ledger(), 10).await?;
    let again = take(&mut subscription, even_ids.len()).await?;
    ensure!(ids(&again) == even_ids, "{:?} came again, not {even_ids:?}", ids(&again));
    subscription.settle(done(again)).await?;
    nothing(&mut subscription).await?;
    subscription.close().await;
    Ok(Verdict::Kept)
}

pub(super) async fn settling_twice_hurts_nobody(bench: &dyn Bench) -> Checked {
    furnish(bench).await?;
    publish(bench, &Told::many(LIT, 3)).await?;
    let mut subscription = subscribe(bench, &ledger(), 10).await?;
    let got = take(&mut subscription, 3).await?;
    subscription.settle(done(vec![got[0].clone()])).await?;
    subscription.settle(done(vec![got[0].clone(), got[1].clone()])).await?;
    // A second word on it changes nothing.
    subscription.settle(vec![(got[1].clone(), Settlement::Park(failure(1)))]).await?;
    subscription.settle(done(vec![got[2].clone()])).await?;
    publish(bench, &[Told::new(LIT)]).await?;
    let last = take(&mut subscription, 1).await?;
    subscription.settle(done(last)).await?;
    subscription.close().await;
    let mut parked = bench.transport().parked(&ledger()).await?;
    nothing(&mut parked).await?;
    parked.close().await;
    Ok(Verdict::Kept)
}

pub(super) async fn a_retry_comes_after_its_delay_to_this_queue_only(bench: &dyn Bench) -> Checked {
    furnish(bench).await?;
    let told = Told::new(LIT);
    publish(bench, std::slice::from_ref(&told)).await?;
    let mut bystander = subscribe(bench, &archive(), 10).await?;
    let seen = take(&mut bystander, 1).await?;
    bystander.settle(done(seen)).await?;
    let mut subscription = subscribe(bench, &ledger(), 10).await?;
    let first = take(&mut subscription, 1).await?.remove(0);
    let (rung, failure) = (LADDER[0], failure(2));
    subscription.settle(vec![(first.clone(), Settlement::Later(rung, failure.clone()))]).await?;
    let (again, waited) = after_a_while(bench, &mut subscription).await?;
    // Clocks of two machines agree to some hundredths.
    let enough = rung.delay.mul_f64(0.95);
    ensure!(waited >= enough, "came again after {waited:?}, before its {:?}", rung.delay);
    ensure!(again.body == told.body && again.message_id == first.message_id, "{again:?}");
    ensure!(again.type_name == first.type_name && again.content_type == first.content_type);
    ensure!(again.attempts == 2, "{} attempts", again.attempts);
    ensure!(again.first_failed_at == Some(failure.first_failed_at), "{:?}", again.first_failed_at);
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

/// The next delivery, and how long it took by the bench's time.
async fn after_a_while(
    bench: &dyn Bench,
    subscription: &mut Box<dyn Subscription>,
) -> anyhow::Result<(Delivery, Duration)> {
    const STEP: Duration = Duration::from_millis(100);
    const LOOKS: u32 = 200;
    let (begun, mut passed) = (Instant::now(), Duration::ZERO);
    for _ in 0..LOOKS {
        if let Ok(next) = tokio::time::timeout(STEP, subscription.next(1)).await {
            return Ok((next?.remove(0), begun.elapsed() + passed));
        }
        bench.pass(STEP).await;
        passed += STEP;
    }
    bail!("nothing came again within {:?}", begun.elapsed())
}

pub(super) async fn a_parked_message_keeps_its_bytes_and_its_reason(bench: &dyn Bench) -> Checked {
    furnish(bench).await?;
    let mut told = Told::new(LIT);
    told.body = vec![0, 159, 146, 150];
    publish(bench, std::slice::from_ref(&told)).await?;
    let mut subscription = subscribe(bench, &ledger(), 10).await?;
    let first = take(&mut subscription, 1).await?.remove(0);
    subscription.settle(vec![(first.clone(), Settlement::Park(failure(3)))]).await?;
    nothing(&mut subscription).await?;
    subscription.close().await;
    let mut parked = bench.transport().parked(&ledger()).await?;
    let letter = take(&mut parked, 1).await?.remove(0);
    ensure!(letter.body == told.body && letter.message_id == first.message_id, "{letter:?}");
    ensure!(letter.attempts == 3, "{} attempts", letter.attempts);
    ensure!(letter.first_failed_at == Some(failure(3).first_failed_at));
    let queue = ledger().work_queue();
    for (what, value) in [("code", "rejected"), ("reason", "not ever"), ("origin-queue", &*queue)] {
        let told = letter.headers.get(&header(what)).map(String::as_str);
        ensure!(told == Some(value), "{what}: {told:?}");
    }
    for (name, value) in &first.headers {
        ensure!(letter.headers.get(name) == Some(value), "{name} is lost");
    }
    parked.settle(done(vec![letter])).await?;
    nothing(&mut parked).await?;
    parked.close().await;
    Ok(Verdict::Kept)
}

pub(super) async fn a_copy_leaves_the_journey_behind(bench: &dyn Bench) -> Checked {
    furnish(bench).await?;
    let headers = ["x-of-mine", "x-first-death-reason", "x-last-death-queue", "x-delivery-count"]
        .map(|name| (name.to_owned(), "7".to_owned()));
    let raw = Raw { headers: BTreeMap::from(headers), body: b"b".to_vec(), ..Raw::default() };
    if !bench.put(&ledger().work_queue(), &raw).await {
        return Ok(Verdict::NotShown);
    }
    let mut subscription = subscribe(bench, &ledger(), 10).await?;
    let first = take(&mut subscription, 1).await?.remove(0);
    subscription.settle(vec![(first, Settlement::Park(failure(1)))]).await?;
    subscription.close().await;
    let mut parked = bench.transport().parked(&ledger()).await?;
    let letter = take(&mut parked, 1).await?.remove(0);
    ensure!(letter.headers.get("x-of-mine").map(String::as_str) == Some("7"), "{letter:?}");
    for name in ["x-first-death-reason", "x-last-death-queue"] {
        ensure!(!letter.headers.contains_key(name), "{name} went along");
    }
    let count = letter.headers.get("x-delivery-count").map(String::as_str);
    ensure!(count != Some("7"), "x-delivery-count went along");
    parked.settle(done(vec![letter])).await?;
    parked.close().await;
    Ok(Verdict::Kept)
}

pub(super) async fn what_finds_no_place_is_owed(bench: &dyn Bench) -> Checked {
    furnish(bench).await?;
    let told = Told::many(LIT, 3);
    publish(bench, &told).await?;
    let mut subscription = subscribe(bench, &ledger(), 10).await?;
    let mut got = take(&mut subscription, 3).await?;
    if !bench.delete_queue(&ledger().dead_letter_queue()).await {
        return Ok(Verdict::NotShown);
    }
    let (last, guilty) = (got.pop(), got.remove(0));
    let all = vec![(guilty, Settlement::Park(failure(1))), (got.remove(0), Settlement::Done)];
    let mut settled = subscription.settle(all).await;
    for _ in 0..2 {
        let topology = matches!(settled, Err(TransportError::Topology(_)));
        ensure!(topology, "nobody says that it has no place: {settled:?}");
        settled = subscription.settle(Vec::new()).await;
    }
    // Others pass meanwhile, those that come later, too.
    settled = subscription.settle(done(last.into_iter().collect())).await;
    ensure!(matches!(settled, Err(TransportError::Topology(_))), "{settled:?}");
    publish(bench, &[Told::new(LIT)]).await?;
    let later = take(&mut subscription, 1).await?;
    bench.transport().provision(&ledger()).await?;
    subscription.settle(done(later)).await?;
    subscription.settle(Vec::new()).await?;
    subscription.close().await;
    let mut subscription = subscribe(bench, &ledger(), 10).await?;
    nothing(&mut subscription).await?;
    subscription.close().await;
    let mut parked = bench.transport().parked(&ledger()).await?;
    let letter = take(&mut parked, 1).await?;
    ensure!(ids(&letter) == ids_of(&told[..1]), "another one was parked");
    parked.settle(done(letter)).await?;
    nothing(&mut parked).await?;
    parked.close().await;
    Ok(Verdict::Kept)
}
