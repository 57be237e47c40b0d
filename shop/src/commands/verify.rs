//! `shop verify`: is everything consistent?

use std::time::Duration;

use chrono::TimeDelta;
use serde::Serialize;

use crate::commands::client::{Addresses, duration};
use crate::output::Tone;
use crate::verify::{Broker, Coverage, Databases, Gateway, Verdict, World, check, settle};
use crate::{Exit, Output};

const EXAMPLES: &str = "\
Examples:
  shop verify                 waits up to 30 s for the shop to come to rest, then checks
  shop verify --settle 2m     after a long outage
  shop verify -o json         for machines

It reads all five databases as the superuser, the broker's management API and the gateway's ledger,
and changes nothing.

Exit codes: 0 no violation, 1 violations, 2 wrong use, 3 no violation seen, but not all could be
asked, or the shop did not come to rest.";

/// `shop verify`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// How long to wait until nothing is under way
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = duration)]
    settle: Duration,
    /// What is younger is missed if it is gone: less than the shortest OUTBOX_RETENTION and
    /// INBOX_RETENTION of the services
    #[arg(long, value_name = "TIME", default_value = "696h", value_parser = duration)]
    remembered: Duration,
    #[command(flatten)]
    addresses: Addresses,
}

/// The answer.
#[derive(Debug, Serialize)]
struct Report {
    /// What was still under way when the checks began.
    #[serde(skip_serializing_if = "Option::is_none")]
    busy: Option<String>,
    violations: u64,
    invariants: Vec<Verdict>,
}

/// Checks, and reports a line per invariant.
///
/// # Errors
/// When a database does not answer.
pub async fn run(args: Args, out: &Output) -> anyhow::Result<Exit> {
    let mut world = world(&args.addresses)?;
    world.remembered = TimeDelta::from_std(args.remembered)?;
    world.databases.ping().await?;
    let waiting = out.spinner("waiting until nothing is under way");
    let busy = settle(&world, args.settle).await?;
    waiting.set_message("checking");
    let invariants = check(&world).await?;
    waiting.finish_and_clear();
    let violations = invariants.iter().map(|verdict| verdict.findings.violations).sum();
    let report = Report { busy, violations, invariants };
    out.answer(&report, || render(&report, out))?;
    Ok(exit(&report))
}

fn world(addresses: &Addresses) -> anyhow::Result<World> {
    let databases = Databases::at(|service| addresses.database(service.name()))?;
    let broker = Broker::new(&addresses.management(), addresses.vhost())?;
    Ok(World::new(databases, broker, Gateway::new(addresses.gateway())))
}

fn exit(report: &Report) -> Exit {
    let unknown = |verdict: &Verdict| matches!(verdict.findings.coverage, Coverage::Unknown(_));
    if report.violations > 0 {
        Exit::Failed
    } else if report.busy.is_some() || report.invariants.iter().any(unknown) {
        Exit::Partly
    } else {
        Exit::Done
    }
}

fn render(report: &Report, out: &Output) -> String {
    let rows = report.invariants.iter().map(|verdict| {
        let violations = verdict.findings.violations;
        let tone = if violations == 0 { Tone::Good } else { Tone::Bad };
        vec![
            verdict.id.to_owned(),
            verdict.findings.checked.to_string(),
            out.paint(tone, violations),
            verdict.statement.to_owned(),
        ]
    });
    let mut text = out.table(&["", "checked", "violated", "statement"], &[1, 2], rows);
    for verdict in &report.invariants {
        text += &remarks(verdict, out);
    }
    if let Some(busy) = &report.busy {
        text += &out.paint(Tone::Warning, format_args!("not at rest: {busy}\n"));
    }
    text
}

/// The violations of a verdict one by one, and what it does not cover.
fn remarks(verdict: &Verdict, out: &Output) -> String {
    let findings = &verdict.findings;
    let untold = findings.violations - findings.examples.len() as u64;
    let untold = (untold > 0).then(|| format!("and {untold} more"));
    let mut text = String::new();
    for example in findings.examples.iter().chain(&untold) {
        text += &format!("{} {example}\n", out.paint(Tone::Bad, verdict.id));
    }
    match &findings.coverage {
        Coverage::Whole => {}
        Coverage::Partial(why) => {
            text += &format!("{} covers a part: {why}\n", out.paint(Tone::Faint, verdict.id));
        }
        Coverage::Unknown(why) => {
            text += &format!("{} is unknown: {why}\n", out.paint(Tone::Warning, verdict.id));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verify::Findings;

    fn report(violations: u64, coverage: Coverage) -> Report {
        let findings = Findings { violations, coverage, ..Findings::new() };
        let invariants = vec![Verdict { id: "I6", statement: "nothing is sold twice", findings }];
        Report { busy: None, violations, invariants }
    }

    #[test]
    fn only_a_whole_look_without_a_violation_is_a_success() {
        assert_eq!(exit(&report(0, Coverage::Whole)), Exit::Done);
        assert_eq!(exit(&report(0, Coverage::Partial("by nature"))), Exit::Done);
        assert_eq!(exit(&report(0, Coverage::Unknown("away".into()))), Exit::Partly);
        assert_eq!(exit(&report(2, Coverage::Unknown("away".into()))), Exit::Failed);
        let busy = Report { busy: Some("1 event".into()), ..report(0, Coverage::Whole) };
        assert_eq!(exit(&busy), Exit::Partly);
    }
}
