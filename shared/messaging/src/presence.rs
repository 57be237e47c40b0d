//! One session per process that shows the others it is alive, and hears when they wrote something.

use std::time::Duration;

use sqlx::PgPool;
use sqlx::postgres::{PgListener, PgPoolOptions};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::pool::Pool;
use crate::retry::Backoff;

/// The first key of the session lock; the second is the instance. The same number stands in
/// `messaging.live_instances()`.
pub(crate) const LOCK_CLASS: i32 = 1_953_064_041;
/// On this channel replicas wake each other's relay and replayer.
const CHANNEL: &str = "messaging_outbox";
/// The pool waits up to a fifth of this between its attempts, so the database's return is noticed
/// soon after it.
const CONNECT: Duration = Duration::from_secs(2);
/// Commits within this time of each other share one notification.
const DEBOUNCE: Duration = Duration::from_millis(5);

/// What the others are told: that there is something to publish, that leases changed hands, or that
/// there are dead letters to replay.
pub(crate) const WRITTEN: &str = "";
pub(crate) const LEASES_CHANGED: &str = "leases";
pub(crate) const REPLAYS: &str = "replays";
/// A session that is quiet for so long is asked whether it is still there: a peer that vanished
/// without a word ends no connection by itself.
const QUIET: Duration = Duration::from_secs(10);

/// Tells all processes on this database.
pub(crate) async fn tell(pg: &PgPool, what: &str) -> Result<(), sqlx::Error> {
    sqlx::query("select pg_notify($1, $2)").bind(CHANNEL).bind(what).execute(pg).await?;
    Ok(())
}

/// Holds the session lock and the subscription to wake-ups.
///
/// The server releases the lock the moment the process dies, so whoever is left, or the process
/// itself when it is back, takes over its leases without waiting for them to run out.
pub struct Presence {
    pool: Pool,
}

impl Presence {
    /// The presence of this process in `pool`'s database.
    pub fn new(pool: Pool) -> Self {
        pool.set_absent(true);
        Self { pool }
    }

    /// Keeps the session up until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(1));
        let listening = async {
            loop {
                let ended = self.session(&mut backoff).await;
                self.pool.set_absent(true);
                match ended {
                    Ok(()) => tracing::debug!("presence session ended; opening another"),
                    Err(error) => tracing::debug!(%error, "presence session failed"),
                }
                tokio::time::sleep(backoff.next(self.pool.clock())).await;
            }
        };
        tokio::select! {
            () = stop.cancelled() => {}
            () = listening => {}
            () = self.wake_others() => {}
        }
    }

    /// One session, on a connection that is closed after it: back in the pool, it would go on
    /// holding the lock.
    async fn session(&self, backoff: &mut Backoff) -> Result<(), sqlx::Error> {
        let options = self.pool.pg().connect_options().as_ref().clone();
        let own = PgPoolOptions::new()
            .max_connections(1)
            .acquire_timeout(CONNECT)
            .connect_lazy_with(options);
        let ended = self.listen(&own, backoff).await;
        own.close().await;
        ended
    }

    async fn listen(&self, own: &PgPool, backoff: &mut Backoff) -> Result<(), sqlx::Error> {
        let mut listener = PgListener::connect_with(own).await?;
        // A reconnect of its own would come back without the lock.
        listener.eager_reconnect(false);
        sqlx::query("select pg_advisory_lock($1, $2)")
            .bind(LOCK_CLASS)
            .bind(self.pool.instance().number())
            .execute(&mut listener)
            .await?;
        listener.listen(CHANNEL).await?;
        backoff.reset();
        self.pool.set_absent(false);
        loop {
            match timeout(QUIET, listener.try_recv()).await {
                Ok(told) => match told? {
                    Some(told) if told.payload() == LEASES_CHANGED => self.pool.leases_changed(),
                    Some(told) if told.payload() == REPLAYS => self.pool.replays().notify(),
                    Some(_) => {
                        self.pool.set_some_wait(true);
                        self.pool.outbox_written().notify();
                    }
                    None => return Ok(()),
                },
                Err(_) => {
                    let asked = sqlx::query("select").execute(&mut listener);
                    let silent = |_| sqlx::Error::Io(std::io::ErrorKind::TimedOut.into());
                    timeout(CONNECT, asked).await.map_err(silent)??;
                }
            }
        }
    }

    /// Tells the other replicas of rows that are theirs to publish. In a statement of its own: a
    /// notification inside the business transaction would make all commits queue up.
    async fn wake_others(&self) {
        loop {
            self.pool.wake_others().wait().await;
            let told = tell(self.pool.pg(), WRITTEN).await;
            if let Err(error) = told {
                tracing::debug!(%error, "wake-up not sent; the other relays will poll");
            }
            tokio::time::sleep(DEBOUNCE).await;
        }
    }
}
