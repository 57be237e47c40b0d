//! What is made, what is reported, and what is left alone.

use anyhow::ensure;

use super::stage::{
    DIMMED, LIT, Told, archive, done, ids, ids_of, ledger, nothing, publish, subscribe, take,
};
use super::{Bench, Checked, Verdict};
use crate::topology::Topology;
use crate::transport::TransportError;

pub(super) async fn provisioning_twice_changes_nothing(bench: &dyn Bench) -> Checked {
    let made = bench.transport().provision(&ledger()).await?;
    for queue in [ledger().work_queue(), ledger().dead_letter_queue()] {
        ensure!(made.iter().any(|one| one.contains(&queue)), "{queue} is not reported: {made:?}");
    }
    let told = [Told::new(LIT)];
    publish(bench, &told).await?;
    let made = bench.transport().provision(&ledger()).await?;
    ensure!(made.is_empty(), "made again: {made:?}");
    let mut subscription = subscribe(bench, &ledger(), 10).await?;
    let got = take(&mut subscription, 1).await?;
    ensure!(ids(&got) == ids_of(&told), "another one came");
    subscription.settle(done(got)).await?;
    nothing(&mut subscription).await?;
    subscription.close().await;
    Ok(Verdict::Kept)
}

pub(super) async fn what_grows_is_added_and_nothing_is_taken_away(bench: &dyn Bench) -> Checked {
    bench.transport().provision(&ledger()).await?;
    let other = Topology { bindings: vec![DIMMED.into()], ..ledger() };
    bench.transport().provision(&other).await?;
    let told = [Told::new(LIT), Told::new(DIMMED)];
    publish(bench, &told).await?;
    let mut subscription = subscribe(bench, &other, 10).await?;
    let got = take(&mut subscription, 2).await?;
    ensure!(ids(&got) == ids_of(&told), "not both types came");
    subscription.settle(done(got)).await?;
    subscription.close().await;
    Ok(Verdict::Kept)
}

pub(super) async fn a_difference_is_reported_and_nothing_is_made(bench: &dyn Bench) -> Checked {
    if !bench.make_different(&ledger()).await {
        return Ok(Verdict::NotShown);
    }
    let refused = bench.transport().provision(&ledger()).await;
    let Err(TransportError::Topology(why)) = refused else {
        anyhow::bail!("nobody says that something is different: {refused:?}");
    };
    let queue = ledger().dead_letter_queue();
    ensure!(why.contains(&queue), "it does not say what differs: {why}");
    let subscribed = bench.transport().subscribe(&ledger(), 10).await.err();
    ensure!(matches!(subscribed, Some(TransportError::Topology(_))), "the work queue was made");
    // Others are not concerned.
    bench.transport().provision(&archive()).await?;
    publish(bench, &[Told::new(LIT)]).await?;
    Ok(Verdict::Kept)
}

pub(super) async fn a_missing_queue_is_a_matter_of_topology(bench: &dyn Bench) -> Checked {
    bench.transport().provision(&archive()).await?;
    for refused in [
        bench.transport().subscribe(&ledger(), 10).await.err(),
        bench.transport().parked(&ledger()).await.err(),
    ] {
        ensure!(matches!(refused, Some(TransportError::Topology(_))), "{refused:?}");
    }
    Ok(Verdict::Kept)
}
