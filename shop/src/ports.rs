//! Where everything of one `shop up` listens: on 127.0.0.1, each port changeable by one variable.

use std::collections::BTreeMap;

use clap::Args;

/// One field per port: its flag, its variable, its default and what listens there.
macro_rules! ports {
    ($($field:ident: $flag:literal, $variable:literal, $default:literal, $what:literal;)+) => {
        /// The ports of a running shop, all on 127.0.0.1. Every verb that talks to it takes them.
        #[derive(Debug, Clone, Args)]
        #[command(next_help_heading = "Ports on 127.0.0.1")]
        pub struct Ports {
            $(
                #[doc = $what]
                #[arg(id = $flag, long = $flag, env = $variable, value_name = "PORT")]
                #[arg(default_value_t = $default)]
                pub $field: u16,
            )+
        }

        impl Ports {
            /// Every port by the variable that changes it, in the order of the documentation.
            #[must_use]
            pub fn all(&self) -> Vec<(&'static str, u16)> {
                vec![$(($variable, self.$field)),+]
            }
        }
    };
}

ports! {
    order: "order-port", "ORDER_PORT", 8081, "Order service";
    inventory: "inventory-port", "INVENTORY_PORT", 8082, "Inventory service";
    payment: "payment-port", "PAYMENT_PORT", 8083, "Payment service";
    email: "email-port", "EMAIL_PORT", 8084, "Email service";
    audit: "audit-port", "AUDIT_PORT", 8085, "Audit service";
    gateway: "gateway-port", "GATEWAY_PORT", 8090, "Payment gateway";
    postgres: "postgres-port", "POSTGRES_PORT", 15432, "Postgres";
    amqp: "amqp-port", "AMQP_PORT", 15673, "RabbitMQ, AMQP";
    management: "management-port", "MANAGEMENT_PORT", 15672, "RabbitMQ, management API and pages";
    traces: "traces-port", "TRACES_PORT", 16686, "Traces: Jaeger's API and pages";
    otlp: "otlp-port", "OTLP_PORT", 4317, "Traces in, OTLP over gRPC";
    otlp_http: "otlp-http-port", "OTLP_HTTP_PORT", 4318, "Traces in, OTLP over HTTP";
    mail: "mail-port", "MAIL_PORT", 8025, "Mail view: Mailpit's API and pages";
    smtp: "smtp-port", "SMTP_PORT", 11025, "Mail in, SMTP";
}

/// Name and password of the development superusers, in Postgres and in RabbitMQ; also the vhost.
pub const SUPERUSER: &str = "shop";

impl Ports {
    /// `http://127.0.0.1:PORT`.
    #[must_use]
    pub fn http(port: u16) -> String {
        format!("http://127.0.0.1:{port}")
    }

    /// Address of a database, with the superuser's name and password.
    #[must_use]
    pub fn postgres_url(&self, database: &str) -> String {
        format!("postgres://{SUPERUSER}:{SUPERUSER}@127.0.0.1:{}/{database}", self.postgres)
    }

    /// Address of the vhost, with the superuser's name and password.
    #[must_use]
    pub fn amqp_url(&self) -> String {
        format!("amqp://{SUPERUSER}:{SUPERUSER}@127.0.0.1:{}/{SUPERUSER}", self.amqp)
    }

    /// Address of RabbitMQ's management API; its user is [`SUPERUSER`], password the same.
    #[must_use]
    pub fn management_url(&self) -> String {
        Self::http(self.management)
    }

    /// The page of a trace.
    #[must_use]
    pub fn trace_url(&self, trace_id: &str) -> String {
        format!("{}/trace/{trace_id}", Self::http(self.traces))
    }

    /// A port that two of them share, with both variables.
    #[must_use]
    pub fn shared(&self) -> Option<(u16, &'static str, &'static str)> {
        let mut seen = BTreeMap::new();
        self.all()
            .into_iter()
            .find_map(|(name, port)| seen.insert(port, name).map(|earlier| (port, earlier, name)))
    }
}
