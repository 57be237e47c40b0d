//! Logs and traces of one process.
//!
//! Spans are made with the OpenTelemetry API itself; `tracing` is for log lines only. Every span gets
//! real ids even when nothing is exported, so that the trace context can travel in messages and the
//! trace id can stand in logs and problems.

mod config;
mod exporter;
mod logs;
mod sampler;

use std::time::Duration;

use opentelemetry::trace::TraceContextExt as _;
use opentelemetry::{Context, KeyValue, global};
use opentelemetry_otlp::{
    ExporterBuildError, RetryPolicy, WithExportConfig as _, WithTonicConfig as _,
};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{BatchConfigBuilder, BatchSpanProcessor, SdkTracerProvider};

pub use config::{LogFilter, LogFormat, TelemetryConfig, TraceSampler};

/// Spans that wait for the collector; more are dropped, never blocked on. Room for all of them is
/// taken at the start, 368 bytes each.
const QUEUE: usize = 4_096;
/// Spans in one export.
const BATCH: usize = 512;
/// Time for one export, retries included.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(5);
/// Time for the last export before the process ends.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(3);

/// Why telemetry could not start. A collector that is away is no reason.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The exporter refuses its settings.
    #[error("cannot make the OTLP exporter")]
    Exporter(#[from] ExporterBuildError),
    /// The exporter's connection lives in the tokio runtime.
    #[error("telemetry with an OTLP endpoint must start inside the tokio runtime")]
    NoRuntime,
}

/// Handle on the tracing of this process; [`shutdown`](Telemetry::shutdown) sends what is left.
#[derive(Debug)]
pub struct Telemetry {
    provider: SdkTracerProvider,
}

/// Starts logs and traces. Metrics are to be [installed](crate::metrics::install) before, so that lost
/// spans are counted from the start.
///
/// May be called again in one process, as tests do: the last call decides where spans go, the first
/// how logs look.
///
/// # Errors
/// [`TelemetryError`] when the exporter cannot be made. Whether the collector answers is not checked.
pub fn init(
    service_name: &'static str,
    config: &TelemetryConfig,
) -> Result<Telemetry, TelemetryError> {
    logs::init(config);
    exporter::name_metrics();
    let mut builder = SdkTracerProvider::builder()
        .with_sampler(sampler::EdgeSampler::new(config.sampler))
        .with_resource(resource(service_name, config));
    if let Some(endpoint) = &config.otlp_endpoint {
        builder = builder.with_span_processor(processor(endpoint.as_str(), config)?);
    }
    let provider = builder.build();
    global::set_text_map_propagator(TraceContextPropagator::new());
    global::set_tracer_provider(provider.clone());
    Ok(Telemetry { provider })
}

fn resource(service_name: &'static str, config: &TelemetryConfig) -> Resource {
    Resource::builder()
        .with_service_name(service_name)
        .with_attributes([
            KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
            KeyValue::new("service.instance.id", crate::random_id().to_string()),
            KeyValue::new("deployment.environment.name", config.environment.clone()),
        ])
        .build()
}

fn processor(
    endpoint: &str,
    config: &TelemetryConfig,
) -> Result<BatchSpanProcessor, TelemetryError> {
    tokio::runtime::Handle::try_current().map_err(|_| TelemetryError::NoRuntime)?;
    // The queue bridges short gaps, so one retry is enough: more would only fill it while waiting.
    let exporter = opentelemetry_otlp::SpanExporter::builder()
        .with_tonic()
        .with_endpoint(endpoint)
        .with_timeout(EXPORT_TIMEOUT)
        .with_retry_policy(RetryPolicy::recommended().with_max_retries(1))
        .build()?;
    let batches = BatchConfigBuilder::default()
        .with_max_queue_size(QUEUE)
        .with_max_export_batch_size(BATCH)
        .with_scheduled_delay(config.schedule_delay)
        .build();
    Ok(BatchSpanProcessor::builder(exporter::Watched::new(exporter))
        .with_batch_config(batches)
        .build())
}

impl Telemetry {
    /// Exports what has ended so far and waits for the collector's answer, at most some seconds; a
    /// collector that is away gives up earlier. Call it off the request path.
    pub async fn flush(&self) {
        let provider = self.provider.clone();
        off_the_runtime(move || provider.force_flush().map_err(|error| error.to_string())).await;
    }

    /// Exports what is left, for at most 3 s, and ends the export. Spans made later are lost.
    pub async fn shutdown(self) {
        let provider = self.provider;
        off_the_runtime(move || {
            provider.shutdown_with_timeout(FLUSH_TIMEOUT).map_err(|error| error.to_string())
        })
        .await;
    }
}

/// The SDK blocks its caller, and the exporter needs the async threads to make progress.
async fn off_the_runtime(work: impl FnOnce() -> Result<(), String> + Send + 'static) {
    match tokio::task::spawn_blocking(work).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!(error, "the last spans were not exported"),
        Err(error) => tracing::warn!(%error, "the last export was cut off"),
    }
}

/// The trace id of the current context, 32 hexadecimal digits; `None` outside a trace.
pub fn trace_id() -> Option<String> {
    Context::map_current(trace_id_of)
}

/// The trace id of `context`; see [`trace_id`].
pub fn trace_id_of(context: &Context) -> Option<String> {
    let span = context.span();
    let span = span.span_context();
    span.is_valid().then(|| span.trace_id().to_string())
}
