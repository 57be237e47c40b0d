//! What is delivered, when, and how much of it.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::ensure;

use super::stage::{
    LIT, Told, done, furnish, ids, ids_of, ledger, nothing, publish, sorted, subscribe, take,
};
use super::{Bench, Checked, Raw, Verdict};

pub(super) async fn deliveries_come_in_order_and_as_many_as_asked_for(
    bench: &dyn Bench,
) -> Checked {
    furnish(bench).await?;
    let told = Told::many(LIT, 20);
    publish(bench, &told).await?;
    let mut ledger = subscribe(bench, &ledger(), 100).await?;
    let mut got = take(&mut ledger, 20).await?;
    ensure!(ids(&got) == ids_of(&told), "out of order");
    ledger.settle(done(got)).await?;
    publish(bench, &told).await?;
    got = ledger.next(1).await?;
    ensure!(got.len() == 1, "{} deliveries where one was asked for", got.len());
    while got.len() < 20 {
        let more = ledger.next(7).await?;
        ensure!((1..=7).contains(&more.len()), "{} where up to 7 were asked for", more.len());
        got.extend(more);
    }
    ensure!(ids(&got) == ids_of(&told), "out of order");
    ledger.settle(done(got)).await?;
    ledger.close().await;
    Ok(Verdict::Kept)
}

pub(super) async fn no_more_than_the_prefetch_is_unsettled(bench: &dyn Bench) -> Checked {
    furnish(bench).await?;
    let told = Told::many(LIT, 12);
    publish(bench, &told).await?;
    let mut ledger = subscribe(bench, &ledger(), 5).await?;
    let mut got = take(&mut ledger, 5).await?;
    nothing(&mut ledger).await?;
    // What is settled makes room for as many.
    let rest = got.split_off(2);
    ledger.settle(done(got)).await?;
    let more = take(&mut ledger, 2).await?;
    nothing(&mut ledger).await?;
    ensure!(ids(&more) == ids_of(&told[5..7]), "others came: {more:?}");
    ledger.settle(done(rest)).await?;
    ledger.settle(done(more)).await?;
    let last = take(&mut ledger, 5).await?;
    ensure!(ids(&last) == ids_of(&told[7..]), "others came: {last:?}");
    ledger.settle(done(last)).await?;
    ledger.close().await;
    Ok(Verdict::Kept)
}

pub(super) async fn who_waits_is_woken_by_a_message(bench: &dyn Bench) -> Checked {
    const SOON: Duration = Duration::from_secs(20);
    furnish(bench).await?;
    let mut ledger = subscribe(bench, &ledger(), 5).await?;
    nothing(&mut ledger).await?;
    let told = [Told::new(LIT)];
    let waiting = tokio::time::timeout(SOON, ledger.next(5));
    let (got, published) = tokio::join!(waiting, publish(bench, &told));
    published?;
    let got = got??;
    ensure!(ids(&got) == ids_of(&told), "another one came: {got:?}");
    ledger.settle(done(got)).await?;
    ledger.close().await;
    Ok(Verdict::Kept)
}

pub(super) async fn subscribers_of_a_queue_share_it(bench: &dyn Bench) -> Checked {
    furnish(bench).await?;
    let mut one = subscribe(bench, &ledger(), 3).await?;
    let mut other = subscribe(bench, &ledger(), 3).await?;
    let told = Told::many(LIT, 6);
    publish(bench, &told).await?;
    let mut all = ids(&take(&mut one, 3).await?);
    all.extend(ids(&take(&mut other, 3).await?));
    ensure!(sorted(all) == sorted(ids_of(&told)), "not each message once");
    one.close().await;
    other.close().await;
    Ok(Verdict::Kept)
}

pub(super) async fn foreign_headers_are_delivered(bench: &dyn Bench) -> Checked {
    furnish(bench).await?;
    let headers = BTreeMap::from(
        [
            ("x-odd", "\u{20ac} \"quoted\"\n\t"),
            ("X-Odd", "another one, in another case"),
            ("empty", ""),
            ("long", &"l".repeat(2_000)),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned())),
    );
    let raw = Raw { headers, body: b"\0\xff".to_vec(), ..Raw::default() };
    if !bench.put(&ledger().work_queue(), &raw).await {
        return Ok(Verdict::NotShown);
    }
    let mut ledger = subscribe(bench, &ledger(), 5).await?;
    let got = take(&mut ledger, 1).await?.remove(0);
    ensure!(got.body == raw.body, "another body: {:?}", got.body);
    ensure!((got.message_id.as_ref(), got.type_name.as_ref()) == (None, None), "{got:?}");
    for (name, value) in &raw.headers {
        ensure!(got.headers.get(name) == Some(value), "{name}: {:?}", got.headers.get(name));
    }
    ledger.settle(done(vec![got])).await?;
    ledger.close().await;
    Ok(Verdict::Kept)
}
