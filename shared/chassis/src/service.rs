//! The HTTP side of a service in one task: its API, `/health/live`, `/health/ready` and `/metrics`.

use std::net::SocketAddr;

use axum::Router;
use http::StatusCode;
use tokio_util::sync::CancellationToken;

use crate::health::{Health, Readiness};
use crate::http::openapi::{Describe as _, Operation};
use crate::http::{Api, BindError, Door, Server};
use crate::metrics::Metrics;

/// A service's HTTP side, listening but not yet answering: hand [`run`](HttpService::run) to the
/// supervisor, in its last phase.
#[derive(Debug)]
pub struct HttpService {
    server: Server,
    app: Router,
    health: Health,
    metrics: Metrics,
    stopping: CancellationToken,
}

/// Tells those who come while the process stops that they are too late: hand
/// [`run`](LateService::run) to the supervisor, in its first phase.
#[derive(Debug)]
pub struct LateService {
    door: Door,
    app: Router,
    stopping: CancellationToken,
}

impl HttpService {
    /// Listens on `addr`; port 0 takes a free one. Probes and metrics stand beside the API, untraced.
    ///
    /// # Errors
    /// [`BindError`] when the address cannot be had.
    pub async fn bind(
        addr: SocketAddr,
        api: Api,
        health: &Health,
        metrics: &Metrics,
    ) -> Result<Self, BindError> {
        let server = Server::bind(addr, api.limits_in_force()).await?;
        let api = described(api);
        let app = api.untraced(health.router()).untraced(metrics.router()).into_router();
        let (health, metrics, stopping) =
            (health.clone(), metrics.clone(), CancellationToken::new());
        Ok(Self { server, app, health, metrics, stopping })
    }

    /// What goes on when this has ended, so that a client whose request comes while the process stops
    /// is told to come back and a probe learns why. Without it they find the port closed.
    pub fn late(&self) -> LateService {
        let (door, app, stopping) = (self.server.door(), self.app.clone(), self.stopping.clone());
        LateService { door, app, stopping }
    }

    /// The address it listens on.
    pub fn local_addr(&self) -> SocketAddr {
        self.server.local_addr()
    }

    /// Answers until `stop`: says not ready from then on, and lets requests in flight finish.
    ///
    /// # Errors
    /// None at present; the supervisor's tasks all return a result.
    pub async fn run(self, stop: CancellationToken) -> anyhow::Result<()> {
        tracing::info!(addr = %self.server.local_addr(), "serving http");
        let said_so = async {
            stop.cancelled().await;
            self.health.stop();
            self.stopping.cancel();
        };
        let serve = self.server.serve(self.app, stop.clone());
        tokio::join!(serve, said_so, self.metrics.upkeep(stop.clone()));
        Ok(())
    }
}

impl LateService {
    /// Does nothing until the [`HttpService`] stops, and then answers until `stop`: probes as always,
    /// everything else with `503`.
    ///
    /// # Errors
    /// None at present; the supervisor's tasks all return a result.
    pub async fn run(self, stop: CancellationToken) -> anyhow::Result<()> {
        self.door.keep(self.app, self.stopping, stop).await;
        Ok(())
    }
}

/// Adds what [`HttpService`] serves beside the API to the API's description.
pub fn described<S: Clone + Send + Sync + 'static>(api: Api<S>) -> Api<S> {
    api.described("/health/live", describe_live)
        .described("/health/ready", describe_ready)
        .described("/metrics", describe_metrics)
}

fn describe_live(route: Operation<'_>) -> Operation<'_> {
    let when = "The process runs.";
    let route = route.id("live").summary("Whether the process runs").tag("operations");
    route.answers::<serde_json::Map<String, serde_json::Value>>(StatusCode::OK, when)
}

fn describe_ready(route: Operation<'_>) -> Operation<'_> {
    route
        .id("ready")
        .summary("Whether the process can work, and what it waits for")
        .tag("operations")
        .answers::<Readiness>(StatusCode::OK, "Everything is there.")
        .answers::<Readiness>(StatusCode::SERVICE_UNAVAILABLE, "Something is not, and why.")
        .retry_after(StatusCode::SERVICE_UNAVAILABLE)
}

fn describe_metrics(route: Operation<'_>) -> Operation<'_> {
    let text = "Prometheus text format.";
    let route = route.id("metrics").summary("Metrics").tag("operations");
    route.answers_text(StatusCode::OK, "text/plain", text)
}
