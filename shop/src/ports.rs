//! Where everything of one `shop up` listens: on 127.0.0.1, each port changeable by one variable.

use std::collections::BTreeMap;

use clap::Args;

/// The ports of a running shop, all on 127.0.0.1. Every verb that talks to it takes them.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Ports on 127.0.0.1")]
pub struct Ports {
    /// Order service
    #[arg(long = "order-port", env = "ORDER_PORT", value_name = "PORT", default_value_t = 8081)]
    pub order: u16,
    /// Inventory service
    #[arg(
        long = "inventory-port",
        env = "INVENTORY_PORT",
        value_name = "PORT",
        default_value_t = 8082
    )]
    pub inventory: u16,
    /// Payment service
    #[arg(
        long = "payment-port",
        env = "PAYMENT_PORT",
        value_name = "PORT",
        default_value_t = 8083
    )]
    pub payment: u16,
    /// Email service
    #[arg(long = "email-port", env = "EMAIL_PORT", value_name = "PORT", default_value_t = 8084)]
    pub email: u16,
    /// Audit service
    #[arg(long = "audit-port", env = "AUDIT_PORT", value_name = "PORT", default_value_t = 8085)]
    pub audit: u16,
    /// Payment gateway
    #[arg(
        long = "gateway-port",
        env = "GATEWAY_PORT",
        value_name = "PORT",
        default_value_t = 8090
    )]
    pub gateway: u16,
    /// Postgres
    #[arg(
        long = "postgres-port",
        env = "POSTGRES_PORT",
        value_name = "PORT",
        default_value_t = 15432
    )]
    pub postgres: u16,
    /// RabbitMQ, AMQP
    #[arg(long = "amqp-port", env = "AMQP_PORT", value_name = "PORT", default_value_t = 15673)]
    pub amqp: u16,
    /// RabbitMQ, management API and pages
    #[arg(
        long = "management-port",
        env = "MANAGEMENT_PORT",
        value_name = "PORT",
        default_value_t = 15672
    )]
    pub management: u16,
    /// Traces: Jaeger's API and pages
    #[arg(long = "traces-port", env = "TRACES_PORT", value_name = "PORT", default_value_t = 16686)]
    pub traces: u16,
    /// Traces in, OTLP over gRPC
    #[arg(long = "otlp-port", env = "OTLP_PORT", value_name = "PORT", default_value_t = 4317)]
    pub otlp: u16,
    /// Traces in, OTLP over HTTP
    #[arg(
        long = "otlp-http-port",
        env = "OTLP_HTTP_PORT",
        value_name = "PORT",
        default_value_t = 4318
    )]
    pub otlp_http: u16,
    /// Mail view: Mailpit's API and pages
    #[arg(long = "mail-port", env = "MAIL_PORT", value_name = "PORT", default_value_t = 8025)]
    pub mail: u16,
    /// Mail in, SMTP
    #[arg(long = "smtp-port", env = "SMTP_PORT", value_name = "PORT", default_value_t = 11025)]
    pub smtp: u16,
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

    /// Every port by the variable that changes it, in the order of the documentation.
    #[must_use]
    pub fn all(&self) -> [(&'static str, u16); 14] {
        [
            ("ORDER_PORT", self.order),
            ("INVENTORY_PORT", self.inventory),
            ("PAYMENT_PORT", self.payment),
            ("EMAIL_PORT", self.email),
            ("AUDIT_PORT", self.audit),
            ("GATEWAY_PORT", self.gateway),
            ("POSTGRES_PORT", self.postgres),
            ("AMQP_PORT", self.amqp),
            ("MANAGEMENT_PORT", self.management),
            ("TRACES_PORT", self.traces),
            ("OTLP_PORT", self.otlp),
            ("OTLP_HTTP_PORT", self.otlp_http),
            ("MAIL_PORT", self.mail),
            ("SMTP_PORT", self.smtp),
        ]
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
