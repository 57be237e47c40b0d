//! The HTTP side of a service in one task: its API, `/health/live`, `/health/ready` and `/metrics`.

use std::net::SocketAddr;

use axum::Router;
use tokio_util::sync::CancellationToken;

use crate::health::Health;
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
