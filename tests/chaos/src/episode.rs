//! One seed: a load and faults that are drawn, then healing, then every invariant.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use shop::verify::{self, Coverage, Service};
use tokio::time::sleep;
use uuid::Uuid;

use crate::customers::{self, Plan, Seen};
use crate::draw::Draw;
use crate::faults::{Kind, Planned};
use crate::report::{Fault, Verdict};
use crate::tap::Tap;
use crate::world::World;

/// Customers come within this time.
const LOAD: Duration = Duration::from_secs(6);
/// Pieces that come before each load, fewer than will be wanted.
const PIECES: i64 = 8;
/// Between two looks at what has died.
const LOOK: Duration = Duration::from_millis(250);
/// How long everything may take to come to an end after the last fault; a message may rest on the rungs
/// of 30 s and two minutes.
const DRAIN: Duration = Duration::from_secs(180);

/// How an episode is drawn.
#[derive(Debug, Clone)]
pub(crate) struct Shape {
    pub(crate) kinds: Vec<Kind>,
    /// The most faults at once, at least 1.
    pub(crate) faults: usize,
    pub(crate) customers: usize,
}

/// What is planned for a seed.
#[derive(Debug)]
pub(crate) struct Script {
    pub(crate) seed: u64,
    plans: Vec<Plan>,
    faults: Vec<Planned>,
}

impl Script {
    /// Draws it.
    pub(crate) fn draw(seed: u64, shape: &Shape) -> Self {
        let mut draw = Draw::new(seed);
        let plans = Plan::draw_all(&mut draw.fork(), seed, shape.customers, LOAD);
        let mut faults = draw.fork();
        let many = 1 + faults.below(shape.faults);
        let faults = (0..many).map(|_| Planned::draw(&mut faults, &shape.kinds, LOAD)).collect();
        Self { seed, plans, faults }
    }

    /// Its faults in words.
    pub(crate) fn words(&self) -> Vec<String> {
        self.faults.iter().map(Planned::words).collect()
    }

    /// Plays it.
    ///
    /// # Errors
    /// When a fault could not be done or undone, or an invariant could not be asked for.
    pub(crate) async fn play(self, world: &World, tap: &Tap) -> anyhow::Result<Verdict> {
        let begun = Instant::now();
        world.outside.mailbox.clear();
        customers::restock(world, &format!("chaos-{}-restock", self.seed), PIECES).await?;
        let surprises = Mutex::new(Vec::new());
        let happening = async {
            let faults = self.faults.iter().cloned().map(|one| one.happen(world, tap));
            tokio::join!(customers::all(world, &self.plans), join_all(faults))
        };
        let (seen, happened) = tokio::select! {
            ended = happening => ended,
            error = keep_up(world, &surprises) => return Err(error),
        };
        let mut faults = Vec::new();
        for (planned, happened) in self.faults.iter().zip(happened) {
            let (words, kind) = (planned.words(), planned.kind);
            let happened = happened.map_err(|error| error.context(words.clone()))?;
            faults.push(Fault { kind, words, whom: happened.whom, felt: happened.felt });
        }
        world.links().for_each(|link| link.heal());
        let healed = Instant::now();
        let healing = async {
            world.ready().await?;
            drain(world, &seen).await
        };
        let mut violations = tokio::select! {
            drained = healing => drained?,
            error = keep_up(world, &surprises) => return Err(error),
        };
        let drained = healed.elapsed();
        violations.extend(surprises.into_inner().unwrap_or_else(PoisonError::into_inner));
        let orders = seen.iter().filter(|one| one.order.is_some()).count();
        let repetitions = seen.iter().map(|one| one.repetitions).sum();
        let endings = judge(world, tap, seen, &mut violations).await?;
        Ok(Verdict {
            seed: self.seed,
            bug: world.bug.clone(),
            faults,
            orders,
            repetitions,
            endings,
            events: tap.events(),
            violations,
            drained_ms: drained.as_millis(),
            took_ms: begun.elapsed().as_millis(),
        })
    }
}

/// Starts again what has died; ends only with an error.
async fn keep_up(world: &World, surprises: &Mutex<Vec<String>>) -> anyhow::Error {
    loop {
        match world.bring_back() {
            Ok(found) => surprises.lock().unwrap_or_else(PoisonError::into_inner).extend(found),
            Err(error) => return error,
        }
        sleep(LOOK).await;
    }
}

/// Waits until every order has ended and nothing is under way; gives what has not come to rest.
async fn drain(world: &World, seen: &[Seen]) -> anyhow::Result<Vec<String>> {
    let until = Instant::now() + DRAIN;
    let mut open: BTreeSet<Uuid> = seen.iter().filter_map(|one| one.order).collect();
    while !open.is_empty() && Instant::now() < until {
        for order in open.clone() {
            if let Ok((status, _)) = customers::ending(world, order).await
                && status != "pending"
            {
                open.remove(&order);
            }
        }
        sleep(LOOK).await;
    }
    let mut violations: Vec<String> = open
        .iter()
        .map(|order| format!("I10 {order} has not ended {DRAIN:?} after healing"))
        .collect();
    let left = until.saturating_duration_since(Instant::now());
    if let Some(busy) = verify::settle(&world.verify, left).await? {
        violations.push(format!("I22 not at rest {DRAIN:?} after healing: {busy}"));
    }
    Ok(violations)
}

/// Every invariant; gives the orders by their endings.
async fn judge(
    world: &World,
    tap: &Tap,
    seen: Vec<Seen>,
    violations: &mut Vec<String>,
) -> anyhow::Result<BTreeMap<String, usize>> {
    for verdict in verify::check(&world.verify).await? {
        let findings = verdict.findings;
        let told = findings.examples.iter().map(|example| format!("{} {example}", verdict.id));
        violations.extend(told);
        if let Coverage::Unknown(why) = &findings.coverage {
            violations.push(format!("{} could not be asked for: {why}", verdict.id));
        }
    }
    violations.extend(unparked(world, tap).await?);
    violations.extend(tap.out_of_order().into_iter().map(|one| format!("I13 {one}")));
    let mut endings = BTreeMap::new();
    for one in seen {
        violations.extend(one.faults.iter().map(|fault| format!("I14 {fault}")));
        let Some(order) = one.order else { continue };
        let (status, why) = customers::ending(world, order).await?;
        let by_customer = why == "customer_request";
        // Not: one whose answer was lost.
        if one.cancelled.is_some_and(|told| told != by_customer) {
            let told = one.cancelled;
            violations.push(format!("I14 {order}: cancelled {told:?}, and is {status} {why}"));
        }
        violations.extend(mails(world, order));
        *endings.entry(format!("{status} {why}").trim().to_owned()).or_default() += 1;
    }
    Ok(endings)
}

/// I19: what nobody has signed is parked, all of it.
async fn unparked(world: &World, tap: &Tap) -> anyhow::Result<Option<String>> {
    let spoilt = tap.spoilt();
    let audit = &world.databases[Service::Audit.name()];
    let parked = "select count(distinct body) from messaging.dead_letter where body = any($1)";
    let parked: i64 = sqlx::query_scalar(parked).bind(&spoilt).fetch_one(&audit.pool()).await?;
    let missing = spoilt.len() as i64 - parked;
    Ok((missing != 0).then(|| format!("I19 {missing} spoilt messages are not parked in audit")))
}

/// I15: a mail for each thing that there is to say about an order, whose copies carry its one id.
fn mails(world: &World, order: Uuid) -> Option<String> {
    let id = order.to_string();
    let mut said: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
    for mail in world.outside.mailbox.all() {
        if mail.text.as_deref().is_some_and(|text| text.contains(&id)) {
            said.entry(mail.subject.clone()).or_default().insert(mail.message_id.clone());
        }
    }
    let sound = !said.is_empty() && said.values().all(|ids| ids.len() == 1);
    (!sound).then(|| format!("I15 {order}: mails by subject and id {said:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_is_a_script() {
        let shape = Shape { kinds: Kind::ALL.to_vec(), faults: 3, customers: 10 };
        let script = |seed| Script::draw(seed, &shape);
        assert_eq!(script(5).words(), script(5).words());
        assert_eq!(format!("{:?}", script(5).plans), format!("{:?}", script(5).plans));
        assert!((1..=3).contains(&script(5).faults.len()));
    }
}
