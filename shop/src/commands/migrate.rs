//! `shop migrate`: databases, roles, schemas and the broker's topology.

pub(crate) mod databases;
mod plan;
pub(crate) mod topology;

use serde::Serialize;

use crate::{Exit, Output};

const EXAMPLES: &str = "\
Examples:
  shop migrate                                  what `shop up` runs
  shop migrate --databases-only
  ADMIN_DATABASE_URL=postgres://admin:secret@db/postgres AMQP_URL=amqp://admin:secret@mq/shop \\
    shop migrate

Makes what is missing and deletes nothing; safe to repeat, and to run twice at once.";

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
/// other properties.
pub async fn run(args: Args, out: &Output) -> anyhow::Result<Exit> {
    let mut changes = Vec::new();
    if !args.topology_only {
        changes.extend(databases::migrate(&args.admin_database_url, out).await?);
    }
    if !args.databases_only {
        changes.extend(topology::migrate(&args.amqp_url).await?);
    }
    let answer = Answer { changes };
    out.answer(&answer, || match answer.changes.as_slice() {
        [] => "nothing to change".to_owned(),
        changes => changes.join("\n"),
    })?;
    Ok(Exit::Done)
}
