//! `shop dlq discard`: letters that are never handled.

use messaging::repair::Asked;
use serde::Serialize;
use uuid::Uuid;

use super::By;
use super::desks::Desks;
use super::target::{NotDone, Target, told_unknown};
use crate::commands::client::Addresses;
use crate::{Exit, Output};

const EXAMPLES: &str = "\
Examples:
  shop dlq discard 0192f0c4-7a1e-7c55-b6a4-3f1d2b9e0c11 --note \"forged, see ticket 7\" --yes
  shop dlq discard --group email/unsigned --note \"a test of last night's\"

A letter that is discarded can be seen for 30 days with `ls --decided` and `show`, and the decision
for ever. It takes no part in the order's story any more: whoever waits for it waits in vain.

Exit codes: 0 all discarded, 1 none, 2 wrong use, 3 some.";

/// `shop dlq discard`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(flatten)]
    target: Target,
    /// Why; stands in the log
    #[arg(long, value_name = "TEXT", required = true)]
    note: String,
    #[command(flatten)]
    by: By,
    #[command(flatten)]
    addresses: Addresses,
}

/// The answer for machines.
#[derive(Serialize)]
struct Answer {
    discarded: Vec<Done>,
    refused: Vec<NotDone>,
    unknown: Vec<Uuid>,
}

#[derive(Serialize)]
struct Done {
    service: &'static str,
    id: Uuid,
}

pub(super) async fn run(args: Args, out: &Output) -> anyhow::Result<Exit> {
    if args.target.is_none() || args.note.trim().is_empty() {
        out.note("shop: name letters by their ids or by --group, and say why with --note");
        return Ok(Exit::WrongUse);
    }
    let desks = Desks::open(&args.addresses, &args.target.services(), out).await?;
    let (chosen, unknown) = args.target.choose(&desks).await?;
    let mut parked = 0;
    for one in &chosen {
        let preview = one.letters.preview(&one.selection, &forever()).await?;
        parked += preview.pending.len();
    }
    let question = format!("Discard {parked} dead letters? They will never be handled.");
    if parked > 0 && !out.confirm(&question)? {
        return Ok(if out.can_ask() { Exit::Done } else { Exit::WrongUse });
    }
    let mut answer = Answer { discarded: Vec::new(), refused: Vec::new(), unknown };
    for one in &chosen {
        let asked = Asked { by: &args.by.by, note: args.note.trim() };
        let done = one.letters.discard(&one.selection, asked).await?;
        let service = one.service.name();
        answer.discarded.extend(done.discarded.into_iter().map(|id| Done { service, id }));
        answer.refused.extend(NotDone::of(one.service, done.refused));
    }
    out.answer(&answer, || render(&answer))?;
    Ok(desks.at_most_partly(exit(&answer)))
}

/// A letter of any age can be discarded.
fn forever() -> messaging::Retention {
    let always = chrono::TimeDelta::days(36_500);
    messaging::Retention { replay: always, inbox: always, ..messaging::Retention::default() }
}

fn exit(answer: &Answer) -> Exit {
    let left = answer.refused.len() + answer.unknown.len();
    match (answer.discarded.len(), left) {
        (0, _) => Exit::Failed,
        (_, 0) => Exit::Done,
        _ => Exit::Partly,
    }
}

fn render(answer: &Answer) -> String {
    let mut text = format!("discarded {}\n", answer.discarded.len());
    for NotDone { service, letter } in &answer.refused {
        text += &format!("not {} of {service}: {}\n", letter.id, letter.reason);
    }
    text + &told_unknown(&answer.unknown).unwrap_or_default()
}
