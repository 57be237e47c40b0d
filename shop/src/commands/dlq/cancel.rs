//! `shop dlq cancel`: ends a replay.

use anyhow::bail;
use messaging::repair::Asked;
use uuid::Uuid;

use super::By;
use super::desks::Desks;
use super::following::{Job, Jobs, render};
use crate::commands::client::Addresses;
use crate::{Exit, Output};

const EXAMPLES: &str = "\
Examples:
  shop dlq cancel 0192f0c4-7a1e-7c55-b6a4-3f1d2b9e0c11 --yes
  shop dlq cancel 0192f0c4-7a1e-7c55-b6a4-3f1d2b9e0c11 --note \"it was not mended after all\"

What has gone has gone; what has not stays parked and can be replayed later.

Exit codes: 0 cancelled, 1 there is no such replay or it has ended, 2 wrong use.";

/// `shop dlq cancel`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The replay
    #[arg(value_name = "JOB")]
    job: Uuid,
    /// Why; stands in the log
    #[arg(long, value_name = "TEXT", default_value = "")]
    note: String,
    #[command(flatten)]
    by: By,
    #[command(flatten)]
    addresses: Addresses,
}

pub(super) async fn run(args: Args, out: &Output) -> anyhow::Result<Exit> {
    let desks = Desks::open(&args.addresses, &[], out).await?;
    let Some((service, status)) = desks.job(args.job).await? else {
        bail!("no replay {}", args.job);
    };
    let question = format!(
        "End this replay of {service}, with {} letters that have not gone?",
        status.pending
    );
    if !out.confirm(&question)? {
        return Ok(if out.can_ask() { Exit::Done } else { Exit::WrongUse });
    }
    let Some(letters) = desks.of(service) else { bail!("no replay {}", args.job) };
    let asked = Asked { by: &args.by.by, note: &args.note };
    let cancelled = letters.cancel(args.job, asked).await?;
    let Some(status) = letters.status(args.job).await? else { bail!("no replay {}", args.job) };
    let jobs = Jobs { jobs: vec![Job { service: service.name(), status }], unknown: Vec::new() };
    out.answer(&jobs, || render(&jobs, out))?;
    if cancelled.is_none() {
        out.note("it had ended before");
    }
    Ok(if cancelled.is_some() { Exit::Done } else { Exit::Failed })
}
