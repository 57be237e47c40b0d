//! Lamps that are lit and dimmed, a ledger that books it, and lamps that hear of what was booked.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use anyhow::{Context as _, ensure};
use envelope::signature::{KeyDocument, KeyRing, Signer};
use envelope::{Clock, Envelope, Event, Identity, Subject};
use messaging::answers::{Answer, Remembered, RequestKey};
use messaging::simulation::{Process, Seat, World, connect, empty};
use messaging::{
    Cause, Handler, HandlerError, HandlerResult, Handlers, Messaging, Pool, Received, Tx,
};
use opentelemetry::Context;
use serde::{Deserialize, Serialize};
use sqlx::PgPool;
use testkit::Database;
use uuid::Uuid;

pub const NAMESPACE: &str = "house";
const LAMPS: u32 = 3;
const REQUESTS: u32 = 9;

macro_rules! event {
    ($name:ident, $type:literal, $kind:literal) => {
        #[derive(Debug, Clone, Serialize, Deserialize)]
        struct $name {
            of: String,
            n: i32,
        }

        impl Event for $name {
            const TYPE: &'static str = $type;

            fn subject(&self) -> Subject {
                Subject::new($kind, &self.of)
            }
        }
    };
}

event!(Lit, "lamp.lit.v1", "lamp");
event!(Dimmed, "lamp.dimmed.v1", "lamp");
event!(Booked, "ledger.booked.v1", "entry");

/// Writes an entry and tells of it.
struct Book;

impl Book {
    async fn book(tx: &mut Tx, lamp: &str, n: i32) -> HandlerResult {
        sqlx::query("insert into entry (lamp, n) values ($1, $2)")
            .bind(lamp)
            .bind(n)
            .execute(tx.conn())
            .await?;
        tx.publish(&Booked { of: lamp.to_owned(), n }, n.unsigned_abs())?;
        Ok(())
    }
}

impl Handler<Lit> for Book {
    async fn handle(&self, tx: &mut Tx, event: Received<Lit>) -> HandlerResult {
        Self::book(tx, &event.data.of, event.data.n).await
    }
}

impl Handler<Dimmed> for Book {
    async fn handle(&self, tx: &mut Tx, event: Received<Dimmed>) -> HandlerResult {
        Self::book(tx, &event.data.of, event.data.n).await
    }
}

/// Counts what was booked, in whatever order it comes. Of some it cannot at first.
struct Count {
    clock: Clock,
    failed: Failed,
}

/// The events that were refused once.
type Failed = Arc<Mutex<BTreeSet<Uuid>>>;

impl Handler<Booked> for Count {
    async fn handle(&self, tx: &mut Tx, event: Received<Booked>) -> HandlerResult {
        sqlx::query("update lamp set booked = booked + 1 where name = $1")
            .bind(&event.data.of)
            .execute(tx.conn())
            .await?;
        let drawn = self.clock.unit() < 0.3;
        if drawn && self.failed.lock().unwrap().insert(event.message.envelope.id) {
            return Err(HandlerError::Transient(anyhow::anyhow!("not now")));
        }
        Ok(())
    }
}

/// The databases of both services; the worlds come one after the other.
pub struct House {
    lamps: PgPool,
    ledger: PgPool,
    _databases: [Database; 2],
}

impl House {
    pub async fn new() -> Self {
        let databases = [Database::new("messaging").await, Database::new("messaging").await];
        let lamps = connect(databases[0].local_url()).await.unwrap();
        let ledger = connect(databases[1].local_url()).await.unwrap();
        sqlx::raw_sql(
            "create table lamp (name text primary key, version int not null default 0,
                booked int not null default 0)",
        )
        .execute(&lamps)
        .await
        .unwrap();
        sqlx::raw_sql(
            "create table entry (at bigint generated always as identity, lamp text not null,
                n int not null)",
        )
        .execute(&ledger)
        .await
        .unwrap();
        Self { lamps, ledger, _databases: databases }
    }

    /// Two processes of each service, and requests to both that light lamps.
    pub async fn furnish(&self, world: &mut World) -> anyhow::Result<()> {
        empty(&self.lamps).await?;
        empty(&self.ledger).await?;
        sqlx::raw_sql("delete from entry").execute(&self.ledger).await?;
        sqlx::query(
            "insert into lamp (name) select 'lamp-' || n from generate_series(0, $1) n
            on conflict (name) do update set version = 0, booked = 0",
        )
        .bind(LAMPS as i32 - 1)
        .execute(&self.lamps)
        .await?;
        let failed = Failed::default();
        for name in ["lamp-a", "lamp-b"] {
            let (pg, failed) = (self.lamps.clone(), failed.clone());
            world.process(name, move |seat| lamp_process(&pg, seat, failed.clone()));
            world.requests(name, "light", REQUESTS)?;
        }
        for name in ["ledger-a", "ledger-b"] {
            let pg = self.ledger.clone();
            world.process(name, move |seat| ledger_process(&pg, seat));
        }
        Ok(())
    }

    /// Whether everything that was asked for happened once and in order, and nothing else.
    pub async fn holds(&self, world: &World) -> anyhow::Result<()> {
        let lamps: Vec<(String, i32, i32)> =
            sqlx::query_as("select name, version, booked from lamp order by name")
                .fetch_all(&self.lamps)
                .await?;
        let told: i32 = lamps.iter().map(|(_, version, _)| version).sum();
        let asked = 2 * (0..REQUESTS).map(|n| 1 + n % LAMPS).sum::<u32>() as i32;
        ensure!(told == asked, "{told} events, {asked} were asked for");
        for (lamp, version, booked) in &lamps {
            let entries: Vec<i32> =
                sqlx::query_scalar("select n from entry where lamp = $1 order by at")
                    .bind(lamp)
                    .fetch_all(&self.ledger)
                    .await?;
            let all: Vec<i32> = (1..=*version).collect();
            ensure!(entries == all, "entries of {lamp}: {entries:?} of {version}");
            ensure!(booked == version, "{lamp} heard {booked} times of {version} entries");
        }
        for pg in [&self.lamps, &self.ledger] {
            let parked: Vec<String> =
                sqlx::query_scalar("select reason from messaging.dead_letter")
                    .fetch_all(pg)
                    .await?;
            ensure!(parked.is_empty(), "parked: {parked:?}");
        }
        left_in_order(world)
    }
}

/// P5: the events of one aggregate leave in version order. Once more is no harm, sooner is.
fn left_in_order(world: &World) -> anyhow::Result<()> {
    let mut last: BTreeMap<String, u32> = BTreeMap::new();
    for accepted in world.broker().accepted() {
        let envelope = Envelope::decode(&accepted.content.body).context("an envelope")?;
        let (subject, version) = (envelope.subject.to_string(), envelope.aggversion);
        let before = last.entry(subject.clone()).or_default();
        ensure!(version <= *before + 1, "version {version} of {subject} left after {before}");
        *before = version.max(*before);
    }
    Ok(())
}

pub fn identity(service: &str) -> Identity {
    Identity::new(NAMESPACE, "test", service)
}

pub fn signer(service: &str) -> Signer {
    Signer::from_seed(format!("{service}-1"), [service.len() as u8; 32])
}

fn kit(pg: &PgPool, seat: &Seat, service: &str, handlers: Handlers) -> (Pool, Messaging) {
    let keys = ["lamp", "ledger"].map(|one| signer(one).public_for(&identity(one)));
    let keys = KeyRing::new(&KeyDocument { keys: keys.to_vec() }).unwrap();
    let pool = Pool::new(pg.clone(), identity(service), signer(service), seat.clock.clone());
    (pool.clone(), Messaging::new(pool, seat.broker.clone(), keys, handlers))
}

fn lamp_process(pg: &PgPool, seat: &Seat, failed: Failed) -> Process {
    let count = Count { clock: seat.clock.clone(), failed };
    let (pool, kit) = kit(pg, seat, "lamp", Handlers::new().on(count));
    let instance = seat.broker.name().to_owned();
    Process::new(kit).request("light", move |n| light(pool.clone(), instance.clone(), n))
}

fn ledger_process(pg: &PgPool, seat: &Seat) -> Process {
    let handlers = Handlers::new().on_ordered::<Lit>(Book).on_ordered::<Dimmed>(Book);
    Process::new(kit(pg, seat, "ledger", handlers).1)
}

/// Lights or dims some lamps: once, however often it is asked.
async fn light(pool: Pool, of: String, n: u32) -> anyhow::Result<()> {
    let key = RequestKey::new(format!("light {of}"), n.to_string(), b"");
    let mut tx = Tx::begin(&pool, Cause::request(pool.new_id(), Context::new())).await?;
    match tx.remembered(&key).await? {
        Remembered::Nothing => {}
        Remembered::Answer(_) => return Ok(()),
        other => anyhow::bail!("{other:?}"),
    }
    for lamp in (n..=n + n % LAMPS).map(|n| format!("lamp-{}", n % LAMPS)) {
        let sql = "update lamp set version = version + 1 where name = $1 returning version";
        let version: i32 = sqlx::query_scalar(sql).bind(&lamp).fetch_one(tx.conn()).await?;
        if version % 2 == 0 {
            tx.publish(&Dimmed { of: lamp, n: version }, version.unsigned_abs())?;
        } else {
            tx.publish(&Lit { of: lamp, n: version }, version.unsigned_abs())?;
        }
    }
    tx.remember(&key, &Answer { status: 202, location: None, body: Vec::new() }).await?;
    Ok(tx.commit().await?)
}
