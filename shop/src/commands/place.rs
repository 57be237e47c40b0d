//! `shop place`: one order, as a customer would place it.

use std::str::FromStr;
use std::time::{Duration, Instant};

use envelope::Clock;
use serde::Serialize;

use crate::commands::client::{
    Addresses, CallError, NewLine, NewOrder, OrderApi, OrderDocument, Patience, Status, duration,
};
use crate::commands::load::Customer;
use crate::output::Tone;
use crate::{Exit, Output};

/// How long the service may be away.
const PATIENCE: Duration = Duration::from_secs(5);
const FIRST_LOOK: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_millis(250);

const EXAMPLES: &str = "\
Examples:
  shop place DEMO-1                       one piece, paid with pm_ok
  shop place DEMO-1:2 DEMO-2 --watch      follow it to its end
  shop place DEMO-1 --pay pm_declined -w  the card is declined

Tokens of the simulated gateway: pm_ok, pm_declined, pm_insufficient_funds, pm_timeout (the reply is
lost), pm_flaky (fails twice).

Exit codes with --watch: 0 confirmed, 1 cancelled, 3 not decided in time.";

/// `shop place`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// What, and how many pieces (1 without a number)
    #[arg(required = true, value_name = "SKU[:N]")]
    lines: Vec<Line>,
    /// How it is paid: a token of the gateway
    #[arg(long, value_name = "TOKEN", default_value = "pm_ok")]
    pay: String,
    /// Where the mail goes
    #[arg(long, value_name = "ADDRESS", default_value = "someone@example.com")]
    email: String,
    /// Whose it is [default: the customer of that address]
    #[arg(long, value_name = "UUID")]
    customer: Option<uuid::Uuid>,
    /// Follow it to its end
    #[arg(short, long)]
    watch: bool,
    /// How long to follow it
    #[arg(long, value_name = "TIME", default_value = "1m", value_parser = duration)]
    wait: Duration,
    #[command(flatten)]
    addresses: Addresses,
}

/// A line of the order, as it is typed.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Line(NewLine);

impl FromStr for Line {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (sku, quantity) = match text.rsplit_once(':') {
            None => (text, Some(1)),
            Some((sku, quantity)) => (sku, quantity.parse().ok()),
        };
        match quantity {
            Some(quantity @ 1..=1_000) if !sku.is_empty() => {
                Ok(Self(NewLine { sku: sku.to_owned(), quantity }))
            }
            _ => Err("expected SKU or SKU:N, N from 1 to 1000".to_owned()),
        }
    }
}

/// The answer for machines: the order, and where its trace is.
#[derive(Serialize)]
struct Placed<'a> {
    #[serde(flatten)]
    order: &'a OrderDocument,
    #[serde(skip_serializing_if = "Option::is_none")]
    trace_url: Option<String>,
}

/// Places the order, and follows it when asked to.
///
/// # Errors
/// When the order is refused or nobody answers.
pub async fn run(args: Args, out: &Output) -> anyhow::Result<Exit> {
    let api = OrderApi::new(args.addresses.order())?;
    let mut order = place(&api, &args).await?;
    let trace_url = order.trace_id.as_deref().map(|id| args.addresses.trace_page(id));
    if !out.is_json() {
        out.line(head(&order, trace_url.as_deref(), &args, out));
    }
    if args.watch {
        order = watch(&api, order, args.wait, out).await?;
    }
    if out.is_json() {
        out.answer(&Placed { order: &order, trace_url }, String::new)?;
    }
    Ok(exit(&order, args.watch))
}

async fn place(api: &OrderApi, args: &Args) -> anyhow::Result<OrderDocument> {
    let customer = args.customer.unwrap_or_else(|| Customer::named(&args.email).id);
    let order = NewOrder {
        customer_id: customer,
        customer_email: args.email.clone(),
        lines: args.lines.iter().map(|line| line.0.clone()).collect(),
        payment_method: args.pay.clone(),
    };
    let clock = Clock::system();
    // One key for all tries, so that one order comes of it.
    let key = clock.new_id().to_string();
    let (answer, _) = Patience::of(&clock, PATIENCE).repeat(|| api.place(&key, &order)).await;
    Ok(answer?)
}

fn head(order: &OrderDocument, trace_url: Option<&str>, args: &Args, out: &Output) -> String {
    let mut lines = vec![
        vec!["order".to_owned(), order.order_id.to_string()],
        vec!["total".to_owned(), order.total.to_string()],
    ];
    // Who watches is told of every status by itself.
    if !args.watch {
        lines.push(vec!["status".to_owned(), order.status.to_string()]);
    }
    lines.extend(trace_url.map(|url| vec!["trace".to_owned(), url.to_owned()]));
    out.table(&[], &[], lines).trim_end().to_owned()
}

/// Looks at the order until it has ended, and tells every status as it comes.
async fn watch(
    api: &OrderApi,
    mut order: OrderDocument,
    wait: Duration,
    out: &Output,
) -> anyhow::Result<OrderDocument> {
    let until = Instant::now() + wait;
    let mut told = 0;
    let mut pause = FIRST_LOOK;
    loop {
        for entry in order.history.iter().skip(told) {
            if !out.is_json() {
                let after = entry.at.signed_duration_since(order.placed_at);
                let ms = after.num_microseconds().unwrap_or(i64::MAX) as f64 / 1e3;
                let at = entry.at.format("%H:%M:%S%.3f");
                let reason = match entry.status {
                    Status::Cancelled => order.cancel_reason.as_deref().unwrap_or_default(),
                    _ => "",
                };
                let status = out.paint(tone(entry.status), format_args!("{:9}", entry.status));
                out.line(format!("{at}  {ms:>9.1} ms  {status} {reason}").trim_end());
            }
        }
        told = order.history.len();
        if order.status.is_terminal() || Instant::now() + pause >= until {
            return Ok(order);
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 3 / 2).min(LONGEST_PAUSE);
        match api.order(order.order_id).await {
            Ok(seen) => order = seen,
            Err(CallError::Later { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

fn tone(status: Status) -> Tone {
    match status {
        Status::Pending => Tone::Faint,
        Status::Confirmed => Tone::Good,
        Status::Cancelled => Tone::Bad,
    }
}

fn exit(order: &OrderDocument, watched: bool) -> Exit {
    match order.status {
        _ if !watched => Exit::Done,
        Status::Confirmed => Exit::Done,
        Status::Cancelled => Exit::Failed,
        Status::Pending => Exit::Partly,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_line_is_a_sku_and_perhaps_a_number() {
        let line = |text: &str| text.parse::<Line>().map(|Line(line)| (line.sku, line.quantity));
        assert_eq!(line("DEMO-1").unwrap(), ("DEMO-1".to_owned(), 1));
        assert_eq!(line("DEMO-1:12").unwrap(), ("DEMO-1".to_owned(), 12));
        for bad in ["", ":2", "DEMO-1:0", "DEMO-1:1001", "DEMO-1:two", "DEMO-1:-1"] {
            assert!(line(bad).is_err(), "{bad}");
        }
    }
}
