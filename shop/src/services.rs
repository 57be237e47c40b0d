//! The five services, as the operator's program sees them.

use chassis::config::Source;
use chassis::http::openapi::OpenApi;
use host::Running;
use sqlx::migrate::Migrator;

use crate::ports::Ports;

/// A service that this program can run, migrate and start.
#[derive(Debug)]
pub struct Service {
    /// Its name: in its queue, its events' source, and after `shop_` in its database.
    pub name: &'static str,
    /// Its own migrations; they run after the kit's.
    pub migrations: &'static Migrator,
    /// The short types that its queue is bound to.
    pub bindings: fn() -> Vec<String>,
    /// What its API says of itself.
    pub openapi: fn() -> OpenApi,
    /// Runs it until a signal, with its settings from a source.
    pub run: fn(Source) -> Running,
    /// Its port in a running shop.
    pub port: fn(&Ports) -> u16,
}

impl Service {
    /// The name of its database, and of the role that owns it.
    #[must_use]
    pub fn database(&self) -> String {
        format!("shop_{}", self.name)
    }

    /// The id of its signing key.
    #[must_use]
    pub fn key_id(&self) -> String {
        format!("{}-1", self.name)
    }
}

macro_rules! service {
    ($name:ident) => {
        Service {
            name: $name::NAME,
            migrations: &$name::MIGRATIONS,
            bindings: $name::bindings,
            openapi: || host::document($name::api()),
            run: $name::run,
            port: |ports| ports.$name,
        }
    };
}

/// All services, in the order of their ports.
pub static SERVICES: &[Service] =
    &[service!(order), service!(inventory), service!(payment), service!(email), service!(audit)];

/// The service of that name.
#[must_use]
pub fn service(name: &str) -> Option<&'static Service> {
    SERVICES.iter().find(|service| service.name == name)
}
