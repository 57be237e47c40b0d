//! `shop status`: how each service is, and what waits for it.

mod exposition;
mod metrics;
mod reading;
mod report;
mod view;

use std::time::Duration;

use envelope::Clock;
use tokio::time::{MissedTickBehavior, interval, sleep};

use self::reading::{Reading, ServiceReading, Sources};
use self::report::Report;
use crate::commands::client::{Addresses, duration};
use crate::up::Signals;
use crate::{Exit, Output};

/// How long handled messages are counted for a single answer, and for the first of many.
const WINDOW: Duration = Duration::from_secs(1);
/// The time between two answers of `--watch`.
const EVERY: Duration = Duration::from_secs(2);
/// Readings closer together would say more of themselves than of the services.
const SHORTEST: Duration = Duration::from_millis(100);

const EXAMPLES: &str = "\
Examples:
  shop status                        now, with the rates of one second
  shop status --watch                again every 2 s, until Ctrl-C
  shop status --watch --interval 10  again every 10 s
  shop status -o json | jq '.services[] | select(.dead_letters > 0)'

handled/s and p95 (of the handlers' time) are of the interval; nothing handled, no p95. outbox:
events that wait to be published, and the age of the oldest. queue, unacked: messages that wait for
the service, and that it has taken. retry: on the retry ladder. dlq, dead: on their way into the
table of dead letters, and in it. A figure that nobody knows is `-` (null in JSON).

Each service is asked for /health/ready and /metrics, the broker's management API for the queues.
Outbox figures are up to 15 s old, the broker's about 5 s. With --watch, -o json is a line each time.

Exit codes: 0 all services are ready, 1 one is not, 2 wrong use; --watch ends with 0.";

/// `shop status`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Show it again and again, until Ctrl-C
    #[arg(short, long)]
    watch: bool,
    /// How long to count what is handled, and wait between two answers [default: 1; watching: 2]
    #[arg(short, long, value_name = "SECONDS", value_parser = seconds)]
    interval: Option<Duration>,
    #[command(flatten)]
    addresses: Addresses,
}

/// A number of seconds, or a time as all settings have it.
fn seconds(text: &str) -> Result<Duration, String> {
    let bare = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let time = if bare { duration(&format!("{text}s"))? } else { duration(text)? };
    if time < SHORTEST { Err("expected 100ms or longer".to_owned()) } else { Ok(time) }
}

/// Asks everything twice and reports; with `--watch`, until a signal comes or the reader goes away.
///
/// # Errors
/// When the management address has another form, or the answer cannot be written.
pub async fn run(args: Args, out: &Output) -> anyhow::Result<Exit> {
    let sources = Sources::new(&args.addresses)?;
    if args.watch {
        let mut signals = Signals::listen()?;
        return tokio::select! {
            () = signals.next() => Ok(Exit::Done),
            ended = watch(&sources, args.interval.unwrap_or(EVERY), out) => ended,
        };
    }
    let measuring = out.spinner("counting what is handled");
    let before = sources.services().await;
    sleep(args.interval.unwrap_or(WINDOW)).await;
    let report = report(&before, &sources.read().await);
    measuring.finish_and_clear();
    out.answer(&report, || view::render(&report, out))?;
    Ok(if report.ready { Exit::Done } else { Exit::Failed })
}

async fn watch(sources: &Sources, every: Duration, out: &Output) -> anyhow::Result<Exit> {
    let mut before = sources.services().await;
    // Nobody waits longer for the first answer than for a single one.
    sleep(every.min(WINDOW)).await;
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let now = sources.read().await;
        let report = report(&before, &now);
        if let Err(gone) = out.again(&report, || watched(&report, every, out)) {
            let done = gone.kind() == std::io::ErrorKind::BrokenPipe;
            return if done { Ok(Exit::Done) } else { Err(gone.into()) };
        }
        before = now.services;
    }
}

fn report(before: &[ServiceReading], now: &Reading) -> Report {
    Report::new(Clock::system().now(), before, now)
}

/// The report with its time: who finds it in a log or on a forgotten terminal needs it.
fn watched(report: &Report, every: Duration, out: &Output) -> String {
    let at = report.at.format("%Y-%m-%d %H:%M:%S UTC");
    format!("{at}, every {every:?}\n{}", view::render(report, out))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_is_a_number_of_seconds_or_a_time() {
        assert_eq!(seconds("2"), Ok(Duration::from_secs(2)));
        assert_eq!(seconds("250ms"), Ok(Duration::from_millis(250)));
        for bad in ["", "0", "99ms", "-1", "1.5", "soon"] {
            assert!(seconds(bad).is_err(), "{bad}");
        }
    }
}
