//! Connections that stay at hand between two uses.
//!
//! The pool of sqlx asks each connection that is given back whether it still stands. That is a round
//! trip behind every use: a fourth of all that an order takes. So a few connections, those that are used
//! all the time, are not given back but kept here, next to the pool.

use std::ops::{Deref, DerefMut};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use sqlx::pool::PoolConnection;
use sqlx::postgres::PgTransactionManager;
use sqlx::{PgConnection, PgPool, Postgres};
// Not part of sqlx's own face: its transactions take a connection away for good.
use sqlx_core::transaction::TransactionManager as _;

use crate::pool::Pool;

/// One that was not used for so long is given back: the pool asks it before it is used again.
const AT_HAND: Duration = Duration::from_secs(1);
/// The longest that one stays away from the pool, which ends it when it is too old.
const AWAY: Duration = Duration::from_secs(60);
/// Of the connections that a pool may have, one in so many is kept: the pool's own users wait for none
/// of those.
const ONE_IN: u32 = 4;

/// Connections that were used a moment ago, the last one last.
pub(crate) struct Kept {
    most: usize,
    idle: Mutex<Vec<Idle>>,
}

struct Idle {
    connection: PoolConnection<Postgres>,
    /// When it was taken from the pool, by the clock's running time.
    taken: Duration,
    used: Duration,
}

impl Kept {
    pub(crate) fn beside(pg: &PgPool) -> Self {
        let most = (pg.options().get_max_connections() / ONE_IN) as usize;
        Self { most, idle: Mutex::default() }
    }

    fn take(&self, now: Duration) -> Option<Idle> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let last = idle.pop()?;
        if now.saturating_sub(last.used) < AT_HAND {
            return Some(last);
        }
        // So are those before it.
        idle.clear();
        None
    }

    /// Gives all of them back.
    pub(crate) fn clear(&self) {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    fn keep(&self, one: Idle) {
        if one.used.saturating_sub(one.taken) >= AWAY {
            return;
        }
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < self.most {
            idle.push(one);
        }
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        let idle = self.idle.get_mut().unwrap_or_else(PoisonError::into_inner);
        // Giving them back takes a runtime, which may be gone.
        idle.drain(..).for_each(|one| drop(one.connection.detach()));
    }
}

/// A connection to a service's database. [Put back](Self::put_back) it is at hand for the next use at
/// no cost; dropped it goes back to the pool, after a rollback if a transaction is open.
pub struct Connection {
    /// Until it is put back or dropped.
    held: Option<PoolConnection<Postgres>>,
    taken: Duration,
    /// A transaction was asked for, and there is no answer yet.
    beginning: bool,
    pool: Pool,
}

impl Connection {
    pub(crate) async fn take(pool: &Pool) -> Result<Self, sqlx::Error> {
        let now = pool.clock().running();
        let (held, taken) = match pool.kept().take(now) {
            Some(idle) => (idle.connection, idle.taken),
            None => (pool.pg().acquire().await?, now),
        };
        Ok(Self { held: Some(held), taken, beginning: false, pool: pool.clone() })
    }

    /// Keeps it at hand. Only after answers that came to their end without an error: one that broke off
    /// goes back to the pool, which finds out what it is worth.
    pub fn put_back(mut self) {
        if let Some(connection) = self.held.take() {
            if self.pool.pg().is_closed() {
                return;
            }
            let used = self.pool.clock().running();
            self.pool.kept().keep(Idle { connection, taken: self.taken, used });
        }
    }

    pub(crate) async fn begin(&mut self) -> Result<(), sqlx::Error> {
        self.beginning = true;
        PgTransactionManager::begin(self, None).await?;
        self.beginning = false;
        Ok(())
    }

    pub(crate) async fn commit(&mut self) -> Result<(), sqlx::Error> {
        PgTransactionManager::commit(self).await
    }
}

#[expect(clippy::expect_used, reason = "only what consumes a connection takes it out")]
impl Deref for Connection {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        self.held.as_ref().expect("a connection until it is put back")
    }
}

#[expect(clippy::expect_used, reason = "only what consumes a connection takes it out")]
impl DerefMut for Connection {
    fn deref_mut(&mut self) -> &mut PgConnection {
        self.held.as_mut().expect("a connection until it is put back")
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        if let Some(connection) = &mut self.held {
            if self.beginning {
                // Cut off here, sqlx believes in no transaction, and the server may be in one: who got
                // this connection next would work in it, and nobody would commit that.
                connection.close_on_drop();
            }
            // Sent when the pool asks it. Nothing, where no transaction is open.
            PgTransactionManager::start_rollback(connection);
        }
    }
}
