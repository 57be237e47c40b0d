//! `shop doctor`: what is missing or wrong on this machine, and the fix.

mod checks;

use anyhow::bail;
use serde::Serialize;

use crate::output::Tone;
use crate::ports::Ports;
use crate::up::FolderArgs;
use crate::{Exit, Output};

const EXAMPLES: &str = "\
Examples:
  shop doctor
  shop doctor -o json | jq '.checks[] | select(.status != \"ok\")'";

/// `shop doctor`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(flatten)]
    folder: FolderArgs,
    #[command(flatten)]
    ports: Ports,
}

/// What a check has found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// As it should be.
    Ok,
    /// It works, but is worth a look.
    Warning,
    /// `shop up` cannot work.
    Failed,
}

/// One check.
#[derive(Debug, Clone, Serialize)]
pub struct Check {
    /// What was looked at.
    pub name: &'static str,
    /// The verdict.
    pub status: Status,
    /// What was seen.
    pub detail: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fix: Option<String>,
}

#[derive(Serialize)]
struct Answer {
    checks: Vec<Check>,
}

/// Looks at everything that `shop up` needs; `Failed` when something is missing.
///
/// # Errors
/// When the answer cannot be written.
pub async fn run(args: Args, out: &Output) -> anyhow::Result<Exit> {
    let folder = args.folder.folder()?;
    let mut checks = checks::packages();
    checks.push(checks::ports(&args.ports, &folder));
    checks.extend(checks::data_folder(&folder));
    checks.extend(checks::memory());
    let failed = checks.iter().any(|check| check.status == Status::Failed);
    let answer = Answer { checks };
    out.answer(&answer, || table(out, &answer.checks))?;
    Ok(if failed { Exit::Failed } else { Exit::Done })
}

fn table(out: &Output, checks: &[Check]) -> String {
    let rows = checks.iter().map(|check| {
        let (tone, mark) = match check.status {
            Status::Ok => (Tone::Good, "✓"),
            Status::Warning => (Tone::Warning, "!"),
            Status::Failed => (Tone::Bad, "✗"),
        };
        let fix = check.fix.as_ref().map(|fix| format!("\nfix: {fix}")).unwrap_or_default();
        vec![out.paint(tone, mark), check.name.to_owned(), format!("{}{fix}", check.detail)]
    });
    out.table(&[], &[], rows)
}

/// Refuses when a package is missing that `shop up` needs.
///
/// # Errors
/// What is missing, and the command that installs it.
pub(crate) fn require_packages() -> anyhow::Result<()> {
    let missing: Vec<String> = checks::packages()
        .into_iter()
        .filter(|check| check.status == Status::Failed)
        .map(|check| format!("{}\n      fix: {}", check.detail, check.fix.unwrap_or_default()))
        .collect();
    if missing.is_empty() { Ok(()) } else { bail!("{}", missing.join("\n      ")) }
}
