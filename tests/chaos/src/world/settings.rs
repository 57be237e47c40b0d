//! With what every process is started.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use envelope::Identity;
use envelope::signature::{KeyDocument, Signer};
use sandbox::ports::free_port;
use shop::verify::Service;

use super::link::Link;
use super::process::Program;
use super::{Outside, address_of};

/// In the types of all events.
pub(crate) const NAMESPACE: &str = "shop";
const ENVIRONMENT: &str = "chaos";
/// The verb of the payment gateway.
pub(crate) const GATEWAY: &str = "gateway";
/// Short, so that an order that a fault holds up for long comes to its time-out.
const ORDER_DEADLINE: &str = "20s";

/// One replica's ways.
#[derive(Clone, Copy)]
pub(super) struct Ways<'a> {
    pub(super) database: &'a Link,
    pub(super) broker: &'a Link,
}

/// What every service is told.
pub(super) fn common(outside: &Outside, bug: Option<&str>) -> Vec<(String, String)> {
    let at = |scheme: &str, link: &Link| format!("{scheme}://127.0.0.1:{}", link.port());
    let settings = [
        ("ENVIRONMENT", ENVIRONMENT.to_owned()),
        ("EVENT_KEYS", event_keys()),
        ("GATEWAY_URL", at("http", &outside.to_gateway)),
        ("SMTP_URL", at("smtp", &outside.to_mail)),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", at("http", &outside.to_collector)),
        ("DATABASE_CONNECTIONS", "8".to_owned()),
        ("RUST_LOG", "info".to_owned()),
        ("BUG", bug.unwrap_or_default().to_owned()),
    ];
    settings.map(|(name, value)| (name.to_owned(), value)).to_vec()
}

/// The n-th replica of a service, whose servers are at `(database, broker)`.
pub(super) fn service(
    service: Service,
    n: usize,
    ways: Ways<'_>,
    (database, broker): (&str, &str),
    common: &[(String, String)],
) -> anyhow::Result<Program> {
    let name = service.name();
    let address = format!("127.0.0.1:{}", free_port()?);
    let mut settings = common.to_vec();
    let mut set = |name: &str, value: String| settings.push((name.to_owned(), value));
    set("HTTP_ADDR", address.clone());
    set("DATABASE_URL", by_way_of(ways.database, database)?);
    set("AMQP_URL", by_way_of(ways.broker, broker)?);
    set("SIGNING_KEY", STANDARD.encode(seed_of(name)));
    set("SIGNING_KEY_ID", format!("{name}-1"));
    if service == Service::Order {
        set("ORDER_DEADLINE", ORDER_DEADLINE.to_owned());
    }
    let url = format!("http://{address}");
    Ok(Program { name: format!("{name}-{n}"), verb: name, arguments: Vec::new(), settings, url })
}

/// The payment gateway, whose ledger is in `folder`.
pub(super) fn gateway(folder: &Path) -> anyhow::Result<Program> {
    let address = format!("127.0.0.1:{}", free_port()?);
    let settings = [
        ("HTTP_ADDR", address.clone()),
        ("GATEWAY_LEDGER", folder.join("ledger.jsonl").display().to_string()),
        ("GATEWAY_HOLD_MS", "500".to_owned()),
    ];
    Ok(Program {
        name: GATEWAY.to_owned(),
        verb: GATEWAY,
        arguments: Vec::new(),
        settings: settings.map(|(name, value)| (name.to_owned(), value)).to_vec(),
        url: format!("http://{address}"),
    })
}

/// The same address through a link.
fn by_way_of(link: &Link, url: &str) -> anyhow::Result<String> {
    Ok(url.replace(&address_of(url)?.to_string(), &format!("127.0.0.1:{}", link.port())))
}

fn seed_of(service: &str) -> [u8; 32] {
    let mut seed = [9; 32];
    seed[..service.len()].copy_from_slice(service.as_bytes());
    seed
}

/// The public keys of all services.
fn event_keys() -> String {
    let key = |service: Service| {
        let name = service.name();
        let signer = Signer::from_seed(format!("{name}-1"), seed_of(name));
        signer.public_for(&Identity::new(NAMESPACE, ENVIRONMENT, name))
    };
    let document = KeyDocument { keys: Service::ALL.into_iter().map(key).collect() };
    serde_json::to_string(&document).unwrap_or_default()
}
