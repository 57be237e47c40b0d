//! `shop dlq`: messages that could not be handled, why, and what is to become of them.

mod cancel;
mod desks;
mod discard;
mod following;
mod ls;
mod replay;
mod show;
mod target;

use clap::Subcommand;

use crate::{Exit, Output};

/// The help that stands under all of them.
pub const EXAMPLES: &str = "\
Examples:
  shop dlq ls --groups                      what is parked, and why
  shop dlq show 0192f0c4-...                one letter, with its bytes and its history
  shop dlq replay --group payment/rejected  once its cause is mended
  shop dlq discard 0192f0c4-... --note \"forged, see ticket 7\"

A dead letter is a message that its service could not handle. It keeps its bytes until somebody
decides: replayed it goes back to the queue that it came from, discarded it is never handled.
Everything is done by the services themselves; who decided what is kept in their databases for ever.";

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// List dead letters, or groups of them
    Ls(ls::Args),
    /// Show a dead letter: bytes, headers, reason, trace, history
    Show(show::Args),
    /// Send dead letters back to the queue that they came from
    Replay(replay::Args),
    /// End a replay: what has not gone stays parked
    Cancel(cancel::Args),
    /// Decide that dead letters are never handled
    Discard(discard::Args),
}

/// Does it.
///
/// # Errors
/// When no database answers, or one fails while it is asked.
pub async fn run(verb: Verb, out: &Output) -> anyhow::Result<Exit> {
    match verb {
        Verb::Ls(args) => ls::run(args, out).await,
        Verb::Show(args) => show::run(args, out).await,
        Verb::Replay(args) => replay::run(args, out).await,
        Verb::Cancel(args) => cancel::run(args, out).await,
        Verb::Discard(args) => discard::run(args, out).await,
    }
}

/// A time as tables show it.
fn time(at: chrono::DateTime<chrono::Utc>) -> String {
    at.format("%Y-%m-%d %H:%M:%S").to_string()
}

/// Who decides, and why: for the log.
#[derive(Debug, Clone, clap::Args)]
struct By {
    /// Who decides; stands in the log
    #[arg(long, env = "USER", value_name = "NAME", default_value = "unknown")]
    #[arg(hide_env_values = true)]
    by: String,
}
