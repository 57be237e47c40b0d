//! `shop up`: everything on this machine, in the foreground.

mod folder;
pub mod keys;
mod leftovers;
mod pids;
mod process;
mod programs;
mod servers;
mod start;
mod stop;
mod summary;
mod unit;

use std::time::Instant;

pub(crate) use folder::Folder;
pub use folder::FolderArgs;
pub(crate) use leftovers::end_all as end_leftovers;
pub use stop::Signals;

use crate::ports::Ports;
use crate::{Exit, Output};
use start::Shop;
use unit::House;

const EXAMPLES: &str = "\
Examples:
  shop up                                 Ctrl-C stops all of it, in order
  ORDER_PORT=9081 TRACES_PORT=9686 shop up
  shop up --data /srv/tidings

Starts its own Postgres and RabbitMQ and never touches a server that it did not start. A second
start goes on with the same data; `shop reset` forgets it. Other variables that reach the services:
RUST_LOG, LOG_FORMAT, OTEL_TRACES_SAMPLER, OTEL_TRACES_SAMPLER_ARG.";

/// `shop up`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(flatten)]
    folder: FolderArgs,
    #[command(flatten)]
    ports: Ports,
}

/// Starts everything, stays until a signal, stops everything in order.
///
/// # Errors
/// When something does not start: then all that was started is stopped again.
pub async fn run(args: Args, out: &Output) -> anyhow::Result<Exit> {
    let begun = Instant::now();
    let Args { folder, ports } = args;
    if let Some((port, one, other)) = ports.shared() {
        out.note(format_args!("shop: {one} and {other} are both {port}; give one of them another"));
        return Ok(Exit::WrongUse);
    }
    let mut signals = Signals::listen()?;
    let folder = folder.folder()?;
    folder.prepare()?;
    let _lock = folder.lock()?;
    let (house, mut failures) = House::new(*out, folder);
    let mut shop = Shop::new(house, ports)?;
    let started = tokio::select! {
        started = shop.start() => started,
        Some(error) = failures.recv() => Err(error),
        () = signals.next() => return shop.stop(&mut signals).await,
    };
    if let Err(error) = started {
        // The reason for the failure matters more than what may go wrong after it.
        let _ = shop.stop(&mut signals).await;
        return Err(error);
    }
    shop.settle(begun.elapsed())?;
    tokio::select! {
        () = signals.next() => shop.stop(&mut signals).await,
        // What died between the last look and the settling was not started again.
        Some(error) = failures.recv() => {
            let _ = shop.stop(&mut signals).await;
            Err(error)
        }
    }
}
