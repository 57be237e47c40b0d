//! What a user sees when everything is ready: the addresses.

use serde::Serialize;

use super::folder::Folder;
use crate::Output;
use crate::commands::migrate::demo;
use crate::output::Tone;
use crate::ports::{Ports, SUPERUSER};
use crate::services::SERVICES;

/// One address.
#[derive(Debug, Serialize)]
struct Address {
    name: &'static str,
    address: String,
    #[serde(skip_serializing_if = "str::is_empty")]
    note: &'static str,
}

#[derive(Debug, Serialize)]
struct Summary<'a> {
    ready_after_ms: u128,
    addresses: &'a [Address],
    logs: String,
}

fn addresses(ports: &Ports) -> Vec<Address> {
    let one = |name, address, note| Address { name, address, note };
    let http = |name, port, note| one(name, Ports::http(port), note);
    let mut all: Vec<Address> =
        SERVICES.iter().map(|service| http(service.name, (service.port)(ports), "")).collect();
    all.extend([
        http("gateway", ports.gateway, "simulated payments"),
        http("traces", ports.traces, "a page per trace"),
        http("mail", ports.mail, "every mail that was sent"),
        http("rabbitmq", ports.management, "user shop, password shop"),
        one("postgres", ports.postgres_url("postgres"), "shop_order, shop_inventory, ..."),
        one("amqp", ports.amqp_url(), ""),
        http("otlp", ports.otlp, "traces in, gRPC"),
        http("otlp http", ports.otlp_http, "traces in"),
        one("smtp", format!("smtp://127.0.0.1:{}", ports.smtp), "mail in"),
    ]);
    debug_assert_eq!(SUPERUSER, "shop");
    all
}

/// Prints the addresses.
///
/// # Errors
/// When they cannot be written as JSON.
pub(super) fn print(
    out: &Output,
    ports: &Ports,
    folder: &Folder,
    after: std::time::Duration,
) -> anyhow::Result<()> {
    let addresses = addresses(ports);
    let logs = folder.part("logs").display().to_string();
    if out.is_json() {
        let summary = Summary { ready_after_ms: after.as_millis(), addresses: &addresses, logs };
        out.line(serde_json::to_string(&summary)?);
        return Ok(());
    }
    let rows = addresses.iter().map(|one| {
        let note = out.paint(Tone::Faint, one.note);
        vec![one.name.to_owned(), out.paint(Tone::Strong, &one.address), note]
    });
    out.line(out.table(&["what", "address", ""], &[], rows).trim_end());
    let ready = format!("ready after {:.1} s", after.as_secs_f64());
    out.line(format_args!("\n{}", out.paint(Tone::Good, ready)));
    out.line(format_args!("try   shop place {} --watch", demo::FIRST));
    out.line(format_args!("logs  {logs}"));
    out.line("stop  Ctrl-C");
    Ok(())
}
