//! Fates, routes, and what arrives.

use std::time::Duration;

use anyhow::ensure;
use envelope::CONTENT_TYPE;
use envelope::signature::{SUITE, signature_to_text};

use super::stage::{
    BROKEN, DIMMED, LIT, Told, archive, done, fates_of, furnish, header, ids, ids_of, ledger,
    nothing, publish, publisher, sorted, subscribe, take,
};
use super::{Bench, Checked, Verdict};
use crate::transport::Fate;

pub(super) async fn an_event_is_delivered_as_it_was_published(bench: &dyn Bench) -> Checked {
    furnish(bench).await?;
    let told = Told::new(LIT);
    publish(bench, std::slice::from_ref(&told)).await?;
    let mut ledger = subscribe(bench, &ledger(), 10).await?;
    let got = take(&mut ledger, 1).await?.remove(0);
    let out = told.outgoing();
    ensure!(got.body == told.body, "another body: {:?}", got.body);
    ensure!(got.message_id == Some(told.id.to_string()), "{:?}", got.message_id);
    ensure!(got.type_name == Some(told.full_type.clone()), "{:?}", got.type_name);
    ensure!(got.content_type.as_deref() == Some(CONTENT_TYPE), "{:?}", got.content_type);
    ensure!(got.correlation_id == Some(out.correlation_id.to_string()), "{:?}", got.correlation_id);
    ensure!(got.app_id.as_deref() == Some(out.service), "{:?}", got.app_id);
    let seconds = u64::try_from(told.at.timestamp()).ok();
    ensure!(got.timestamp == seconds, "{:?}, not {seconds:?}", got.timestamp);
    ensure!(!got.redelivered && got.attempts == 0 && got.first_failed_at.is_none(), "{got:?}");
    for (name, value) in [
        (header("sig"), signature_to_text(&[7; 64])),
        (header("kid"), out.key_id.to_owned()),
        (header("sigver"), SUITE.to_owned()),
        ("traceparent".to_owned(), out.traceparent.unwrap_or_default().to_owned()),
        ("tracestate".to_owned(), out.tracestate.unwrap_or_default().to_owned()),
    ] {
        ensure!(got.headers.get(&name) == Some(&value), "{name}: {:?}", got.headers.get(&name));
    }
    ensure!(got.headers.contains_key(&header("published")), "no time of publishing");
    ledger.settle(done(vec![got])).await?;
    ledger.close().await;
    Ok(Verdict::Kept)
}

pub(super) async fn large_and_odd_bodies_survive(bench: &dyn Bench) -> Checked {
    furnish(bench).await?;
    let mut told = Told::many(LIT, 4);
    told[0].body = vec![b'x'; envelope::MAX_BODY];
    told[1].body = (0..=u8::MAX).cycle().take(70_000).collect();
    told[2].body = Vec::new();
    told[3].body = vec![0xff, 0x00, 0xfe];
    publish(bench, &told).await?;
    let mut ledger = subscribe(bench, &ledger(), 10).await?;
    for (got, told) in take(&mut ledger, 4).await?.into_iter().zip(told) {
        ensure!(got.body == told.body, "{} bytes became {}", told.body.len(), got.body.len());
        ledger.settle(done(vec![got])).await?;
    }
    ledger.close().await;
    Ok(Verdict::Kept)
}

pub(super) async fn each_message_of_a_mixed_batch_has_its_own_fate(bench: &dyn Bench) -> Checked {
    bench.transport().provision(&ledger()).await?;
    let mut publisher = publisher(bench).await?;
    let mut sent = Vec::new();
    for round in 0..5_usize {
        let kind = |n: usize| if (n * 7 + round).is_multiple_of(5) { BROKEN } else { LIT };
        let told: Vec<Told> = (0..60).map(|n| Told::new(kind(n))).collect();
        let fates = fates_of(&mut publisher, &told).await?;
        for (n, (told, fate)) in told.iter().zip(&fates).enumerate() {
            let wanted = told.short_type == LIT;
            let expected = if wanted { Fate::Confirmed } else { Fate::Unroutable };
            ensure!(*fate == expected, "message {n} of a batch of 60: {fate:?}, not {expected:?}");
        }
        sent.extend(told.into_iter().filter(|one| one.short_type == LIT));
    }
    publisher.close().await;
    let mut ledger = subscribe(bench, &ledger(), 500).await?;
    let got = take(&mut ledger, sent.len()).await?;
    let same = sorted(ids(&got)) == sorted(ids_of(&sent));
    ensure!(same, "what was confirmed is not what came");
    nothing(&mut ledger).await?;
    ledger.settle(done(got)).await?;
    ledger.close().await;
    Ok(Verdict::Kept)
}

pub(super) async fn events_go_to_whoever_is_bound_and_nobody_else(bench: &dyn Bench) -> Checked {
    furnish(bench).await?;
    let told = [Told::new(LIT), Told::new(DIMMED), Told::new("lamp.lit.v10"), Told::new(LIT)];
    publish(bench, &told).await?;
    let mut ledger = subscribe(bench, &ledger(), 10).await?;
    let mut archive = subscribe(bench, &archive(), 10).await?;
    let (some, all) = (take(&mut ledger, 2).await?, take(&mut archive, 4).await?);
    ensure!(ids(&some) == ids_of(&[told[0].clone(), told[3].clone()]), "ledger: {some:?}");
    ensure!(ids(&all) == ids_of(&told), "archive: {all:?}");
    nothing(&mut ledger).await?;
    nothing(&mut archive).await?;
    ledger.close().await;
    archive.close().await;
    Ok(Verdict::Kept)
}

pub(super) async fn an_event_leaves_once_its_route_exists(bench: &dyn Bench) -> Checked {
    bench.transport().provision(&ledger()).await?;
    let told = [Told::new(DIMMED)];
    let mut publisher = publisher(bench).await?;
    ensure!(fates_of(&mut publisher, &told).await? == [Fate::Unroutable], "nobody wanted it");
    bench.transport().provision(&archive()).await?;
    ensure!(fates_of(&mut publisher, &told).await? == [Fate::Confirmed], "somebody wants it");
    publisher.close().await;
    let mut archive = subscribe(bench, &archive(), 10).await?;
    ensure!(ids(&take(&mut archive, 1).await?) == ids_of(&told), "another one came");
    nothing(&mut archive).await?;
    archive.close().await;
    Ok(Verdict::Kept)
}

pub(super) async fn a_full_queue_refuses(bench: &dyn Bench) -> Checked {
    bench.transport().provision(&ledger()).await?;
    let queue = ledger().work_queue();
    if !bench.limit(&queue, Some(3)).await {
        return Ok(Verdict::NotShown);
    }
    let mut publisher = publisher(bench).await?;
    let (mut sent, mut refused) = (Vec::new(), false);
    // A broker may look at its bound a little late.
    while !refused {
        ensure!(sent.len() < 50, "50 messages in a queue for 3");
        let told = [Told::new(LIT)];
        match fates_of(&mut publisher, &told).await?[..] {
            [Fate::Confirmed] => sent.extend(told),
            [Fate::Refused] => refused = true,
            ref other => anyhow::bail!("{other:?}"),
        }
    }
    ensure!(sent.len() >= 3, "refused after {}", sent.len());
    let mut ledger = subscribe(bench, &ledger(), 100).await?;
    let got = take(&mut ledger, sent.len()).await?;
    ensure!(ids(&got) == ids_of(&sent), "what was confirmed is not what came");
    ledger.settle(done(got)).await?;
    ensure!(bench.limit(&queue, None).await, "the limit stays");
    let told = [Told::new(LIT)];
    ensure!(fates_of(&mut publisher, &told).await? == [Fate::Confirmed], "there is room again");
    publisher.close().await;
    ledger.close().await;
    Ok(Verdict::Kept)
}

pub(super) async fn a_lost_confirm_is_unknown_and_spends_the_publisher(
    bench: &dyn Bench,
) -> Checked {
    furnish(bench).await?;
    let mut spent = publisher(bench).await?;
    if !bench.lose_confirms().await {
        return Ok(Verdict::NotShown);
    }
    let told = Told::many(LIT, 5);
    let fates = fates_of(&mut spent, &told).await?;
    ensure!(fates == vec![Fate::Unknown; 5], "{fates:?}");
    ensure!(!spent.connected(), "it goes on after an unknown fate");
    ensure!(!spent.trouble().is_empty(), "no word of what came in between");
    spent.close().await;
    publish(bench, &told).await?;
    Ok(Verdict::Kept)
}

pub(super) async fn a_blocked_publisher_waits_and_says_so(bench: &dyn Bench) -> Checked {
    const WHILE: Duration = Duration::from_millis(300);
    furnish(bench).await?;
    publish(bench, &[Told::new(LIT)]).await?;
    let mut ledger = subscribe(bench, &ledger(), 10).await?;
    let mut held = publisher(bench).await?;
    if !bench.block(true).await {
        return Ok(Verdict::NotShown);
    }
    let (blocked, told) = (held.blocked(), [Told::new(LIT)]);
    let mut publishing = Box::pin(fates_of(&mut held, &told));
    let early = tokio::time::timeout(WHILE, &mut publishing).await;
    ensure!(early.is_err(), "published under an alarm: {early:?}");
    ensure!(blocked(), "it does not say that it is held back");
    // Acknowledgements go on.
    let got = take(&mut ledger, 1).await?;
    ledger.settle(done(got)).await?;
    ensure!(bench.block(false).await, "the alarm stays");
    ensure!(publishing.await? == [Fate::Confirmed], "not confirmed after the alarm");
    ensure!(!blocked(), "it says that it is held back");
    ensure!(ids(&take(&mut ledger, 1).await?) == ids_of(&told), "another one came");
    nothing(&mut ledger).await?;
    held.close().await;
    ledger.close().await;
    Ok(Verdict::Kept)
}
