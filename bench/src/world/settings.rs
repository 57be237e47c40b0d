//! With what every process is started: as `shop up` does, so that nothing is tuned for a figure.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use envelope::Identity;
use envelope::signature::{KeyDocument, Signer};
use shop::verify::Service;
use testkit::free_port;

use super::process::Program;

/// In the types of all events.
pub(crate) const NAMESPACE: &str = "shop";
const ENVIRONMENT: &str = "bench";
/// More than any load sends.
const MAILS: &str = "1000";

/// Where the stand-ins of the outside world are.
#[derive(Debug, Clone)]
pub(super) struct Outside {
    pub(super) gateway: String,
    pub(super) mail: String,
    pub(super) collector: String,
}

/// The share of traces that are recorded, by its settings.
pub(super) fn sampling(share: f64) -> [(&'static str, String); 2] {
    let sampler = "parentbased_traceidratio".to_owned();
    [("OTEL_TRACES_SAMPLER", sampler), ("OTEL_TRACES_SAMPLER_ARG", share.to_string())]
}

/// The n-th replica of a service.
pub(super) fn service(
    service: Service,
    n: usize,
    (database, broker): (&str, &str),
    outside: &Outside,
    share: f64,
) -> anyhow::Result<Program> {
    let name = service.name();
    let address = address()?;
    let mut settings = vec![
        ("HTTP_ADDR", address.clone()),
        ("DATABASE_URL", database.to_owned()),
        ("AMQP_URL", broker.to_owned()),
        ("ENVIRONMENT", ENVIRONMENT.to_owned()),
        ("SIGNING_KEY", STANDARD.encode(seed_of(name))),
        ("SIGNING_KEY_ID", format!("{name}-1")),
        ("EVENT_KEYS", event_keys()?),
        ("GATEWAY_URL", outside.gateway.clone()),
        ("SMTP_URL", outside.mail.clone()),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", outside.collector.clone()),
    ];
    settings.extend(sampling(share));
    let verb: &[&str] = match service {
        Service::Order => &["order"],
        Service::Inventory => &["inventory"],
        Service::Payment => &["payment"],
        Service::Email => &["email"],
        Service::Audit => &["audit"],
    };
    Ok(program(&format!("{name}-{n}"), verb, settings, &address, "/health/ready"))
}

/// The payment gateway, the collector of traces and the mail server, and where they are.
pub(super) fn outside(folder: &Path) -> anyhow::Result<(Outside, [Program; 3])> {
    let ledger = folder.join("ledger.jsonl").display().to_string();
    let (gateway, mail, collector) = (address()?, address()?, address()?);
    let (mail_pages, trace_pages) = (address()?, address()?);
    let at_gateway = vec![("HTTP_ADDR", gateway.clone()), ("GATEWAY_LEDGER", ledger)];
    let at_mail = vec![
        ("HTTP_ADDR", mail_pages.clone()),
        ("SMTP_ADDR", mail.clone()),
        ("MAX_MAILS", MAILS.to_owned()),
    ];
    let at_collector = vec![
        ("HTTP_ADDR", trace_pages.clone()),
        ("OTLP_GRPC_ADDR", collector.clone()),
        ("OTLP_HTTP_ADDR", address()?),
    ];
    let programs = [
        program("gateway", &["gateway"], at_gateway, &gateway, "/health"),
        program("mail", &["sink", "smtp"], at_mail, &mail_pages, "/api/v1/messages"),
        program("collector", &["sink", "otlp"], at_collector, &trace_pages, "/api/services"),
    ];
    let outside = Outside {
        gateway: format!("http://{gateway}"),
        mail: format!("smtp://{mail}"),
        collector: format!("http://{collector}"),
    };
    Ok((outside, programs))
}

fn program(
    name: &str,
    verb: &'static [&'static str],
    settings: Vec<(&str, String)>,
    address: &str,
    health: &'static str,
) -> Program {
    let settings = settings.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    Program { name: name.to_owned(), verb, settings, url: format!("http://{address}"), health }
}

fn address() -> anyhow::Result<String> {
    Ok(format!("127.0.0.1:{}", free_port()?))
}

fn seed_of(service: &str) -> [u8; 32] {
    let mut seed = [7; 32];
    seed[..service.len()].copy_from_slice(service.as_bytes());
    seed
}

/// The public keys of all services.
fn event_keys() -> anyhow::Result<String> {
    let key = |service: Service| {
        let name = service.name();
        let signer = Signer::from_seed(format!("{name}-1"), seed_of(name));
        signer.public_for(&Identity::new(NAMESPACE, ENVIRONMENT, name))
    };
    let document = KeyDocument { keys: Service::ALL.into_iter().map(key).collect() };
    Ok(serde_json::to_string(&document)?)
}
