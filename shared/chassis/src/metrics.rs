//! Prometheus metrics behind the `metrics` facade.
//!
//! Code writes `metrics::counter!("orders_total").increment(1)`; the prefix (`shop`) is put before
//! every name here, in one place. Histograms are named by their unit: `_seconds` gets buckets for
//! times, everything else buckets for counts.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use http::header::CONTENT_TYPE;
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
use metrics_util::layers::{Layer as _, PrefixLayer};
use tokio_util::sync::CancellationToken;

/// Upper bounds for times, in seconds: from a fast query to a slow gateway.
const SECONDS: [f64; 14] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
/// Upper bounds for counts, such as messages in a chunk.
const COUNTS: [f64; 10] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0];
/// Samples pile up in memory between two upkeeps.
const UPKEEP: Duration = Duration::from_secs(5);

static INSTALLED: Mutex<Option<Metrics>> = Mutex::new(None);

/// Why metrics could not be installed.
#[derive(Debug, thiserror::Error)]
pub enum MetricsError {
    /// One process has one recorder, and it has one prefix.
    #[error("metrics are installed already with the prefix {0:?}")]
    OtherPrefix(&'static str),
    /// A recorder that is not ours is in place.
    #[error("another metrics recorder is installed already")]
    OtherRecorder,
    /// The recorder refuses its buckets.
    #[error("cannot build the metrics recorder")]
    Build(#[from] BuildError),
}

/// Handle on the metrics of this process.
#[derive(Clone, Debug)]
pub struct Metrics {
    handle: PrometheusHandle,
    prefix: &'static str,
}

/// Installs the recorder with `prefix` (`shop` gives `shop_orders_total`). Calling it again with the
/// same prefix gives the same handle, so several services can start in one process.
///
/// # Errors
/// [`MetricsError`] when another recorder or another prefix is in place.
pub fn install(prefix: &'static str) -> Result<Metrics, MetricsError> {
    let mut installed = INSTALLED.lock().unwrap_or_else(PoisonError::into_inner);
    match installed.as_ref() {
        Some(metrics) if metrics.prefix == prefix => return Ok(metrics.clone()),
        Some(metrics) => return Err(MetricsError::OtherPrefix(metrics.prefix)),
        None => {}
    }
    let recorder = PrometheusBuilder::new()
        .set_buckets(&COUNTS)?
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &SECONDS)?
        .build_recorder();
    let metrics = Metrics { handle: recorder.handle(), prefix };
    metrics::set_global_recorder(PrefixLayer::new(prefix).layer(recorder))
        .map_err(|_| MetricsError::OtherRecorder)?;
    *installed = Some(metrics.clone());
    Ok(metrics)
}

impl Metrics {
    /// All metrics in the Prometheus text format.
    pub fn render(&self) -> String {
        self.handle.render()
    }

    /// Sorts histogram samples into their buckets until `stop`, so that memory stays flat while
    /// nobody scrapes.
    pub async fn upkeep(&self, stop: CancellationToken) {
        let mut ticks = tokio::time::interval(UPKEEP);
        while stop.run_until_cancelled(ticks.tick()).await.is_some() {
            self.handle.run_upkeep();
        }
    }

    /// `GET /metrics`.
    pub fn router(&self) -> Router {
        let metrics = self.clone();
        let render = move || async move {
            ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], metrics.render())
        };
        Router::new().route("/metrics", get(render))
    }
}
