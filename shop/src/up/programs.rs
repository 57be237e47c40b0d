//! The child processes of `shop up`, with all their settings.

use std::path::PathBuf;

use sandbox::postgres::by_socket;

use super::folder::Folder;
use super::keys;
use super::process::Program;
use super::servers::POSTGRES;
use crate::ports::Ports;
use crate::services::{SERVICES, Service};

/// The environment's name in the sources of all events.
pub(super) const ENVIRONMENT: &str = "dev";

pub(super) const GATEWAY: &str = "gateway";
pub(super) const TRACES: &str = "traces";
pub(super) const MAIL: &str = "mail";
/// Every child process, by the name of its log and its pid file.
pub(super) const NAMES: [&str; 8] =
    ["order", "inventory", "payment", "email", "audit", GATEWAY, TRACES, MAIL];

/// Makes the programs of one start.
#[derive(Debug)]
pub(super) struct Programs<'a> {
    pub(super) executable: PathBuf,
    pub(super) folder: &'a Folder,
    pub(super) ports: &'a Ports,
}

impl Programs<'_> {
    pub(super) fn services(&self) -> Vec<Program> {
        SERVICES.iter().map(|service| self.service(service)).collect()
    }

    fn service(&self, service: &Service) -> Program {
        let (ports, keys) = (self.ports, self.folder.part("keys"));
        let port = (service.port)(ports);
        let name = service.database();
        let database = format!("postgres://{name}:{name}@127.0.0.1:{}/{name}", ports.postgres);
        let database = by_socket(database, &self.folder.part(POSTGRES), ports.postgres);
        let path = |path: PathBuf| path.to_string_lossy().into_owned();
        let mut environment = vec![
            ("HTTP_ADDR", local(port)),
            ("DATABASE_URL", database),
            ("AMQP_URL", ports.amqp_url()),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", Ports::http(ports.otlp)),
            ("ENVIRONMENT", ENVIRONMENT.to_owned()),
            ("SIGNING_KEY_FILE", path(keys::private_key(&keys, service))),
            ("SIGNING_KEY_ID", service.key_id()),
            ("EVENT_KEYS_FILE", path(keys.join(keys::DOCUMENT))),
        ];
        match service.name {
            "payment" => environment.push(("GATEWAY_URL", Ports::http(ports.gateway))),
            "email" => environment.push(("SMTP_URL", format!("smtp://{}", local(ports.smtp)))),
            _ => {}
        }
        self.program(service.name, &[service.name], environment, port, "/health/ready")
    }

    pub(super) fn gateway(&self) -> Program {
        let ledger = self.folder.part("gateway").join("ledger.jsonl");
        let environment = vec![
            ("HTTP_ADDR", local(self.ports.gateway)),
            ("GATEWAY_LEDGER", ledger.to_string_lossy().into_owned()),
        ];
        self.program(GATEWAY, &["gateway"], environment, self.ports.gateway, "/health")
    }

    pub(super) fn sinks(&self) -> Vec<Program> {
        let ports = self.ports;
        let otlp = vec![
            ("HTTP_ADDR", local(ports.traces)),
            ("OTLP_GRPC_ADDR", local(ports.otlp)),
            ("OTLP_HTTP_ADDR", local(ports.otlp_http)),
        ];
        let smtp = vec![("HTTP_ADDR", local(ports.mail)), ("SMTP_ADDR", local(ports.smtp))];
        vec![
            self.program(TRACES, &["sink", "otlp"], otlp, ports.traces, "/api/services"),
            self.program(MAIL, &["sink", "smtp"], smtp, ports.mail, "/readyz"),
        ]
    }

    fn program(
        &self,
        name: &'static str,
        verb: &[&'static str],
        environment: Vec<(&'static str, String)>,
        port: u16,
        ready: &str,
    ) -> Program {
        Program {
            name,
            executable: self.executable.clone(),
            verb: verb.to_vec(),
            environment,
            ready: format!("{}{ready}", Ports::http(port)),
        }
    }
}

fn local(port: u16) -> String {
    format!("127.0.0.1:{port}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_service_has_its_name_among_the_programs() {
        let services: Vec<&str> = SERVICES.iter().map(|service| service.name).collect();
        assert_eq!(NAMES[..services.len()], services);
    }
}
