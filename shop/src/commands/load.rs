//! `shop load`: places real orders, follows each to its end, and measures.

mod catalogue;
mod following;
mod invoices;
mod payment_mix;
mod placing;
mod plan;
mod quantiles;
mod report;
mod synthetic;

use std::path::PathBuf;
use std::time::Duration;

use envelope::Clock;
use tokio::sync::mpsc;

use crate::commands::client::{Addresses, InventoryApi, OrderApi, duration};
use crate::{Exit, Output};
use following::Followed;
use payment_mix::PaymentMix;
use placing::{Pace, Placements, Placer};
pub(super) use plan::Customer;
use plan::Plan;
use report::Report;

const SYNTHETIC_ORDERS: usize = 100;

const EXAMPLES: &str = "\
Examples:
  shop load --limit 500 --rate 20                  synthetic orders, 20 a second
  shop load --file online-retail.csv               every invoice of a file, 8 at a time
  shop load --pay pm_ok:8,pm_declined:1,pm_flaky:1 one in ten declined, one in ten flaky

A file has the columns InvoiceNo, StockCode, Description, Quantity, UnitPrice and CustomerID; others
are ignored. Goods have a stock code that starts with five digits. Products are listed first, with
plenty of stock; the first price of a product counts.

Exit codes: 0 every order was accepted and has ended, 1 failed, 2 wrong use, 3 some have not.";

/// `shop load`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// File of invoice lines; without one, synthetic orders
    #[arg(long, value_name = "CSV")]
    file: Option<PathBuf>,
    /// Orders per second, whatever the answers take
    #[arg(long, value_name = "R", value_parser = rate, conflicts_with = "concurrency")]
    rate: Option<f64>,
    /// Requests under way at a time
    #[arg(long, value_name = "N", default_value_t = 8,
        value_parser = clap::value_parser!(u16).range(1..=1024))]
    concurrency: u16,
    /// Only so many orders [default: all of a file, 100 synthetic ones]
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    /// How orders are paid: a token of the gateway, or several with weights
    #[arg(long, value_name = "TOKEN[:WEIGHT],...", default_value = "pm_ok")]
    pay: PaymentMix,
    /// How long an order may stay unanswered, and how long to wait for the last to end
    #[arg(long, value_name = "TIME", default_value = "5m", value_parser = duration)]
    wait: Duration,
    #[command(flatten)]
    addresses: Addresses,
}

fn rate(text: &str) -> Result<f64, String> {
    let rate = text.parse().ok().filter(|rate| (0.001..=100_000.0).contains(rate));
    rate.ok_or_else(|| "expected a number of orders per second, 0.001 to 100000".to_owned())
}

/// Places the orders and reports.
///
/// # Errors
/// When the file cannot be used, or the products cannot be listed.
pub async fn run(args: Args, out: &Output) -> anyhow::Result<Exit> {
    let plan = match &args.file {
        Some(file) => invoices::read_file(file)?,
        None => synthetic::plan(args.limit.unwrap_or(SYNTHETIC_ORDERS)),
    };
    let plan = plan.limited(args.limit);
    let report = carry_out(&args, plan, out).await?;
    out.answer(&report, || report.render(out))?;
    Ok(report.exit())
}

async fn carry_out(args: &Args, plan: Plan, out: &Output) -> anyhow::Result<Report> {
    let clock = Clock::system();
    let inventory = InventoryApi::new(args.addresses.inventory())?;
    let order = OrderApi::new(args.addresses.order())?;
    let bar = out.bar(2 * plan.products.len() as u64, "products");
    let products = catalogue::prepare(&inventory, &order, &plan, &clock, &bar).await?;
    bar.finish_and_clear();

    let (accepted, to_follow) = mpsc::unbounded_channel();
    let placer =
        Placer { api: &order, clock: &clock, mix: &args.pay, patience: args.wait, accepted };
    let pace = args.rate.map_or(Pace::Concurrency(usize::from(args.concurrency)), Pace::Rate);
    let bar = out.bar(2 * plan.orders.len() as u64, "orders");
    let (mut placements, mut followed) = (Placements::default(), Followed::default());
    {
        let placing = placer.place_all(&plan.orders, pace, &mut placements, &bar);
        let following = followed.follow(&order, to_follow, &bar);
        let (mut placing, mut following) = (std::pin::pin!(placing), std::pin::pin!(following));
        // Following ends after placing, which holds the sender.
        tokio::select! {
            () = &mut placing => {}
            () = &mut following => {}
        }
        // Those that do not end in time are found by the last look.
        let _ = tokio::time::timeout(args.wait, following).await;
    }
    let open = followed.look_once_more(&order, &placements.accepted).await;
    bar.finish_and_clear();
    Ok(Report::new(plan, products, placements, followed, open))
}
