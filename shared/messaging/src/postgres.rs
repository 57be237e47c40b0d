//! A service's connections to its database.

use std::str::FromStr;
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{Connection as _, PgPool};

use crate::pool::Pool;

/// A request waits no longer than this for a connection; then the database counts as away.
const ACQUIRE: Duration = Duration::from_secs(3);
/// A connection that was used a moment ago is not asked whether it still stands: that would be a round
/// trip in front of every transaction, and its first statement finds out as well.
const ASK_AFTER: Duration = Duration::from_secs(1);

/// A pool that connects when it is first used, so that a service starts while its database is away.
/// Locks are waited for 5 s at most, and a transaction that idles for 30 s is ended by the server:
/// nothing here holds one across a call to the outside.
///
/// # Errors
/// When `url` is not a Postgres URL. It is never part of the error's text.
pub fn connect_lazily(url: &str, name: &str, connections: u32) -> Result<PgPool, sqlx::Error> {
    let options = PgConnectOptions::from_str(url)
        .map_err(|_| sqlx::Error::Configuration("the database URL cannot be read".into()))?
        .application_name(name)
        .options([
            ("lock_timeout", "5s"),
            ("idle_in_transaction_session_timeout", "30s"),
            ("statement_timeout", "30s"),
            // Plans are made once per connection, often while tables are empty, and kept while these
            // grow. At the server's default of 4, for turning disks, some would read whole tables.
            ("random_page_cost", "1.1"),
            // A statement is planned once per connection and not anew for each of its values, which
            // takes longer than most of them. None of ours needs another plan for other values.
            ("plan_cache_mode", "force_generic_plan"),
            // Such a plan is right for a table of any size if it takes an index wherever there is one.
            // While a table is empty, reading all of it looks cheaper.
            ("enable_seqscan", "off"),
            // `limit $1` looks like a tenth of the table, and starting other processes for it takes
            // longer than any statement here.
            ("max_parallel_workers_per_gather", "0"),
            // Nothing here runs for so long that compiling it first would pay.
            ("jit", "off"),
        ]);
    Ok(PgPoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(ACQUIRE)
        .test_before_acquire(false)
        .before_acquire(|connection, about| {
            Box::pin(async move {
                if about.idle_for >= ASK_AFTER {
                    connection.ping().await?;
                }
                Ok(true)
            })
        })
        .connect_lazy_with(options))
}

/// Whether the database answers, for health checks.
///
/// # Errors
/// Why not, without any part of the URL.
pub async fn ping(pool: Pool) -> Result<(), String> {
    sqlx::query("select 1").execute(pool.pg()).await.map(|_| ()).map_err(|error| error.to_string())
}
