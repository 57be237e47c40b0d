//! Who publishes: the namespace, the environment and the service.

/// The names that an event's `source`, `type` and `dataschema` are made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    namespace: String,
    environment: String,
    service: String,
}

impl Identity {
    /// `namespace` is shared by all services of the system (`shop`), `environment` keeps a staging
    /// event out of production (`dev`), `service` is the publisher (`order`).
    pub fn new(
        namespace: impl Into<String>,
        environment: impl Into<String>,
        service: impl Into<String>,
    ) -> Self {
        Self {
            namespace: namespace.into(),
            environment: environment.into(),
            service: service.into(),
        }
    }

    /// The publishing service's short name.
    pub fn service(&self) -> &str {
        &self.service
    }

    /// The system's name.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// The deployment's name.
    pub fn environment(&self) -> &str {
        &self.environment
    }

    /// The CloudEvents `source` of this service: `urn:shop:dev:order`.
    pub fn source(&self) -> String {
        self.source_of(&self.service)
    }

    /// The CloudEvents `source` of another service of the same system and environment.
    pub fn source_of(&self, service: &str) -> String {
        format!("urn:{}:{}:{service}", self.namespace, self.environment)
    }

    /// The CloudEvents `type` of a short type: `order.placed.v1` -> `shop.order.placed.v1`.
    pub fn full_type(&self, short: &str) -> String {
        format!("{}.{short}", self.namespace)
    }

    /// The short type, which is also the routing key, of a CloudEvents `type` of this system.
    pub fn short_type<'a>(&self, full: &'a str) -> Option<&'a str> {
        full.strip_prefix(self.namespace.as_str())?.strip_prefix('.')
    }

    /// Whether a short type is this service's to publish: `order.placed.v1` is order's.
    pub fn owns(&self, short: &str) -> bool {
        short.strip_prefix(self.service.as_str()).is_some_and(|what| what.starts_with('.'))
    }

    /// The CloudEvents `dataschema`: `urn:shop:schema:order.placed:1.0`.
    pub fn schema(&self, short: &str, minor: u32) -> String {
        let (name, major) = short.rsplit_once(".v").unwrap_or((short, "0"));
        format!("urn:{}:schema:{name}:{major}.{minor}", self.namespace)
    }
}

#[cfg(test)]
mod tests {
    use super::Identity;

    #[test]
    fn names_follow_from_the_three_parts() {
        let id = Identity::new("shop", "dev", "order");
        assert_eq!(id.source(), "urn:shop:dev:order");
        assert_eq!(id.full_type("order.placed.v1"), "shop.order.placed.v1");
        assert_eq!(id.short_type("shop.order.placed.v1"), Some("order.placed.v1"));
        assert_eq!(id.short_type("shopping.order.placed.v1"), None);
        assert!(id.owns("order.placed.v1") && !id.owns("orders.placed.v1") && !id.owns("order"));
        assert_eq!(id.schema("order.placed.v1", 3), "urn:shop:schema:order.placed:1.3");
    }
}
