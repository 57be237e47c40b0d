//! Where the parts of the shop are.

use crate::ports::{Ports, SUPERUSER};
use crate::verify::Service;

/// The addresses of a running shop: those of `shop up`, unless a port or a URL says otherwise.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Addresses, where they are not on 127.0.0.1")]
pub struct Addresses {
    /// Order service
    #[arg(long, env = "ORDER_URL", value_name = "URL")]
    order_url: Option<String>,
    /// Inventory service
    #[arg(long, env = "INVENTORY_URL", value_name = "URL")]
    inventory_url: Option<String>,
    /// Payment service
    #[arg(long, env = "PAYMENT_URL", value_name = "URL")]
    payment_url: Option<String>,
    /// Email service
    #[arg(long, env = "EMAIL_URL", value_name = "URL")]
    email_url: Option<String>,
    /// Audit service
    #[arg(long, env = "AUDIT_URL", value_name = "URL")]
    audit_url: Option<String>,
    /// Payment gateway
    #[arg(long, env = "GATEWAY_URL", value_name = "URL")]
    gateway_url: Option<String>,
    /// Traces: Jaeger's API and pages
    #[arg(long, env = "TRACES_URL", value_name = "URL")]
    traces_url: Option<String>,
    /// Traces, as they are reached from where their address is read [default: as above]
    #[arg(long, env = "TRACES_PAGE_URL", value_name = "URL")]
    traces_page_url: Option<String>,
    /// RabbitMQ's management API, http://user:password@host:port
    #[arg(long, env = "MANAGEMENT_URL", value_name = "URL", hide_env_values = true)]
    management_url: Option<String>,
    /// Virtual host in RabbitMQ
    #[arg(long, env = "AMQP_VHOST", value_name = "NAME", default_value = SUPERUSER)]
    vhost: String,
    /// Postgres, as a user who may read all databases: postgres://user:password@host:port
    #[arg(long, env = "ADMIN_DATABASE_URL", value_name = "URL", hide_env_values = true)]
    admin_database_url: Option<String>,
    #[command(flatten)]
    ports: Ports,
}

impl Addresses {
    /// The order service.
    #[must_use]
    pub fn order(&self) -> String {
        url(self.order_url.as_deref(), self.ports.order)
    }

    /// The inventory service.
    #[must_use]
    pub fn inventory(&self) -> String {
        url(self.inventory_url.as_deref(), self.ports.inventory)
    }

    /// Any service.
    #[must_use]
    pub fn service(&self, service: Service) -> String {
        match service {
            Service::Order => self.order(),
            Service::Inventory => self.inventory(),
            Service::Payment => url(self.payment_url.as_deref(), self.ports.payment),
            Service::Email => url(self.email_url.as_deref(), self.ports.email),
            Service::Audit => url(self.audit_url.as_deref(), self.ports.audit),
        }
    }

    /// The payment gateway.
    #[must_use]
    pub fn gateway(&self) -> String {
        url(self.gateway_url.as_deref(), self.ports.gateway)
    }

    /// Jaeger, or what stands in for it.
    #[must_use]
    pub fn traces(&self) -> String {
        url(self.traces_url.as_deref(), self.ports.traces)
    }

    /// The page of a trace.
    #[must_use]
    pub fn trace_page(&self, trace_id: &str) -> String {
        let pages = self.traces_page_url.as_deref().map_or_else(|| self.traces(), trimmed);
        format!("{pages}/trace/{trace_id}")
    }

    /// RabbitMQ's management API with name and password in it.
    #[must_use]
    pub fn management(&self) -> String {
        self.management_url.as_deref().map_or_else(
            || format!("http://{SUPERUSER}:{SUPERUSER}@127.0.0.1:{}", self.ports.management),
            trimmed,
        )
    }

    /// The virtual host.
    #[must_use]
    pub fn vhost(&self) -> &str {
        &self.vhost
    }

    /// The database of a service, as the superuser.
    #[must_use]
    pub fn database(&self, service: &str) -> String {
        let name = format!("shop_{service}");
        match &self.admin_database_url {
            Some(base) => with_path(base, &name),
            None => self.ports.postgres_url(&name),
        }
    }
}

fn url(given: Option<&str>, port: u16) -> String {
    given.map_or_else(|| Ports::http(port), trimmed)
}

fn trimmed(url: &str) -> String {
    url.trim_end_matches('/').to_owned()
}

/// The address with another path; what stands behind a `?` stays.
fn with_path(base: &str, path: &str) -> String {
    let (address, query) = base.split_once('?').map_or((base, None), |(a, q)| (a, Some(q)));
    let (scheme, rest) = address.split_once("://").unwrap_or(("postgres", address));
    let authority = rest.split('/').next().unwrap_or_default();
    let query = query.map(|query| format!("?{query}")).unwrap_or_default();
    format!("{scheme}://{authority}/{path}{query}")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        addresses: Addresses,
    }

    fn parse(args: &[&str]) -> Addresses {
        Cli::try_parse_from([&["shop"], args].concat()).unwrap().addresses
    }

    #[test]
    fn a_url_goes_before_a_port_and_a_port_before_the_default() {
        let addresses = parse(&["--order-url", "http://a:1/", "--gateway-port", "7"]);
        assert_eq!(addresses.order(), "http://a:1");
        assert_eq!(addresses.gateway(), "http://127.0.0.1:7");
        assert_eq!(addresses.inventory(), "http://127.0.0.1:8082");
        assert_eq!(addresses.service(Service::Order), "http://a:1");
        assert_eq!(addresses.service(Service::Audit), "http://127.0.0.1:8085");
        assert_eq!(addresses.trace_page("ab"), "http://127.0.0.1:16686/trace/ab");
        let addresses =
            parse(&["--traces-url", "http://jaeger:1", "--traces-page-url", "http://b/"]);
        assert_eq!(addresses.traces(), "http://jaeger:1");
        assert_eq!(addresses.trace_page("ab"), "http://b/trace/ab");
    }

    #[test]
    fn the_database_of_a_service_replaces_the_one_that_the_address_names() {
        let addresses = parse(&["--admin-database-url", "postgres://a:b@h:1/postgres?x=y"]);
        assert_eq!(addresses.database("order"), "postgres://a:b@h:1/shop_order?x=y");
        let addresses = parse(&["--admin-database-url", "postgres://a:b@h"]);
        assert_eq!(addresses.database("audit"), "postgres://a:b@h/shop_audit");
    }
}
