//! What the checks share: two services, messages for them, and waiting with an end.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use chrono::{DateTime, SubsecRound as _, Utc};
use envelope::Clock;
use uuid::Uuid;

use super::{Bench, NAMESPACE};
use crate::reason::Code;
use crate::topology::Topology;
use crate::transport::{
    Delivery, Failure, Fate, Outgoing, Parked, Publisher, Settlement, Subscription,
};

/// For anything that takes no time by itself.
const SOON: Duration = Duration::from_secs(20);
/// Long enough to see that nothing comes: what would come wrongly is there already.
const QUIET: Duration = Duration::from_millis(150);

pub(super) const LIT: &str = "lamp.lit.v1";
pub(super) const DIMMED: &str = "lamp.dimmed.v1";
/// Nobody is bound to it.
pub(super) const BROKEN: &str = "lamp.broken.v1";

/// Listens to lamps that are lit.
pub(super) fn ledger() -> Topology {
    Topology { service: "ledger".into(), bindings: vec![LIT.into()] }
}

/// Listens to everything.
pub(super) fn archive() -> Topology {
    Topology { service: "archive".into(), bindings: vec!["#".into()] }
}

/// An event to publish.
#[derive(Debug, Clone)]
pub(super) struct Told {
    pub(super) id: Uuid,
    pub(super) short_type: &'static str,
    pub(super) full_type: String,
    pub(super) body: Vec<u8>,
    pub(super) at: DateTime<Utc>,
}

impl Told {
    pub(super) fn new(short_type: &'static str) -> Self {
        let clock = Clock::system();
        let (id, at) = (clock.new_id(), clock.now().trunc_subsecs(6));
        let body = format!("{{\"of\":\"{id}\"}}").into_bytes();
        Self { id, short_type, full_type: format!("{NAMESPACE}.{short_type}"), body, at }
    }

    pub(super) fn many(short_type: &'static str, n: usize) -> Vec<Self> {
        (0..n).map(|_| Self::new(short_type)).collect()
    }

    pub(super) fn outgoing(&self) -> Outgoing<'_> {
        Outgoing {
            id: self.id,
            short_type: self.short_type,
            full_type: &self.full_type,
            service: "lamp",
            namespace: NAMESPACE,
            correlation_id: self.id,
            body: &self.body,
            signature: &[7; 64],
            key_id: "lamp-1",
            traceparent: Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
            tracestate: Some("house=lamp"),
            created_at: self.at,
            published_at: self.at,
        }
    }
}

pub(super) fn ids(deliveries: &[Delivery]) -> Vec<String> {
    deliveries.iter().map(|one| one.message_id.clone().unwrap_or_default()).collect()
}

pub(super) fn ids_of(told: &[Told]) -> Vec<String> {
    told.iter().map(|one| one.id.to_string()).collect()
}

pub(super) fn sorted(mut ids: Vec<String>) -> Vec<String> {
    ids.sort();
    ids
}

pub(super) fn header(what: &str) -> String {
    format!("x-{NAMESPACE}-{what}")
}

pub(super) fn failure(attempts: u32) -> Failure {
    let first_failed_at = DateTime::from_timestamp(1_700_000_000, 123_456_000).unwrap_or_default();
    Failure { code: Code::Rejected, reason: "not ever".into(), attempts, first_failed_at }
}

pub(super) fn done(deliveries: Vec<Delivery>) -> Vec<(Delivery, Settlement)> {
    deliveries.into_iter().map(|one| (one, Settlement::Done)).collect()
}

/// A fresh publisher.
#[expect(clippy::disallowed_methods, reason = "what the ban points to is what is checked here")]
pub(super) async fn publisher(bench: &dyn Bench) -> anyhow::Result<Box<dyn Publisher>> {
    Ok(bench.transport().publisher().await?)
}

/// The fates of a batch, within reason.
#[expect(clippy::disallowed_methods, reason = "what the ban points to is what is checked here")]
pub(super) async fn fates_of(
    publisher: &mut Box<dyn Publisher>,
    told: &[Told],
) -> anyhow::Result<Vec<Fate>> {
    let batch: Vec<Outgoing<'_>> = told.iter().map(Told::outgoing).collect();
    let fates = tokio::time::timeout(SOON, publisher.publish(&batch)).await;
    let fates = fates.context("a batch has no fates after 20 s")?;
    ensure!(fates.len() == told.len(), "{} fates for {} messages", fates.len(), told.len());
    Ok(fates)
}

/// The fates of what goes back to the ledger, within reason.
#[expect(clippy::disallowed_methods, reason = "what the ban points to is what is checked here")]
pub(super) async fn put_back(
    publisher: &mut Box<dyn Publisher>,
    batch: &[Parked<'_>],
) -> anyhow::Result<Vec<Fate>> {
    let fates = tokio::time::timeout(SOON, publisher.put_back(&ledger(), batch)).await;
    fates.context("a batch has no fates after 20 s")
}

/// Publishes on a connection of its own, and sees that all of it is confirmed.
pub(super) async fn publish(bench: &dyn Bench, told: &[Told]) -> anyhow::Result<()> {
    let mut publisher = publisher(bench).await?;
    let fates = fates_of(&mut publisher, told).await?;
    publisher.close().await;
    ensure!(fates.iter().all(|fate| *fate == Fate::Confirmed), "not confirmed: {fates:?}");
    Ok(())
}

/// Both services, made.
pub(super) async fn furnish(bench: &dyn Bench) -> anyhow::Result<()> {
    for topology in [ledger(), archive()] {
        bench.transport().provision(&topology).await?;
    }
    Ok(())
}

pub(super) async fn subscribe(
    bench: &dyn Bench,
    topology: &Topology,
    prefetch: u16,
) -> anyhow::Result<Box<dyn Subscription>> {
    Ok(bench.transport().subscribe(topology, prefetch).await?)
}

/// The next `n` deliveries, none of them settled.
pub(super) async fn take(
    from: &mut Box<dyn Subscription>,
    n: usize,
) -> anyhow::Result<Vec<Delivery>> {
    let mut all = Vec::new();
    while all.len() < n {
        let next = tokio::time::timeout(SOON, from.next(n - all.len())).await;
        let next =
            next.with_context(|| format!("{} of {n} deliveries after 20 s", all.len()))??;
        all.extend(next);
    }
    Ok(all)
}

/// Sees that nothing comes.
pub(super) async fn nothing(from: &mut Box<dyn Subscription>) -> anyhow::Result<()> {
    match tokio::time::timeout(QUIET, from.next(1)).await {
        Err(_) => Ok(()),
        Ok(Ok(some)) => anyhow::bail!("{:?} came", ids(&some)),
        Ok(Err(error)) => Err(error.into()),
    }
}
