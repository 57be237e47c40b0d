//! `shop dlq replay`: letters go back to the queue that they came from.

use anyhow::bail;
use messaging::Retention;
use messaging::repair::{Asked, HIGHEST_RATE, Preview, USUAL_RATE};
use serde::Serialize;
use uuid::Uuid;

use super::By;
use super::desks::{Desks, service};
use super::following::{Jobs, follow, render};
use super::target::{Chosen, NotDone, Target, everything, told_unknown};
use crate::commands::client::Addresses;
use crate::verify::Service;
use crate::{Exit, Output};

const EXAMPLES: &str = "\
Examples:
  shop dlq replay --group payment/rejected --dry-run          what would go
  shop dlq replay --group payment/rejected --rate 50 --note \"v1.2.1 mends it\" --yes
  shop dlq replay --group payment/rejected/order.placed.v1
  shop dlq replay 0192f0c4-7a1e-7c55-b6a4-3f1d2b9e0c11
  shop dlq replay --all --service email --no-wait
  shop dlq replay --status 0192f0c4-... --follow

Letters go as they came, in the order of their versions, to their own queue and to no other service.
The service does it: it goes on when this command ends, and after a crash. A letter is in one replay
at a time; those that were decided over or parked more than 14 days ago are refused. One that fails
again is parked again, at once or after it has climbed the retry ladder (13 minutes).

Exit codes: 0 all have gone, 1 none, 2 wrong use, 3 some, or not yet.";

/// `shop dlq replay`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(flatten)]
    target: Target,
    /// All that is parked
    #[arg(long, conflicts_with_all = ["ids", "group"])]
    all: bool,
    /// With --all: only of this service; may be given several times
    #[arg(long, value_name = "NAME", value_parser = service, requires = "all")]
    service: Vec<Service>,
    /// Letters per second
    #[arg(long, value_name = "N", default_value_t = USUAL_RATE)]
    #[arg(value_parser = clap::value_parser!(i32).range(1..=i64::from(HIGHEST_RATE)))]
    rate: i32,
    /// Say what would go, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Why; stands in the log
    #[arg(long, value_name = "TEXT", default_value = "")]
    note: String,
    #[command(flatten)]
    by: By,
    /// Do not wait for its end
    #[arg(long, conflicts_with = "follow")]
    no_wait: bool,
    /// How far a replay is
    #[arg(long, value_name = "JOB", conflicts_with_all = ["ids", "group", "all", "dry_run"])]
    status: Option<Uuid>,
    /// With --status: wait for its end
    #[arg(long)]
    follow: bool,
    #[command(flatten)]
    addresses: Addresses,
}

/// What would go, for machines.
#[derive(Serialize)]
struct Plan {
    dry_run: bool,
    would_replay: Vec<Wanted>,
    refused: Vec<NotDone>,
    unknown: Vec<Uuid>,
}

#[derive(Serialize)]
struct Wanted {
    service: &'static str,
    /// In the order in which they would go.
    letters: Vec<Uuid>,
}

pub(super) async fn run(args: Args, out: &Output) -> anyhow::Result<Exit> {
    if let Some(job) = args.status {
        return status(&args, job, out).await;
    }
    if args.target.is_none() && !args.all {
        out.note("shop: name letters by their ids, by --group or by --all");
        return Ok(Exit::WrongUse);
    }
    let only = if args.all { args.service.clone() } else { args.target.services() };
    let desks = Desks::open(&args.addresses, &only, out).await?;
    let (chosen, unknown) = if args.all {
        (everything(&desks), Vec::new())
    } else {
        args.target.choose(&desks).await?
    };
    let plan = plan(&chosen, unknown.clone()).await?;
    if args.dry_run {
        out.answer(&plan, || render_plan(&plan, out))?;
        return Ok(desks.at_most_partly(plan.exit()));
    }
    let letters = plan.letters();
    if letters == 0 && plan.refused.is_empty() && unknown.is_empty() {
        let none = Jobs { jobs: Vec::new(), unknown };
        out.answer(&none, || "nothing to replay".to_owned())?;
        return Ok(desks.at_most_partly(Exit::Done));
    }
    let question = format!("Replay {letters} dead letters at {} per second?", args.rate);
    if letters > 0 && !out.confirm(&question)? {
        return Ok(if out.can_ask() { Exit::Done } else { Exit::WrongUse });
    }
    let jobs = ask(&args, &chosen).await?;
    let jobs = if args.no_wait {
        Jobs::read(&desks, &jobs, unknown).await?
    } else {
        follow(&desks, &jobs, unknown, out).await?
    };
    out.answer(&jobs, || render(&jobs, out))?;
    Ok(desks.at_most_partly(if args.no_wait { plan.exit() } else { jobs.exit() }))
}

async fn status(args: &Args, job: Uuid, out: &Output) -> anyhow::Result<Exit> {
    let desks = Desks::open(&args.addresses, &[], out).await?;
    let Some((service, _)) = desks.job(job).await? else { bail!("no replay {job}") };
    let job = [(service, job)];
    let jobs = if args.follow {
        follow(&desks, &job, Vec::new(), out).await?
    } else {
        Jobs::read(&desks, &job, Vec::new()).await?
    };
    out.answer(&jobs, || render(&jobs, out))?;
    Ok(jobs.exit())
}

/// Asks the services for it.
async fn ask(args: &Args, chosen: &[Chosen<'_>]) -> Result<Vec<(Service, Uuid)>, sqlx::Error> {
    let asked = Asked { by: &args.by.by, note: &args.note };
    let mut jobs = Vec::new();
    for one in chosen {
        let replay = one.letters.replay(&one.selection, args.rate, asked).await?;
        jobs.extend(replay.map(|replay| (one.service, replay.job)));
    }
    Ok(jobs)
}

async fn plan(chosen: &[Chosen<'_>], unknown: Vec<Uuid>) -> Result<Plan, sqlx::Error> {
    let mut plan = Plan { dry_run: true, would_replay: Vec::new(), refused: Vec::new(), unknown };
    for one in chosen {
        // Services keep to the usual retention.
        let Preview { pending, refused } =
            one.letters.preview(&one.selection, &Retention::default()).await?;
        if !pending.is_empty() {
            let service = one.service.name();
            plan.would_replay.push(Wanted { service, letters: pending });
        }
        plan.refused.extend(NotDone::of(one.service, refused));
    }
    Ok(plan)
}

impl Plan {
    fn letters(&self) -> usize {
        self.would_replay.iter().map(|wanted| wanted.letters.len()).sum()
    }

    fn exit(&self) -> Exit {
        let left = self.refused.len() + self.unknown.len();
        match (self.letters(), left) {
            (_, 0) => Exit::Done,
            (0, _) => Exit::Failed,
            _ => Exit::Partly,
        }
    }
}

fn render_plan(plan: &Plan, out: &Output) -> String {
    let rows = plan.would_replay.iter().map(|Wanted { service, letters }| {
        let first = letters.first().map(Uuid::to_string).unwrap_or_default();
        vec![(*service).to_owned(), letters.len().to_string(), first]
    });
    let mut text = out.table(&["service", "would replay", "first"], &[1], rows);
    if plan.would_replay.is_empty() {
        text = "nothing would be replayed\n".to_owned();
    }
    for NotDone { service, letter } in &plan.refused {
        text += &format!("not {} of {service}: {}\n", letter.id, letter.reason);
    }
    text + &told_unknown(&plan.unknown).unwrap_or_default()
}
