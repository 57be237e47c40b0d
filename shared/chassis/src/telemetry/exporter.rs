//! Says when the collector goes away and comes back, and counts what was lost meanwhile.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use metrics::Counter;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{SpanData, SpanExporter};

/// Shows what was lost before anything is, so that the first loss is an increase.
pub(super) fn name_metrics() {
    lost().increment(0);
}

fn lost() -> Counter {
    metrics::counter!("telemetry_spans_lost_total")
}

/// Logs the change of the collector's state, not every export: a collector that is down for an hour
/// is two lines.
#[derive(Debug)]
pub(super) struct Watched<E> {
    inner: E,
    down: AtomicBool,
}

impl<E> Watched<E> {
    pub(super) fn new(inner: E) -> Self {
        Self { inner, down: AtomicBool::new(false) }
    }
}

impl<E: SpanExporter> SpanExporter for Watched<E> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let spans = u64::try_from(batch.len()).unwrap_or(u64::MAX);
        let result = self.inner.export(batch).await;
        match &result {
            Ok(()) => {
                if self.down.swap(false, Ordering::Relaxed) {
                    tracing::info!("the trace collector answers again");
                }
            }
            Err(error) => {
                lost().increment(spans);
                if !self.down.swap(true, Ordering::Relaxed) {
                    tracing::warn!(%error, "the trace collector does not answer, spans are lost");
                }
            }
        }
        result
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.inner.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.inner.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.inner.set_resource(resource);
    }
}
