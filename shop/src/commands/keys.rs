//! `shop keys`: the signing keys of all services.

use std::path::PathBuf;

use serde::Serialize;

use crate::up::keys;
use crate::{Exit, Output};

const EXAMPLES: &str = "\
Examples:
  shop keys --folder /run/keys --environment staging

Makes `<service>.key` (base64 of the Ed25519 seed, mode 0600) where it is missing, and
`event-keys.json`, the document of all public keys. Never replaces a private key.";

/// `shop keys`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Where the keys are kept
    #[arg(long, env = "KEYS_FOLDER", value_name = "FOLDER", default_value = ".tidings/keys")]
    folder: PathBuf,
    /// The environment that the keys speak for, part of every event's source
    #[arg(long, env = "ENVIRONMENT", value_name = "NAME", default_value = "dev")]
    environment: String,
}

#[derive(Serialize)]
struct Answer {
    made: Vec<&'static str>,
    document: PathBuf,
}

/// Makes what is missing and says what it made.
///
/// # Errors
/// When the folder cannot be written, or holds a key that is none.
pub async fn run(args: Args, out: &Output) -> anyhow::Result<Exit> {
    let made = keys::ensure(&args.folder, &args.environment)?;
    let answer = Answer { made, document: args.folder.join(keys::DOCUMENT) };
    out.answer(&answer, || match answer.made.as_slice() {
        [] => format!("all keys are there: {}", answer.document.display()),
        made => format!("made keys for {}: {}", made.join(", "), answer.document.display()),
    })?;
    Ok(Exit::Done)
}
