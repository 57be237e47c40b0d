//! The settings that every service has.

use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZeroU32;
use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};

use super::error::quoted;
use super::{Reader, RetentionConfig, Setting, keys, url};
use crate::telemetry::TelemetryConfig;

const HTTP_ADDR: Setting = Setting::new("HTTP_ADDR", "address to serve HTTP on");
const DATABASE_URL: Setting = Setting::new("DATABASE_URL", "the service's own Postgres database")
    .expecting("a Postgres URL, postgres://user:password@host:port/database");
const DATABASE_CONNECTIONS: Setting =
    Setting::new("DATABASE_CONNECTIONS", "connections to the database at most");
const AMQP_URL: Setting = Setting::new("AMQP_URL", "the message broker")
    .expecting("an AMQP URL, amqp://user:password@host:port/vhost");
const ENVIRONMENT: Setting =
    Setting::new("ENVIRONMENT", "name of the environment, part of every event's source")
        .expecting("1 to 20 of a-z, 0-9 and -");
const SHUTDOWN_GRACE: Setting =
    Setting::new("SHUTDOWN_GRACE", "time to finish work in flight after SIGTERM");
const OUTBOX_CAP: Setting = Setting::new(
    "OUTBOX_CAP",
    "events that may wait to be published before requests are refused with 503",
);
const SIGNING_KEY: Setting =
    Setting::new("SIGNING_KEY", "Ed25519 seed that signs this service's events")
        .expecting("32 bytes in base64");
const SIGNING_KEY_ID: Setting =
    Setting::new("SIGNING_KEY_ID", "key id that goes with SIGNING_KEY").expecting("a key id");
const EVENT_KEYS: Setting =
    Setting::new("EVENT_KEYS", "public keys of all services, to verify events with")
        .or_file()
        .expecting("a JSON document of public keys, {\"keys\":[{\"kid\":...}]}");

const USUAL_CONNECTIONS: NonZeroU32 = NonZeroU32::new(16).unwrap();
const USUAL_CAP: NonZeroU32 = NonZeroU32::new(100_000).unwrap();

/// Where a service listens, what it talks to, and who it is. `Debug` shows no secret.
#[derive(Clone, Debug)]
pub struct ServiceConfig {
    /// Address of the HTTP server (`HTTP_ADDR`).
    pub http_addr: SocketAddr,
    /// The service's own database (`DATABASE_URL`), its form checked.
    pub database_url: SecretString,
    /// Connections to the database (`DATABASE_CONNECTIONS`, default 16): the consumer needs one, the
    /// relay one, the leased tasks and HTTP the rest. A few more listen.
    pub database_connections: NonZeroU32,
    /// The message broker (`AMQP_URL`), its form checked.
    pub amqp_url: SecretString,
    /// Logs and traces.
    pub telemetry: TelemetryConfig,
    /// Name of the environment (`ENVIRONMENT`, default `dev`): `[a-z0-9-]{1,20}`.
    pub environment: String,
    /// Time for work in flight after a signal (`SHUTDOWN_GRACE`, default 20 s).
    pub shutdown_grace: Duration,
    /// Events that may wait in the outbox before requests are refused (`OUTBOX_CAP`, default 100,000).
    pub outbox_cap: NonZeroU32,
    /// What is kept for a while only, and for how long.
    pub retention: RetentionConfig,
    /// Base64 of the 32-byte Ed25519 seed (`SIGNING_KEY`), length checked.
    pub signing_key: SecretString,
    /// Key id that is published with the signatures (`SIGNING_KEY_ID`), one of `event_keys`.
    pub signing_key_id: String,
    /// JSON document of the public keys (`EVENT_KEYS`), its form checked.
    pub event_keys: String,
}

impl ServiceConfig {
    /// Reads all of it; `default_port` is where the service listens when nothing is said. `None`
    /// means that a mistake was noted.
    pub fn read(read: &mut Reader, default_port: u16) -> Option<Self> {
        let loopback = SocketAddr::from((Ipv4Addr::LOCALHOST, default_port));
        let http_addr = read.with_default(&HTTP_ADDR, loopback);
        let database_url = read.secret_checked(&DATABASE_URL, url::postgres);
        let database_connections = read.with_default(&DATABASE_CONNECTIONS, USUAL_CONNECTIONS);
        let amqp_url = read.secret_checked(&AMQP_URL, url::amqp);
        let environment = read.with_default(&ENVIRONMENT, "dev".to_owned());
        if !is_environment(&environment) {
            let wrong = format!("{environment:?} cannot be part of an event's source");
            read.mistake(&ENVIRONMENT, wrong, "");
        }
        let telemetry = TelemetryConfig::read(read, &environment);
        let shutdown_grace = read.with_default(&SHUTDOWN_GRACE, Duration::from_secs(20));
        let outbox_cap = read.with_default(&OUTBOX_CAP, USUAL_CAP);
        let retention = RetentionConfig::read(read);
        let signing_key = read.secret_checked(&SIGNING_KEY, |key| keys::key_bytes(key).map(|_| ()));
        let signing_key_id = read.required(&SIGNING_KEY_ID);
        let event_keys: Option<String> = read.required(&EVENT_KEYS);
        check_keys(read, event_keys.as_deref(), signing_key_id.as_deref());
        Some(Self {
            http_addr,
            database_url: database_url?,
            database_connections,
            amqp_url: amqp_url?,
            telemetry,
            environment,
            shutdown_grace,
            outbox_cap,
            retention,
            signing_key: signing_key?,
            signing_key_id: signing_key_id?,
            event_keys: event_keys?,
        })
    }

    /// The 32 bytes of [`signing_key`](Self::signing_key).
    ///
    /// # Errors
    /// Says what is wrong with a key that did not come through [`read`](Self::read).
    pub fn signing_seed(&self) -> Result<[u8; 32], &'static str> {
        keys::key_bytes(self.signing_key.expose_secret())
    }
}

/// Notes what is wrong with the document of public keys, and that it lacks our own.
fn check_keys(read: &mut Reader, document: Option<&str>, own: Option<&str>) {
    match document.map(keys::key_ids) {
        Some(Ok(ids)) => {
            if let Some(own) = own.filter(|own| !ids.contains(*own)) {
                let wrong = format!("{} is not among the keys of EVENT_KEYS", quoted(own));
                read.mistake(&SIGNING_KEY_ID, wrong, "");
            }
        }
        Some(Err(all)) => all.into_iter().for_each(|wrong| read.mistake(&EVENT_KEYS, wrong, "")),
        None => {}
    }
}

fn is_environment(name: &str) -> bool {
    let allowed = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
    (1..=20).contains(&name.len()) && name.bytes().all(allowed)
}
