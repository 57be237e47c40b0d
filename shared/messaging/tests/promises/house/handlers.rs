//! Handlers that do as they are told.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use messaging::{
    AnyHandler, ChunkHandler, Handler, HandlerError, HandlerResult, ManyHandler, Message, Received,
    Tx,
};
use tokio::sync::Semaphore;

use super::events::{Booked, Declined, Dimmed, Lit, Mood};

/// What a test may change about a ledger while it runs. Clones share it.
#[derive(Clone, Default)]
pub struct Switch(Arc<Inner>);

#[derive(Default)]
struct Inner {
    healed: AtomicBool,
    answers: AtomicBool,
    /// How often each lamp's event was begun.
    begun: Mutex<HashMap<String, u32>>,
    gate: Mutex<Option<Arc<Semaphore>>>,
}

impl Switch {
    /// A ledger that takes everything as the event's mood says.
    pub fn new() -> Self {
        Self::default()
    }

    /// From now on whatever failed succeeds.
    pub fn heal(&self) {
        self.0.healed.store(true, Ordering::SeqCst);
    }

    /// A ledger that tells of each entry.
    pub fn answering() -> Self {
        let this = Self::default();
        this.0.answers.store(true, Ordering::SeqCst);
        this
    }

    /// Handlers wait, after their writes, for a permit of the semaphore.
    pub fn gate(&self) -> Arc<Semaphore> {
        let gate = Arc::new(Semaphore::new(0));
        *self.0.gate.lock().unwrap() = Some(gate.clone());
        gate
    }

    /// How often the handler began with this lamp.
    pub fn begun(&self, lamp: &str) -> u32 {
        self.0.begun.lock().unwrap().get(lamp).copied().unwrap_or(0)
    }

    fn note(&self, lamp: &str) {
        *self.0.begun.lock().unwrap().entry(lamp.to_owned()).or_default() += 1;
    }

    async fn wait(&self) {
        let gate = self.0.gate.lock().unwrap().clone();
        if let Some(gate) = gate {
            gate.acquire().await.unwrap().forget();
        }
    }
}

/// Writes an entry for each lamp that is lit, then does as the event's mood says.
pub struct Book(pub Switch);

impl Handler<Lit> for Book {
    async fn handle(&self, tx: &mut Tx, event: Received<Lit>) -> HandlerResult {
        let Lit { lamp, n, mood } = event.data;
        self.0.note(&lamp);
        let id = event.message.envelope.id;
        write(tx, &lamp, n, id).await?;
        self.0.wait().await;
        if self.0.0.answers.load(Ordering::SeqCst) {
            tx.publish(&Booked { lamp: lamp.clone(), n }, 1)?;
        }
        if self.0.0.healed.load(Ordering::SeqCst) {
            return Ok(());
        }
        if mood == Mood::Refused {
            tx.publish(&Declined { lamp }, 1)?;
        }
        suffer(tx, mood).await
    }
}

async fn suffer(tx: &mut Tx, mood: Mood) -> HandlerResult {
    match mood {
        Mood::Good | Mood::Refused => Ok(()),
        Mood::Transient => Err(HandlerError::Transient(anyhow::anyhow!("not now"))),
        Mood::Needy => Err(HandlerError::Unavailable(anyhow::anyhow!("no power"))),
        Mood::Stranger => Err(HandlerError::UnknownAggregate),
        Mood::Permanent => Err(HandlerError::Permanent(anyhow::anyhow!("not ever"))),
        Mood::Panic => panic!("out of ink"),
        Mood::Hang => {
            tokio::time::sleep(Duration::from_secs(3_600)).await;
            Ok(())
        }
        Mood::SlowQuery => {
            sqlx::query("set local statement_timeout = '50ms'").execute(tx.conn()).await?;
            sqlx::query("select pg_sleep(60)").execute(tx.conn()).await?;
            Ok(())
        }
        Mood::LongQuery => {
            sqlx::query("select pg_sleep(20)").execute(tx.conn()).await?;
            Ok(())
        }
        Mood::Careless => {
            sqlx::query("select 1 / 0").execute(tx.conn()).await.unwrap_err();
            Ok(())
        }
        Mood::EndSession => {
            let end = "select pg_terminate_backend(pg_backend_pid())";
            sqlx::query(end).execute(tx.conn()).await?;
            Ok(())
        }
        Mood::BadData => {
            sqlx::query("select 'x'::text::int").execute(tx.conn()).await?;
            Ok(())
        }
    }
}

async fn write(tx: &mut Tx, lamp: &str, n: u32, id: uuid::Uuid) -> Result<(), sqlx::Error> {
    sqlx::query("insert into entry (lamp, n, event_id) values ($1, $2, $3)")
        .bind(lamp)
        .bind(i32::try_from(n).unwrap())
        .bind(id)
        .execute(tx.conn())
        .await
        .map(drop)
}

/// Writes the entries of all lamps with one statement, tells of each entry, does as the moods say, and
/// notes how many it was given at once.
pub struct BookAll(pub Arc<AtomicUsize>);

impl ManyHandler<Lit> for BookAll {
    async fn handle_many(&self, tx: &mut Tx, events: Vec<Received<Lit>>) -> HandlerResult {
        self.0.fetch_max(events.len(), Ordering::SeqCst);
        let lamps: Vec<&str> = events.iter().map(|event| &*event.data.lamp).collect();
        let ids: Vec<uuid::Uuid> = events.iter().map(|event| event.message.envelope.id).collect();
        sqlx::query(
            "insert into entry (lamp, n, event_id)
            select lamp, 1, id from unnest($1::text[], $2::uuid[]) as t (lamp, id)",
        )
        .bind(lamps)
        .bind(ids)
        .execute(tx.conn())
        .await?;
        for event in &events {
            tx.because_of(&event.cause);
            tx.publish(&Booked { lamp: event.data.lamp.clone(), n: 1 }, 1)?;
            suffer(tx, event.data.mood).await?;
        }
        Ok(())
    }
}

/// Locks lamps one after the other, in the order in which their names stand in the message, and notes
/// how many it was shown at once.
pub struct LockLamps(pub Arc<AtomicUsize>);

impl ChunkHandler for LockLamps {
    async fn before_chunk(&self, tx: &mut Tx, messages: &[Arc<Message>]) -> HandlerResult {
        self.0.fetch_max(messages.len(), Ordering::SeqCst);
        let mut lamps: Vec<String> = Vec::new();
        for message in messages {
            let lit = message.envelope.data::<Lit>();
            let lit = lit.map_err(|error| HandlerError::Permanent(error.into()))?;
            lamps.extend(lit.lamp.split('+').map(str::to_owned));
        }
        sqlx::query("select from lamp where name = any($1) order by name for update")
            .bind(lamps)
            .execute(tx.conn())
            .await?;
        Ok(())
    }
}

/// Counts up each of the lamps in a message, one after the other in its order.
pub struct CountUp;

impl Handler<Lit> for CountUp {
    async fn handle(&self, tx: &mut Tx, event: Received<Lit>) -> HandlerResult {
        for lamp in event.data.lamp.split('+') {
            sqlx::query("update lamp set n = n + 1 where name = $1")
                .bind(lamp)
                .execute(tx.conn())
                .await?;
        }
        Ok(())
    }
}

/// Writes an entry for everything that becomes of a lamp.
pub struct Relight;

impl Handler<Lit> for Relight {
    async fn handle(&self, tx: &mut Tx, event: Received<Lit>) -> HandlerResult {
        Ok(write(tx, &event.data.lamp, event.data.n, event.message.envelope.id).await?)
    }
}

impl Handler<Dimmed> for Relight {
    async fn handle(&self, tx: &mut Tx, event: Received<Dimmed>) -> HandlerResult {
        Ok(write(tx, &event.data.lamp, event.data.n, event.message.envelope.id).await?)
    }
}

/// Writes an entry for whatever comes, under its type.
pub struct Library;

impl AnyHandler for Library {
    async fn handle(&self, tx: &mut Tx, message: Arc<Message>) -> HandlerResult {
        let n = message.envelope.aggversion;
        Ok(write(tx, &message.short_type, n, message.envelope.id).await?)
    }
}
