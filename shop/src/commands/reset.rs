//! `shop reset`: forgets the data of `shop up`.

use anyhow::bail;

use crate::up::{self, FolderArgs};
use crate::{Exit, Output};

const EXAMPLES: &str = "\
Examples:
  shop reset                  asks first
  shop reset --yes --data /srv/tidings";

/// `shop reset`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(flatten)]
    folder: FolderArgs,
}

/// Deletes databases, broker data, ledger, keys and logs, after asking.
///
/// # Errors
/// When a `shop up` runs in the folder, or the folder is none of `shop up`.
pub async fn run(args: Args, out: &Output) -> anyhow::Result<Exit> {
    let folder = args.folder.folder()?;
    let shown = folder.path().display();
    if let Some(pid) = folder.runs() {
        bail!("shop up is running with {shown} (pid {pid}); stop it first: kill {pid}");
    }
    if !folder.path().exists() {
        out.note(format_args!("nothing to forget: there is no {shown}"));
        return Ok(Exit::Done);
    }
    if !folder.is_ours() {
        bail!("{shown} was not made by shop up: nothing was deleted");
    }
    let question = format!("Delete all data of shop up in {shown}?");
    if !out.confirm(&question)? {
        return Ok(if out.can_ask() { Exit::Done } else { Exit::WrongUse });
    }
    // Held so that nobody starts in it meanwhile.
    let lock = folder.lock()?;
    up::end_leftovers(&folder).await?;
    folder.delete()?;
    drop(lock);
    out.note(format_args!("deleted {shown}"));
    Ok(Exit::Done)
}
