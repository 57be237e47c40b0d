//! The HTTP side of a service in one task: its API, `/health/live`, `/health/ready` and `/metrics`.

use std::net::SocketAddr;

use axum::Router;
use http::StatusCode;
use tokio_util::sync::CancellationToken;

use crate::health::{Health, Readiness};
use crate::http::openapi::{Describe as _, Operation};
use crate::http::{Api, BindError, Server};
use crate::metrics::Metrics;

/// A service's HTTP side, listening but not yet answering: hand [`run`](HttpService::run) to the
/// supervisor, in its last phase.
#[derive(Debug)]
pub struct HttpService {
    server: Server,
    app: Router,
    health: Health,
    metrics: Metrics,
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
        Ok(Self { server, app, health: health.clone(), metrics: metrics.clone() })
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
        };
        let serve = self.server.serve(self.app, stop.clone());
        tokio::join!(serve, said_so, self.metrics.upkeep(stop.clone()));
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
}

fn describe_metrics(route: Operation<'_>) -> Operation<'_> {
    let text = "Prometheus text format.";
    let route = route.id("metrics").summary("Metrics").tag("operations");
    route.answers_text(StatusCode::OK, "text/plain", text)
}
