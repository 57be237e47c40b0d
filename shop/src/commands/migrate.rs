//! `shop migrate`: databases, roles, schemas and the broker's topology.

mod bindings;
pub(crate) mod databases;
mod plan;
mod told;
pub(crate) mod topology;

use serde::Serialize;

use crate::{Exit, Output};
use told::Told;

const EXAMPLES: &str = "\
Examples:
  shop migrate                                  what `shop up` runs
  shop migrate --databases-only
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
}

#[derive(Serialize)]
struct Answer {
    changes: Vec<String>,
}

/// Migrates and says what was changed.
///
/// # Errors
/// When a server does not answer, a database is newer than this program, or a queue exists with
/// other properties. Nothing was changed then, but for what was told.
pub async fn run(args: Args, out: &Output) -> anyhow::Result<Exit> {
    let mut told = Told::aloud(out);
    let databases = match args.topology_only {
        true => None,
        false => Some(databases::look(&args.admin_database_url, out).await?),
    };
    let broker = match args.databases_only {
        true => None,
        false => Some(topology::look(&args.amqp_url, args.management_url.as_deref(), out).await?),
    };
    if let Some(databases) = databases {
        databases.bring_up_to_date(&mut told).await?;
    }
    if let Some(broker) = broker {
        broker.make(&mut told).await?;
    }
    let answer = Answer { changes: told.all() };
    if out.is_json() || answer.changes.is_empty() {
        out.answer(&answer, || "nothing to change".to_owned())?;
    }
    Ok(Exit::Done)
}

#[cfg(test)]
mod tests;
