//! How replicas wake each other.

use std::time::Duration;

use sqlx::PgPool;
use sqlx::postgres::{PgListener, PgPoolOptions};
use tokio::time::timeout;

use crate::pool::Pool;
use crate::retry::Backoff;
use crate::step::Signal;

const CONNECT: Duration = Duration::from_secs(2);
/// A session that is quiet for so long is asked whether it is still there.
const QUIET: Duration = Duration::from_secs(10);

/// A word from one replica to the others, over the database that they share: that there is something
/// new to look at. Rung only as often as somebody looks again afterwards anyway: a word can be lost.
#[derive(Clone)]
pub struct Bell {
    pool: Pool,
    channel: &'static str,
}

impl Bell {
    /// The bell called `channel` in `pool`'s database; for each reason to look there is one.
    pub fn new(pool: Pool, channel: &'static str) -> Self {
        Self { pool, channel }
    }

    /// Tells the others, if there are any: each word is a commit. In a statement of its own: within a
    /// transaction it would make all commits queue up.
    ///
    /// # Errors
    /// The database's own; then the others find out when they look by themselves.
    pub async fn ring(&self) -> Result<(), sqlx::Error> {
        if self.pool.is_alone() {
            return Ok(());
        }
        sqlx::query("select pg_notify($1, $2)")
            .bind(self.channel)
            .bind(self.own_name())
            .execute(self.pool.pg())
            .await?;
        Ok(())
    }

    /// Gives `signal` whenever another has rung, for ever.
    pub async fn hear(&self, signal: &Signal) {
        let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(1));
        loop {
            let options = self.pool.pg().connect_options().as_ref().clone();
            let own = PgPoolOptions::new()
                .max_connections(1)
                .acquire_timeout(CONNECT)
                .connect_lazy_with(options);
            if let Err(error) = self.listen(&own, signal, &mut backoff).await {
                tracing::debug!(%error, "the session that hears of others failed");
            }
            own.close().await;
            tokio::time::sleep(backoff.next(self.pool.clock())).await;
        }
    }

    async fn listen(
        &self,
        own: &PgPool,
        signal: &Signal,
        backoff: &mut Backoff,
    ) -> Result<(), sqlx::Error> {
        let mut listener = PgListener::connect_with(own).await?;
        listener.eager_reconnect(false);
        listener.listen(self.channel).await?;
        backoff.reset();
        // It may have been rung while nobody listened.
        signal.notify();
        loop {
            match timeout(QUIET, listener.try_recv()).await {
                Ok(rung) => match rung? {
                    Some(rung) if rung.payload() == self.own_name() => {}
                    Some(_) => signal.notify(),
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

    fn own_name(&self) -> String {
        self.pool.instance().number().to_string()
    }
}
