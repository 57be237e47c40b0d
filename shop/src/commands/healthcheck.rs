//! `shop healthcheck`: the probe of a container.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use futures_util::future::join_all;
use serde::Serialize;

use crate::output::Tone;
use crate::ports::Ports;
use crate::probe::Probe;
use crate::services::SERVICES;
use crate::{Exit, Output};

const EXAMPLES: &str = "\
Examples:
  shop healthcheck                    the process of HTTP_ADDR, or all services of `shop up`
  shop healthcheck order
  shop healthcheck http://127.0.0.1:8081/health/live";

/// `shop healthcheck`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// A service of `shop up`, gateway, or a URL
    #[arg(value_name = "URL|SERVICE")]
    target: Option<String>,
    /// Where the process of this container serves HTTP
    #[arg(long, env, value_name = "ADDRESS")]
    http_addr: Option<SocketAddr>,
    /// How long an answer may take, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 3_000)]
    timeout_ms: u64,
    #[command(flatten)]
    ports: Ports,
}

#[derive(Serialize)]
struct Answer {
    url: String,
    ready: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

/// Asks and says; `Failed` when one is not ready.
///
/// # Errors
/// When the question cannot be asked.
pub async fn run(args: Args, out: &Output) -> anyhow::Result<Exit> {
    let Some(urls) = targets(&args) else {
        let target = args.target.unwrap_or_default();
        out.note(format_args!("shop: {target:?} is neither a service nor an http:// address"));
        return Ok(Exit::WrongUse);
    };
    let probe = Probe::new(Duration::from_millis(args.timeout_ms))?;
    let answers = join_all(urls.into_iter().map(|url| async {
        let reason = probe.ready(&url).await.err();
        Answer { url, ready: reason.is_none(), reason }
    }));
    let answers = answers.await;
    out.answer(&answers, || {
        let rows = answers.iter().map(|answer| {
            let (tone, mark) = if answer.ready { (Tone::Good, "✓") } else { (Tone::Bad, "✗") };
            let reason = answer.reason.as_deref().unwrap_or("ready");
            vec![out.paint(tone, mark), answer.url.clone(), reason.to_owned()]
        });
        out.table(&[], &[], rows)
    })?;
    Ok(if answers.iter().all(|answer| answer.ready) { Exit::Done } else { Exit::Failed })
}

/// The addresses to ask; none for a name that is not known.
fn targets(args: &Args) -> Option<Vec<String>> {
    let ready = |port| format!("{}/health/ready", Ports::http(port));
    let Some(target) = args.target.as_deref() else {
        return Some(match args.http_addr {
            Some(addr) => vec![format!("http://{}/health/ready", reachable(addr))],
            None => SERVICES.iter().map(|service| ready((service.port)(&args.ports))).collect(),
        });
    };
    if target.starts_with("http://") {
        return Some(vec![target.to_owned()]);
    }
    if target == "gateway" {
        return Some(vec![format!("{}/health", Ports::http(args.ports.gateway))]);
    }
    let service = SERVICES.iter().find(|service| service.name == target)?;
    Some(vec![ready((service.port)(&args.ports))])
}

/// A process that listens on all addresses is asked on the loopback one.
fn reachable(mut addr: SocketAddr) -> SocketAddr {
    match addr.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => addr.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => addr.set_ip(Ipv6Addr::LOCALHOST.into()),
        _ => {}
    }
    addr
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;

    #[test]
    fn a_process_that_listens_everywhere_is_asked_at_home() {
        let asked = |addr: &str| reachable(addr.parse().unwrap()).to_string();
        assert_eq!(asked("0.0.0.0:8081"), "127.0.0.1:8081");
        assert_eq!(asked("[::]:8081"), "[::1]:8081");
        assert_eq!(asked("10.0.0.7:8081"), "10.0.0.7:8081");
    }
}
