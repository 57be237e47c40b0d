//! `shop migrate`: databases, roles, schemas and the broker's topology, and what else a first start
//! needs.

mod bindings;
pub(crate) mod databases;
pub(crate) mod demo;
mod plan;
mod told;
pub(crate) mod topology;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use messaging::transport::TransportError;
use serde::Serialize;

use crate::up::keys;
use crate::{Exit, Output};
pub(crate) use told::Told;

/// Between two tries while a server is away.
const AGAIN: Duration = Duration::from_millis(500);

const EXAMPLES: &str = "\
Examples:
  shop migrate                                  what `shop up` runs
  shop migrate --databases-only
  shop migrate --wait 120 --keys /keys --demo-products
  ADMIN_DATABASE_URL=postgres://admin:secret@db/postgres AMQP_URL=amqp://admin:secret@mq/shop \\
    shop migrate

Looks at everything before it changes anything, makes what is missing and deletes nothing; safe to
repeat, and to run twice at once. Each change is told once it is made.

Bindings of queues that are there are made sure of in silence, as the broker's own protocol has no
question for them. With a management address, new ones are told, and those that no service wants any
more are named; they are left alone.";

/// `shop migrate`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// A database of the server, as a user who may create roles and databases
    #[arg(long, env, hide_env_values = true, value_name = "URL")]
    #[arg(default_value = "postgres://shop:shop@127.0.0.1:15432/postgres")]
    admin_database_url: String,
    /// The broker, as a user who may configure the vhost
    #[arg(long, env, hide_env_values = true, value_name = "URL")]
    #[arg(default_value = "amqp://shop:shop@127.0.0.1:15673/shop")]
    amqp_url: String,
    /// RabbitMQ's management API, http://user:password@host:port, to learn of bindings
    #[arg(long, env, hide_env_values = true, value_name = "URL")]
    management_url: Option<String>,
    /// Leave the broker as it is
    #[arg(long)]
    databases_only: bool,
    /// Leave the databases as they are
    #[arg(long, conflicts_with = "databases_only")]
    topology_only: bool,
    /// How long to wait for a server that does not answer, in seconds
    #[arg(long, value_name = "S", default_value_t = 0)]
    wait: u64,
    /// Make the signing keys that are missing in this folder, too
    #[arg(long, env = "KEYS_FOLDER", value_name = "FOLDER")]
    keys: Option<PathBuf>,
    /// The environment that the keys speak for
    #[arg(long, env = "ENVIRONMENT", value_name = "NAME", default_value = "dev")]
    environment: String,
    /// List two products to begin with, where inventory does not know them
    #[arg(long, requires = "keys", conflicts_with = "topology_only")]
    demo_products: bool,
}

#[derive(Serialize)]
struct Answer {
    changes: Vec<String>,
}

/// Migrates and says what was changed.
///
/// # Errors
/// When a server does not answer, a database is newer than this program, a queue exists with other
/// properties, or the keys cannot be made. Nothing was changed then, but for what was told.
pub async fn run(args: Args, out: &Output) -> anyhow::Result<Exit> {
    let mut told = Told::aloud(out);
    let (databases, broker) = look(&args, out).await?;
    if let Some(folder) = &args.keys {
        for service in keys::ensure(folder, &args.environment)? {
            told.change(format!("signing key of {service}"));
        }
    }
    if let Some(databases) = databases {
        databases.bring_up_to_date(&mut told).await?;
    }
    if let Some(broker) = broker {
        broker.make(&mut told).await?;
    }
    if let (true, Some(folder)) = (args.demo_products, &args.keys) {
        let keys = demo::Keys { folder, environment: &args.environment };
        demo::seed(&args.admin_database_url, keys, &mut told).await?;
    }
    let answer = Answer { changes: told.all() };
    if out.is_json() || answer.changes.is_empty() {
        out.answer(&answer, || "nothing to change".to_owned())?;
    }
    Ok(Exit::Done)
}

type Found<'a> = (Option<databases::Databases>, Option<topology::Found<'a>>);

/// Looks at all that is to be changed, and changes nothing. A server that is away is waited for.
async fn look<'a>(args: &'a Args, out: &Output) -> anyhow::Result<Found<'a>> {
    let deadline = Instant::now() + Duration::from_secs(args.wait);
    let mut said = String::new();
    loop {
        let error = match look_once(args, out).await {
            Err(error) if is_away(&error) && Instant::now() < deadline => format!("{error:#}"),
            done => return done,
        };
        if error != said {
            out.note(format_args!("waiting: {error}"));
            said = error;
        }
        tokio::time::sleep(AGAIN).await;
    }
}

async fn look_once<'a>(args: &'a Args, out: &Output) -> anyhow::Result<Found<'a>> {
    let databases = match args.topology_only {
        true => None,
        false => Some(databases::look(&args.admin_database_url, out).await?),
    };
    let broker = match args.databases_only {
        true => None,
        false => Some(topology::look(&args.amqp_url, args.management_url.as_deref(), out).await?),
    };
    Ok((databases, broker))
}

/// Whether nothing is wrong but that a server is not there yet.
fn is_away(error: &anyhow::Error) -> bool {
    match (error.downcast_ref(), error.downcast_ref()) {
        (Some(error), _) => databases::is_away(error),
        (_, Some(error)) => matches!(error, TransportError::Away(_)),
        _ => false,
    }
}

#[cfg(test)]
mod tests;
