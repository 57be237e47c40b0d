//! `shop dlq ls`: what is parked, and why.

use messaging::repair::{Filter, Group as Letters, Summary};
use serde::Serialize;

use super::desks::{Desks, service};
use super::target::Group;
use super::time;
use crate::commands::client::Addresses;
use crate::output::Tone;
use crate::verify::Service;
use crate::{Exit, Output};

const EXAMPLES: &str = "\
Examples:
  shop dlq ls                            the letters parked last
  shop dlq ls --groups                   how many, by queue, reason and type
  shop dlq ls --service payment --reason rejected
  shop dlq ls --decided                  those that were replayed or discarded, too
  shop dlq ls -o json | jq -r '.letters[].id'

The name of a group is what `replay --group` and `discard --group` take.

Exit codes: 0 done, 1 no database answers, 2 wrong use, 3 some databases do not answer.";

/// `shop dlq ls`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Only of this service; may be given several times
    #[arg(long, value_name = "NAME", value_parser = service)]
    service: Vec<Service>,
    /// Only those that came from this queue
    #[arg(long, value_name = "NAME")]
    queue: Option<String>,
    /// Only those that were parked for this reason
    #[arg(long, value_name = "CODE")]
    reason: Option<String>,
    /// Only those of this type
    #[arg(long, value_name = "TYPE")]
    r#type: Option<String>,
    /// Groups with their numbers, and not each letter
    #[arg(short, long)]
    groups: bool,
    /// Also those that were replayed or discarded
    #[arg(long)]
    decided: bool,
    /// The most letters of each service
    #[arg(short = 'n', long, value_name = "N", default_value_t = 50)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
    #[command(flatten)]
    addresses: Addresses,
}

/// A group and whose it is.
#[derive(Serialize)]
struct GroupRow {
    group: String,
    service: &'static str,
    #[serde(flatten)]
    letters: Letters,
}

/// A letter and whose it is.
#[derive(Serialize)]
struct LetterRow {
    service: &'static str,
    #[serde(flatten)]
    letter: Summary,
}

#[derive(Serialize)]
struct Groups {
    groups: Vec<GroupRow>,
}

#[derive(Serialize)]
struct List {
    letters: Vec<LetterRow>,
    /// Whether there are more than are listed.
    more: bool,
}

pub(super) async fn run(args: Args, out: &Output) -> anyhow::Result<Exit> {
    let desks = Desks::open(&args.addresses, &args.service, out).await?;
    let filter = Filter {
        queue: args.queue,
        reason_code: args.reason,
        event_type: args.r#type,
        decided: args.decided,
    };
    if args.groups {
        let groups = groups(&desks, &filter).await?;
        out.answer(&groups, || render_groups(&groups, out))?;
    } else {
        let list = list(&desks, &filter, args.limit).await?;
        out.answer(&list, || render_list(&list, out))?;
    }
    Ok(desks.at_most_partly(Exit::Done))
}

async fn groups(desks: &Desks, filter: &Filter) -> Result<Groups, sqlx::Error> {
    let mut groups = Vec::new();
    for (service, letters) in desks.all() {
        groups.extend(letters.groups(filter).await?.into_iter().map(|letters| GroupRow {
            group: Group::name(service, &letters.reason_code, letters.event_type.as_deref()),
            service: service.name(),
            letters,
        }));
    }
    Ok(Groups { groups })
}

async fn list(desks: &Desks, filter: &Filter, limit: u32) -> Result<List, sqlx::Error> {
    let (mut all, mut more) = (Vec::new(), false);
    for (service, letters) in desks.all() {
        let mut found = letters.list(filter, i64::from(limit) + 1).await?;
        more |= found.len() > limit as usize;
        found.truncate(limit as usize);
        let service = service.name();
        all.extend(found.into_iter().map(|letter| LetterRow { service, letter }));
    }
    Ok(List { letters: all, more })
}

/// Nothing is good news, and said so.
fn none(out: &Output) -> String {
    out.paint(Tone::Good, "no dead letters")
}

fn render_groups(groups: &Groups, out: &Output) -> String {
    if groups.groups.is_empty() {
        return none(out);
    }
    let rows = groups.groups.iter().map(|GroupRow { group, letters, .. }| {
        vec![
            letters.letters.to_string(),
            out.paint(Tone::Strong, group),
            letters.queue.clone(),
            letters.state.clone(),
            time(letters.first_parked_at),
            time(letters.last_parked_at),
            first_line(&letters.example, 60),
        ]
    });
    out.table(&["letters", "group", "queue", "state", "first", "last", "for example"], &[0], rows)
}

fn render_list(list: &List, out: &Output) -> String {
    if list.letters.is_empty() {
        return none(out);
    }
    let rows = list.letters.iter().map(|LetterRow { service, letter }| {
        vec![
            letter.id.to_string(),
            (*service).to_owned(),
            letter.state.clone(),
            out.paint(Tone::Strong, &letter.reason_code),
            letter.attempts.to_string(),
            letter.event_type.clone().unwrap_or_else(|| "-".to_owned()),
            letter.subject.clone().unwrap_or_else(|| "-".to_owned()),
            time(letter.parked_at),
        ]
    });
    let headings = ["id", "service", "state", "reason", "attempts", "type", "subject", "parked"];
    let mut text = out.table(&headings, &[4], rows);
    if list.more {
        text += &out.paint(Tone::Faint, "there are more: --limit, or --groups for the numbers\n");
    }
    text
}

/// The beginning of a text, on one line.
fn first_line(text: &str, most: usize) -> String {
    let line = text.lines().next().unwrap_or_default();
    let mut short: String = line.chars().take(most).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}
