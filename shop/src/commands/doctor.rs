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
    require(checks::packages())
}

fn require(packages: Vec<Check>) -> anyhow::Result<()> {
    let missing: Vec<String> = packages
        .into_iter()
        .filter(|check| check.status == Status::Failed)
        .map(|check| format!("{}\n      fix: {}", check.detail, check.fix.unwrap_or_default()))
        .collect();
    if missing.is_empty() { Ok(()) } else { bail!("{}", missing.join("\n      ")) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use sandbox::{postgres, rabbitmq};

    use super::*;

    /// The checks of a machine on which no server is found.
    fn bare_machine() -> Vec<Check> {
        checks::servers(postgres::find_programs_in([]), rabbitmq::find_scripts_in([]))
    }

    #[test]
    fn a_missing_package_is_told_apart_from_the_command_that_installs_it() {
        let checks = bare_machine();
        let details: Vec<&str> = checks.iter().map(|check| check.detail.as_str()).collect();
        let expected =
            ["Postgres 15 or later is not installed", "RabbitMQ 3.10 or later is not installed"];
        assert_eq!(details, expected);
        for (check, package) in checks.iter().zip(["postgresql", "rabbitmq"]) {
            let fix = check.fix.as_deref().unwrap();
            assert!(
                fix.contains(&format!("install -y {package}")) || cfg!(target_os = "macos"),
                "{fix}"
            );
            assert!(!fix.starts_with("fix:"), "{fix}");
            assert_eq!(check.status, Status::Failed);
        }
    }

    #[test]
    fn up_refuses_with_every_missing_package_and_the_command_that_installs_it() {
        let refusal = require(bare_machine()).unwrap_err().to_string();
        let lines: Vec<&str> = refusal.lines().map(str::trim).collect();
        assert_eq!(lines.len(), 4, "{refusal}");
        assert_eq!(lines[0], "Postgres 15 or later is not installed");
        assert!(lines[1].starts_with("fix: ") && lines[1].contains("install"), "{refusal}");
        assert_eq!(lines[2], "RabbitMQ 3.10 or later is not installed");
        assert!(lines[3].starts_with("fix: ") && lines[3].contains("install"), "{refusal}");
    }
}
