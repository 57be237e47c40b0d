//! `shop dlq show`: all there is to know of one letter.

use std::collections::BTreeMap;
use std::io::Write as _;

use anyhow::bail;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use messaging::repair::{Decision, Letter, Summary};
use messaging::transport::Properties;
use serde::Serialize;
use serde_json::Value;
use uuid::Uuid;

use super::desks::Desks;
use super::time;
use crate::commands::client::Addresses;
use crate::output::Tone;
use crate::{Exit, Output};

const EXAMPLES: &str = "\
Examples:
  shop dlq show 0192f0c4-7a1e-7c55-b6a4-3f1d2b9e0c11
  shop dlq show 0192f0c4-7a1e-7c55-b6a4-3f1d2b9e0c11 --raw > message.json
  shop dlq show 0192f0c4-7a1e-7c55-b6a4-3f1d2b9e0c11 -o json | jq .history

Headers and names are what the message says of itself: only the signed body is proven, and only when
the reason is none of unsigned, bad_signature and their like. A body may hold a customer's address.";

/// `shop dlq show`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The letter's id
    #[arg(value_name = "ID")]
    id: Uuid,
    /// Write the exact bytes of the body, and nothing else
    #[arg(long)]
    raw: bool,
    #[command(flatten)]
    addresses: Addresses,
}

/// The answer for machines.
#[derive(Serialize)]
struct Answer {
    service: &'static str,
    #[serde(flatten)]
    summary: Summary,
    source: Option<String>,
    parkings: i32,
    #[serde(skip_serializing_if = "Option::is_none")]
    trace_url: Option<String>,
    properties: Properties,
    headers: BTreeMap<String, String>,
    /// The exact bytes.
    body_base64: String,
    /// The same, where they are JSON.
    body: Option<Value>,
    history: Vec<Decision>,
}

pub(super) async fn run(args: Args, out: &Output) -> anyhow::Result<Exit> {
    let desks = Desks::open(&args.addresses, &[], out).await?;
    for (service, letters) in desks.all() {
        let Some(letter) = letters.find(args.id).await? else { continue };
        if args.raw {
            std::io::stdout().write_all(&letter.body)?;
            return Ok(Exit::Done);
        }
        let answer = Answer::new(service.name(), letter, &args.addresses);
        out.answer(&answer, || render(&answer, out))?;
        return Ok(Exit::Done);
    }
    bail!("no dead letter {}", args.id);
}

impl Answer {
    fn new(service: &'static str, letter: Letter, addresses: &Addresses) -> Self {
        let traceparent = letter.headers.get("traceparent");
        let trace_id = traceparent.and_then(|text| text.split('-').nth(1));
        Self {
            service,
            trace_url: trace_id.map(|id| addresses.trace_page(id)),
            body: serde_json::from_slice(&letter.body).ok(),
            body_base64: STANDARD.encode(&letter.body),
            summary: letter.summary,
            source: letter.source,
            parkings: letter.parkings,
            properties: letter.properties,
            headers: letter.headers,
            history: letter.history,
        }
    }
}

fn render(answer: &Answer, out: &Output) -> String {
    let Summary { reason_code, reason, .. } = &answer.summary;
    let facts = facts(answer, out)
        .into_iter()
        .filter_map(|(name, value)| Some([name, &value?].map(str::to_owned).to_vec()));
    let mut text = out.table(&[], &[], facts);
    text += &format!("\n{}\n{reason}\n", out.paint(Tone::Strong, reason_code));
    let headers = answer.headers.iter().map(|(name, value)| vec![name.clone(), value.clone()]);
    text += &format!("\n{}\n{}", out.paint(Tone::Faint, "headers"), out.table(&[], &[], headers));
    text += &format!("\n{}\n{}\n", out.paint(Tone::Faint, "body"), body(answer));
    if !answer.history.is_empty() {
        let rows = answer.history.iter().map(|one| {
            let job = one.job.map(|job| job.to_string()).unwrap_or_default();
            vec![time(one.at), one.who.clone(), one.what.clone(), job, one.note.clone()]
        });
        let table = out.table(&["when", "who", "what", "replay", "note"], &[], rows);
        text += &format!("\n{table}");
    }
    text
}

/// What stands in a line of its own, where it is known.
fn facts(answer: &Answer, out: &Output) -> Vec<(&'static str, Option<String>)> {
    let Summary { id, queue, state, attempts, event_type, subject, aggversion, .. } =
        &answer.summary;
    let version = aggversion.map(|version| format!(", version {version}")).unwrap_or_default();
    let tone = if state == "parked" { Tone::Warning } else { Tone::Strong };
    let parked = time(answer.summary.parked_at);
    let again = (answer.parkings > 1).then(|| format!(", {} times in all", answer.parkings));
    vec![
        ("id", Some(id.to_string())),
        ("state", Some(out.paint(tone, state))),
        ("queue", Some(queue.clone())),
        ("type", event_type.clone()),
        ("subject", subject.as_ref().map(|subject| format!("{subject}{version}"))),
        ("event", answer.summary.event_id.map(|id| id.to_string())),
        ("source", answer.source.clone()),
        ("attempts", Some(attempts.to_string())),
        ("first failed", answer.summary.first_failed_at.map(time)),
        ("parked", Some(parked + &again.unwrap_or_default())),
        ("trace", answer.trace_url.clone()),
    ]
}

/// The body for people: set out where it is JSON, as text where it is text.
fn body(answer: &Answer) -> String {
    let pretty = answer.body.as_ref().and_then(|body| serde_json::to_string_pretty(body).ok());
    pretty.unwrap_or_else(|| {
        let bytes = STANDARD.decode(&answer.body_base64).unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes);
        // A terminal must not obey what a stranger has sent.
        text.chars().map(|c| if c.is_control() && c != '\n' { '\u{fffd}' } else { c }).collect()
    })
}
