//! Where the worlds of one thread are played: databases, a mail server, and what each world brings.

use std::cell::RefCell;
use std::collections::BTreeMap;

use messaging::crash::Bug;
use messaging::simulation::{Entry, Failed, Report, Simulation, World};
use shop::verify::Service;
use sqlx::PgPool;

use crate::customer::Customer;
use crate::databases::{Databases, Server};
use crate::invariants;
use crate::outside::{Bank, Outside};
use crate::script::Script;
use crate::services::{NAMESPACE, Surroundings, process};

/// How many of a world's moves are made with faults; an order is at its end long before.
const MOVES: usize = 120;

/// The worlds of one thread come one after the other.
pub struct Stage {
    databases: Databases,
    outside: Outside,
    bank: RefCell<Option<Bank>>,
    /// What happened apart from what the driver counts.
    happened: RefCell<BTreeMap<String, u64>>,
}

impl Stage {
    /// A stage of its own for a thread, with databases of `server`.
    ///
    /// # Errors
    /// When databases or servers cannot be had.
    pub async fn new(name: &str, server: &Server) -> anyhow::Result<Self> {
        let (databases, outside) = (Databases::new(server).await?, Outside::new(name).await?);
        let (bank, happened) = (RefCell::default(), RefCell::default());
        Ok(Self { databases, outside, bank, happened })
    }

    /// Plays the worlds of these seeds until one fails: what happened in all that did not, and the one.
    pub async fn play(
        &self,
        seeds: impl IntoIterator<Item = u64>,
        bug: Option<Bug>,
    ) -> (Report, Option<Box<Failed>>) {
        let build = async |world: &mut World| self.furnish(world).await;
        let check = async |world: &World| self.check(world).await;
        let (mut report, failed) = simulation(bug).play(seeds, build, check).await;
        report.happened.extend(self.happened.take());
        (report, failed)
    }

    /// The history of one world.
    ///
    /// # Errors
    /// [`Failed`] when it does not come to rest.
    pub async fn history(&self, seed: u64) -> Result<Vec<Entry>, Box<Failed>> {
        simulation(None).history(seed, async |world| self.furnish(world).await).await
    }

    async fn furnish(&self, world: &mut World) -> anyhow::Result<()> {
        self.databases.empty().await?;
        let script = Script::draw(world.draws());
        if let Some(fault) = self.outside.fresh_mailbox(world.draws()) {
            self.note(fault);
        }
        self.note(&format!("paid with {}", script.payment_method));
        let bank = self.outside.bank().await?;
        let around = Surroundings {
            gateway_url: bank.url(),
            mail_addr: self.outside.mail_addr(),
            order_deadline: script.deadline,
            customer: Customer::new(script.clone()),
        };
        self.bank.replace(Some(bank));
        for (service, replicas) in REPLICAS {
            let twice = script.doubled.contains(&service);
            for name in &replicas[..1 + usize::from(twice)] {
                let (pg, around) = (self.databases.of(service).clone(), around.clone());
                world.process(name, move |seat| process(service, &pg, seat, &around));
            }
        }
        world.requests("inventory-a", "list", 1)?;
        world.requests("order-a", "place", 1)?;
        if script.cancels {
            world.requests("order-a", "cancel", 1)?;
        }
        let pools = Service::ALL.map(|service| self.databases.of(service).clone());
        world.rests_when(move || {
            let pools = pools.clone();
            async move { rests(&pools).await }
        });
        Ok(())
    }

    async fn check(&self, world: &World) -> anyhow::Result<()> {
        let bank = self.bank.take();
        let Some(bank) = bank else { anyhow::bail!("there is no gateway") };
        let mailbox = self.outside.mailbox();
        let ending = invariants::hold(world, &self.databases, &bank.gateway, mailbox).await?;
        self.note(&format!("ended {ending}"));
        Ok(())
    }

    fn note(&self, what: &str) {
        *self.happened.borrow_mut().entry(what.to_owned()).or_default() += 1;
    }
}

/// The names of the processes of each service.
const REPLICAS: [(Service, [&str; 2]); 5] = [
    (Service::Order, ["order-a", "order-b"]),
    (Service::Inventory, ["inventory-a", "inventory-b"]),
    (Service::Payment, ["payment-a", "payment-b"]),
    (Service::Email, ["email-a", "email-b"]),
    (Service::Audit, ["audit-a", "audit-b"]),
];

/// What lies neither in an outbox nor in a queue: an order that is still to be placed or waits for its
/// deadline, calls that are still to be made.
const DONE: [(Service, &str); 3] = [
    (Service::Order, "select coalesce(bool_and(status <> 'pending'), false) from orders"),
    (Service::Payment, "select not exists(select from payments where next_attempt_at is not null)"),
    (Service::Email, "select not exists(select from emails where next_attempt_at is not null)"),
];

async fn rests(pools: &[PgPool; 5]) -> anyhow::Result<bool> {
    for (service, sql) in DONE {
        let rests: bool = sqlx::query_scalar(sql).fetch_one(&pools[service as usize]).await?;
        if !rests {
            return Ok(false);
        }
    }
    Ok(true)
}

fn simulation(bug: Option<Bug>) -> Simulation {
    let usual = Simulation::new(NAMESPACE).moves(MOVES);
    match bug {
        Some(bug) => usual.bug(bug),
        None => usual,
    }
}
