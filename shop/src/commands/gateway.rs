//! `shop gateway`: the simulated payment gateway.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use sandbox::bind;
use sandbox::gateway::{Gateway, GatewayOptions};
use tokio_util::sync::CancellationToken;

use crate::up::Signals;
use crate::{Exit, Output};

const EXAMPLES: &str = "\
Examples:
  shop gateway --ledger /var/lib/gateway/ledger.jsonl
  curl -s 'http://127.0.0.1:8090/charges?order_id=...'

Payment methods: pm_ok, pm_declined, pm_insufficient_funds, pm_timeout (captures, but the reply is
lost), pm_flaky (fails twice, then works). The ledger survives kill -9.";

/// `shop gateway`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Address to serve HTTP on
    #[arg(long, env, value_name = "ADDRESS", default_value = "127.0.0.1:8090")]
    http_addr: SocketAddr,
    /// File of all charges and refunds
    #[arg(long, env = "GATEWAY_LEDGER", value_name = "FILE")]
    #[arg(default_value = ".tidings/gateway/ledger.jsonl")]
    ledger: PathBuf,
    /// How long the connection of a lost reply (pm_timeout) is held, in milliseconds
    #[arg(long, env = "GATEWAY_HOLD_MS", value_name = "MS", default_value_t = 10_000)]
    hold_ms: u64,
}

/// Serves until a signal.
///
/// # Errors
/// When the ledger cannot be used or the address cannot be had.
pub async fn run(args: Args, out: &Output) -> anyhow::Result<Exit> {
    let mut signals = Signals::listen()?;
    let options = GatewayOptions { hold: Duration::from_millis(args.hold_ms) };
    let path = args.ledger.clone();
    let gateway = tokio::task::spawn_blocking(move || Gateway::open(path, options)).await??;
    if gateway.bytes_cut() > 0 {
        let (bytes, ledger) = (gateway.bytes_cut(), args.ledger.display());
        out.note(format_args!("gateway: cut {bytes} bytes of a torn last line off {ledger}"));
    }
    let shutdown = CancellationToken::new();
    let running = gateway.serve(bind(args.http_addr).await?, &shutdown)?;
    let ledger = args.ledger.display();
    out.note(format_args!("gateway: serving {} with {ledger}", running.url()));
    signals.next().await;
    running.stop().await.context("gateway")?;
    out.note("gateway: stopped");
    Ok(Exit::Done)
}
