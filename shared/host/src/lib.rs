//! A service put together: what the chassis gives (process, HTTP, telemetry, health) and what the
//! messaging kit gives (database, broker, keys), in the one way that all services of the shop share.
//! Neither of the two knows the other; a service that wants it otherwise composes them itself.
//!
//! ```no_run
//! use std::process::ExitCode;
//!
//! use chassis::config::{ConfigError, Reader, ServiceConfig, Source};
//! use chassis::http::{Api, ApiRouter};
//! use host::Host;
//! use messaging::Handlers;
//!
//! fn config(source: Source) -> Result<ServiceConfig, ConfigError> {
//!     let mut read = Reader::new(source);
//!     let service = ServiceConfig::read(&mut read, 8090);
//!     read.finish(|| service)
//! }
//!
//! async fn serve(config: ServiceConfig) -> anyhow::Result<ExitCode> {
//!     let host = Host::open("lamps", config)?;
//!     let _pool = host.pool(); // for the service's own stores
//!     host.handlers(Handlers::new())
//!         .task("repairs", |stop| async move { stop.cancelled().await })
//!         .serve(Api::new(ApiRouter::new()))
//!         .await
//! }
//!
//! #[tokio::main]
//! async fn main() -> ExitCode {
//!     host::run("lamps", config(Source::process()), serve).await
//! }
//! ```

pub mod answers;

use std::future::Future;
use std::pin::Pin;
use std::process::ExitCode;

use anyhow::{Context as _, ensure};
use axum::routing::get;
use axum::{Json, Router};
use chassis::config::{ConfigError, RetentionConfig, ServiceConfig};
use chassis::health::Health;
use chassis::http::Api;
use chassis::http::openapi::{Describe as _, OpenApi};
use chassis::metrics::{self, Metrics};
use chassis::service::HttpService;
use chassis::supervisor::Supervisor;
use chassis::telemetry::{self, Telemetry};
use chrono::TimeDelta;
use envelope::signature::{KeyDocument, KeyRing, Signed, Signer};
use envelope::{Clock, Identity};
use http::StatusCode;
use messaging::transport::rabbitmq::RabbitMq;
use messaging::{ConsumerSettings, Handlers, Messaging, Pool, Retention};
use schemars::JsonSchema;
use secrecy::ExposeSecret as _;
use tokio_util::sync::CancellationToken;

/// The first part of every event type, source, header and metric.
pub const NAMESPACE: &str = "shop";
/// Where a service's public keys are.
const KEYS: &str = "/.well-known/event-keys";

/// A service that runs until it is told to stop. Boxed, so that it is compiled in its own crate and not
/// again in every program that runs it.
pub type Running = Pin<Box<dyn Future<Output = ExitCode>>>;

/// Runs `serve` with the settings, or says what is wrong with them.
pub fn run<C, Serve, Serving>(
    name: &'static str,
    config: Result<C, ConfigError>,
    serve: Serve,
) -> Running
where
    C: 'static,
    Serve: FnOnce(C) -> Serving + 'static,
    Serving: Future<Output = anyhow::Result<ExitCode>>,
{
    Box::pin(async move {
        #[cfg(feature = "crash-points")]
        if let Err(error) = arm() {
            eprintln!("{name}: {error}");
            return ExitCode::from(2);
        }
        match config {
            Ok(config) => serve(config).await.unwrap_or_else(|error| {
                eprintln!("{name}: {error:#}");
                ExitCode::FAILURE
            }),
            Err(error) => error.report(),
        }
    })
}

/// What tests have in store for this process.
#[cfg(feature = "crash-points")]
#[expect(clippy::disallowed_methods, reason = "no setting of the service: tests alone use it")]
fn arm() -> Result<(), String> {
    let told = |name| std::env::var(name).ok().filter(|text: &String| !text.is_empty());
    messaging::crash::arm(told("CRASH_POINT").as_deref(), told("BUG").as_deref())
}

type Work = Pin<Box<dyn Future<Output = ()> + Send>>;
type Start = Box<dyn FnOnce(CancellationToken) -> Work + Send>;

/// A host that serves; boxed as [`Running`] is.
pub type Serving = Pin<Box<dyn Future<Output = anyhow::Result<ExitCode>>>>;

/// A service that is being put together.
pub struct Host {
    name: &'static str,
    config: ServiceConfig,
    telemetry: Telemetry,
    metrics: Metrics,
    pool: Pool,
    keys: KeyRing,
    public_keys: KeyDocument,
    handlers: Handlers,
    consumer: ConsumerSettings,
    tasks: Vec<(&'static str, Start)>,
}

impl Host {
    /// Sets up telemetry, metrics, keys and a pool that connects when it is first used.
    ///
    /// # Errors
    /// When a setting is of the right form and still cannot be used: a signing key that is not the one
    /// that the others know.
    pub fn open(name: &'static str, config: ServiceConfig) -> anyhow::Result<Self> {
        let metrics = metrics::install(NAMESPACE)?;
        let telemetry = telemetry::init(name, &config.telemetry)?;
        let identity = Identity::new(NAMESPACE, &config.environment, name);
        let signing_key = config.signing_key.expose_secret();
        let signer = Signer::from_base64(&config.signing_key_id, signing_key)?;
        let keys = KeyRing::from_json(&config.event_keys)?;
        check_own_key(&signer, &keys, &identity)?;
        let public_keys = KeyDocument { keys: vec![signer.public_for(&identity)] };
        let url = config.database_url.expose_secret();
        let pg = messaging::connect_lazily(url, name, config.database_connections.get())?;
        let pool = Pool::new(pg, identity, signer, Clock::system());
        pool.set_outbox_cap(config.outbox_cap.get());
        let (handlers, consumer) = (Handlers::new(), ConsumerSettings::default());
        let tasks = Vec::new();
        Ok(Self {
            name,
            config,
            telemetry,
            metrics,
            pool,
            keys,
            public_keys,
            handlers,
            consumer,
            tasks,
        })
    }

    /// The service's database, and in whose name it publishes.
    pub fn pool(&self) -> &Pool {
        &self.pool
    }

    /// What the service consumes.
    #[must_use]
    pub fn handlers(mut self, handlers: Handlers) -> Self {
        self.handlers = handlers;
        self
    }

    /// How it consumes, where the kit's own settings do not suit.
    #[must_use]
    pub fn consume_with(mut self, consumer: ConsumerSettings) -> Self {
        self.consumer = consumer;
        self
    }

    /// A task of the service's own, beside HTTP: it runs until its token is cancelled, and drains.
    #[must_use]
    pub fn task<F, Fut>(mut self, name: &'static str, run: F) -> Self
    where
        F: FnOnce(CancellationToken) -> Fut + Send + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        self.tasks.push((name, Box::new(move |stop| Box::pin(run(stop)))));
        self
    }

    /// Runs all of it until the process is told to stop. Beside `api` stand probes, metrics and the
    /// service's public keys.
    ///
    /// # Errors
    /// When the address cannot be had, and when a message could arrive after its inbox row is gone.
    pub fn serve(self, api: Api) -> Serving {
        Box::pin(self.serve_all(api))
    }

    async fn serve_all(self, api: Api) -> anyhow::Result<ExitCode> {
        let url = self.config.amqp_url.expose_secret();
        let broker = RabbitMq::new(url, self.name, NAMESPACE);
        let messaging = Messaging::new(self.pool.clone(), broker, self.keys, self.handlers)
            .consume_with(self.consumer)
            .keep_for(retention(&self.config.retention)?)?;

        let health = Health::new();
        let (database, kit) = (self.pool.clone(), messaging.vitals());
        health.check("postgres", move || messaging::ping(database.clone()));
        health.check("rabbitmq", move || std::future::ready(kit.check()));
        let api = described(api).untraced(published(self.public_keys));
        let http = HttpService::bind(self.config.http_addr, api, &health, &self.metrics).await?;

        // The relay stops last, so that what a handler or a task still commits leaves the house.
        let late = http.late();
        let mut supervisor = Supervisor::new(self.config.shutdown_grace);
        supervisor = supervisor.task("late", |stop| late.run(stop));
        for task in messaging.tasks() {
            supervisor = supervisor.task(task.name, task.run).phase();
        }
        for (name, run) in self.tasks {
            supervisor = supervisor.task(name, |stop| async move {
                run(stop).await;
                Ok(())
            });
        }
        let outcome = supervisor.task("http", |stop| http.run(stop)).run().await;
        self.telemetry.shutdown().await;
        Ok(ExitCode::from(outcome.code()))
    }
}

fn retention(kept: &RetentionConfig) -> anyhow::Result<Retention> {
    let RetentionConfig { outbox, inbox, replay_window, decided, answers } = kept;
    Ok(Retention {
        outbox: TimeDelta::from_std(*outbox)?,
        inbox: TimeDelta::from_std(*inbox)?,
        replay: TimeDelta::from_std(*replay_window)?,
        decided: TimeDelta::from_std(*decided)?,
        answers: TimeDelta::from_std(*answers)?,
    })
}

/// A service that signs with another key than the one that the others have would start, and everything
/// it says would be parked.
fn check_own_key(signer: &Signer, keys: &KeyRing, identity: &Identity) -> anyhow::Result<()> {
    let fix = "SIGNING_KEY, SIGNING_KEY_ID and EVENT_KEYS must belong together; `shop keys` makes all three";
    let body = b"mine";
    let signature = signer.sign(body);
    let signed = Signed { body, signature: &signature, kid: signer.kid() };
    keys.verify(signed).with_context(|| {
        format!("SIGNING_KEY is not the key that EVENT_KEYS names {}: {fix}", signer.kid())
    })?;
    let (source, own) = (identity.source(), format!("{}.", identity.service()));
    let may = keys.authorise(signer.kid(), &source, &identity.full_type(&own)).is_ok();
    ensure!(may, "EVENT_KEYS does not let {} sign events of {source}: {fix}", signer.kid());
    Ok(())
}

/// The description of an API as [`Host::serve`] serves it.
pub fn document<S: Clone + Send + Sync + 'static>(api: Api<S>) -> OpenApi {
    chassis::service::described(described(api)).document()
}

fn described<S: Clone + Send + Sync + 'static>(api: Api<S>) -> Api<S> {
    api.described(KEYS, |route| {
        route
            .id("eventKeys")
            .summary("The public keys that this service's events are verified with")
            .tag("operations")
            .answers::<PublishedKeys>(StatusCode::OK, "Those that it signs with.")
    })
}

/// The public keys of one service.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "describes how the envelope's key document is written")]
struct PublishedKeys {
    keys: Vec<PublishedKey>,
}

/// A public key, and what it may sign.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "as above")]
struct PublishedKey {
    /// Its id.
    kid: String,
    #[schemars(extend("const" = "Ed25519"))]
    alg: String,
    /// 32 bytes in Base64.
    public_key: String,
    /// Whose events it signs.
    source: String,
    /// Their types; a `*` at the end stands for anything.
    types: Vec<String>,
    #[schemars(extend("enum" = ["active", "retiring", "revoked"]))]
    state: String,
}

/// Where anybody can get the keys that the service's events are verified with.
fn published(keys: KeyDocument) -> Router {
    let keys = std::sync::Arc::new(keys);
    let answer = move || std::future::ready(Json(keys.clone()));
    Router::new().route(KEYS, get(answer))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::time::Duration;

    use axum::body::Body;
    use axum::http::Request;
    use tower::ServiceExt as _;

    use super::*;

    fn ring(signer: &Signer, identity: &Identity) -> KeyRing {
        KeyRing::new(&KeyDocument { keys: vec![signer.public_for(identity)] }).unwrap()
    }

    #[tokio::test]
    async fn the_published_key_speaks_for_the_services_own_events_only() {
        let identity = Identity::new(NAMESPACE, "test", "lamps");
        let key = Signer::from_seed("lamps-1", [1; 32]).public_for(&identity);
        let request = Request::get("/.well-known/event-keys").body(Body::empty()).unwrap();
        let answer = published(KeyDocument { keys: vec![key] }).oneshot(request).await.unwrap();
        let body = axum::body::to_bytes(answer.into_body(), 4096).await.unwrap();
        let KeyDocument { keys } = serde_json::from_slice(&body).unwrap();
        assert_eq!((keys.len(), keys[0].source.as_str()), (1, "urn:shop:test:lamps"));
        assert_eq!(keys[0].types, ["shop.lamps.*"]);
    }

    #[tokio::test]
    async fn settings_that_are_accepted_are_never_refused_by_the_kit() {
        let config = |inbox: Duration, replay_window: Duration| RetentionConfig {
            outbox: Duration::from_secs(3_600),
            inbox,
            replay_window,
            decided: inbox,
            answers: Duration::from_secs(86_400),
        };
        let kit = || {
            let identity = Identity::new(NAMESPACE, "test", "lamps");
            let mine = Signer::from_seed("lamps-1", [1; 32]);
            let keys = ring(&mine, &identity);
            let pg = messaging::connect_lazily("postgres://nowhere/lamps", "lamps", 1).unwrap();
            let pool = Pool::new(pg, identity, mine, Clock::system());
            let broker = RabbitMq::new("amqp://nowhere/lamps", "lamps", NAMESPACE);
            Messaging::new(pool, broker, keys, Handlers::new())
        };
        for hours in [1, 336, 87_599] {
            let window = Duration::from_secs(hours * 3_600);
            let least = config(window + RetentionConfig::LATEST_RETRY, window);
            assert!(kit().keep_for(retention(&least).unwrap()).is_ok(), "{hours}");
            let less = config(window, window);
            assert!(kit().keep_for(retention(&less).unwrap()).is_err(), "{hours}");
        }
    }

    #[test]
    fn a_key_that_the_others_do_not_have_is_refused_at_the_start() {
        let identity = Identity::new(NAMESPACE, "test", "lamps");
        let mine = Signer::from_seed("lamps-1", [1; 32]);
        let keys = ring(&mine, &identity);
        assert!(check_own_key(&mine, &keys, &identity).is_ok());
        let other = Signer::from_seed("lamps-1", [2; 32]);
        let refused = check_own_key(&other, &keys, &identity).unwrap_err().to_string();
        assert!(refused.contains("SIGNING_KEY is not the key"), "{refused}");
        let elsewhere = Identity::new(NAMESPACE, "production", "lamps");
        let refused = check_own_key(&mine, &keys, &elsewhere).unwrap_err().to_string();
        assert!(refused.contains("urn:shop:production:lamps"), "{refused}");
    }
}
