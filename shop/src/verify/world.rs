//! What is checked: five databases, a broker, a gateway, and who listens to what.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr as _;
use std::time::Duration;

use anyhow::Context as _;
use chrono::{DateTime, TimeDelta, Utc};
use envelope::{Clock, Identity};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{Connection as _, PgConnection, PgPool};
use uuid::{Builder, Uuid};

use super::broker::Broker;
use super::ledger::Gateway;

/// The namespace of all events of the shop.
const NAMESPACE: &str = "shop";
/// Enough for the two sides of a comparison and a question beside it.
const CONNECTIONS: u32 = 3;
const CONNECT_WITHIN: Duration = Duration::from_secs(5);
/// Outbox and inbox forget after 30 days unless their services are told otherwise, each in its own
/// time; what is younger than this both still have.
const REMEMBERED: TimeDelta = TimeDelta::days(29);

/// A service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Service {
    /// Orders.
    Order,
    /// Products, stock and reservations.
    Inventory,
    /// Payments.
    Payment,
    /// Mail.
    Email,
    /// The log of all events.
    Audit,
}

impl Service {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::Order, Self::Inventory, Self::Payment, Self::Email, Self::Audit];

    /// Its name, in its queue, its database and the source of its events.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Order => order::NAME,
            Self::Inventory => inventory::NAME,
            Self::Payment => payment::NAME,
            Self::Email => email::NAME,
            Self::Audit => audit::NAME,
        }
    }
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A connection pool per service.
#[derive(Debug, Clone)]
pub struct Databases(BTreeMap<Service, PgPool>);

impl Databases {
    /// Pools for the addresses that `url_of` gives. Nothing is connected yet.
    ///
    /// # Errors
    /// When an address is none. It is not part of the error: it holds a password.
    pub fn at(url_of: impl Fn(Service) -> String) -> anyhow::Result<Self> {
        let pool = |service: Service| {
            let options = PgConnectOptions::from_str(&url_of(service))
                .map_err(|_| anyhow::anyhow!("the address of {service}'s database cannot be read"))?
                .application_name("shop");
            let pool = PgPoolOptions::new()
                .max_connections(CONNECTIONS)
                .acquire_timeout(CONNECT_WITHIN)
                .connect_lazy_with(options);
            Ok((service, pool))
        };
        Service::ALL.into_iter().map(pool).collect::<anyhow::Result<_>>().map(Self)
    }

    /// These pools.
    pub fn over(pool_of: impl Fn(Service) -> PgPool) -> Self {
        Self(Service::ALL.into_iter().map(|service| (service, pool_of(service))).collect())
    }

    /// The database of a service.
    #[must_use]
    pub fn of(&self, service: Service) -> &PgPool {
        // Made from all services, and of nothing else.
        &self.0[&service]
    }

    /// Whether all of them answer.
    ///
    /// # Errors
    /// Which does not, and why.
    pub async fn ping(&self) -> anyhow::Result<()> {
        for service in self.0.keys() {
            self.ping_one(*service).await?;
        }
        Ok(())
    }

    /// Whether a service's database answers.
    ///
    /// # Errors
    /// Why not.
    pub async fn ping_one(&self, service: Service) -> anyhow::Result<()> {
        // Not by the pool: it tells of a time-out, and never why.
        let options = self.of(service).connect_options();
        let connecting = PgConnection::connect_with(&options);
        let asked = || format!("{service}'s database does not answer (is the shop up?)");
        let connection = tokio::time::timeout(CONNECT_WITHIN, connecting).await;
        connection.with_context(asked)?.with_context(asked)?.close().await?;
        Ok(())
    }
}

/// Who consumes which events, as full types.
#[derive(Debug, Clone)]
pub struct Bindings(BTreeMap<Service, Option<Vec<String>>>);

impl Bindings {
    /// As the services of this build register their handlers.
    #[must_use]
    pub fn of_this_build() -> Self {
        let types = |service| match service {
            Service::Order => order::bindings(),
            Service::Inventory => inventory::bindings(),
            Service::Payment => payment::bindings(),
            Service::Email => email::bindings(),
            Service::Audit => audit::bindings(),
        };
        Self(
            Service::ALL
                .into_iter()
                .map(|service| (service, full_types(&types(service))))
                .collect(),
        )
    }

    /// The full types that a service consumes; none stands for all there are.
    #[must_use]
    pub fn of(&self, consumer: Service) -> Option<&[String]> {
        self.0.get(&consumer).and_then(|types| types.as_deref())
    }
}

fn full_types(bindings: &[String]) -> Option<Vec<String>> {
    let namespace = Identity::new(NAMESPACE, "", "");
    let all = bindings.iter().any(|binding| binding == "#");
    (!all).then(|| bindings.iter().map(|short| namespace.full_type(short)).collect())
}

/// Everything that is checked.
#[derive(Debug, Clone)]
pub struct World {
    /// The services' databases.
    pub databases: Databases,
    /// Who consumes what.
    pub bindings: Bindings,
    /// The broker.
    pub broker: Broker,
    /// The payment gateway.
    pub gateway: Gateway,
    /// The time.
    pub clock: Clock,
    /// Outbox and inbox rows younger than this are still there.
    pub remembered: TimeDelta,
}

impl World {
    /// A world with the bindings of this build.
    #[must_use]
    pub fn new(databases: Databases, broker: Broker, gateway: Gateway) -> Self {
        Self {
            databases,
            bindings: Bindings::of_this_build(),
            broker,
            gateway,
            clock: Clock::system(),
            remembered: REMEMBERED,
        }
    }

    /// Outbox and inbox rows from then on are still there.
    pub(crate) fn remembered_since(&self) -> DateTime<Utc> {
        let since = self.clock.now().checked_sub_signed(self.remembered);
        since.unwrap_or(DateTime::UNIX_EPOCH)
    }

    /// Ids of events from then on are not smaller than this one.
    pub(crate) fn first_remembered_id(&self) -> Uuid {
        first_id_of(self.remembered_since())
    }
}

/// The smallest UUIDv7 of a time.
fn first_id_of(time: DateTime<Utc>) -> Uuid {
    let millis = u64::try_from(time.timestamp_millis()).unwrap_or_default();
    Builder::from_unix_timestamp_millis(millis, &[0; 10]).into_uuid()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_made_later_are_larger_than_the_first_of_a_time() {
        let clock = Clock::system();
        let before = first_id_of(clock.now() - TimeDelta::milliseconds(1));
        let id = clock.new_id();
        let after = first_id_of(clock.now() + TimeDelta::milliseconds(2));
        assert!(before < id && id < after, "{before} {id} {after}");
    }

    #[test]
    fn audit_hears_all_and_the_others_what_they_handle() {
        let bindings = Bindings::of_this_build();
        assert_eq!(bindings.of(Service::Audit), None);
        let inventory = bindings.of(Service::Inventory).unwrap_or_default();
        assert!(inventory.contains(&"shop.order.placed.v1".to_owned()), "{inventory:?}");
    }
}
