//! Settings of logs and traces, named as OpenTelemetry and the Rust ecosystem name them.

use std::time::Duration;

use tracing_subscriber::EnvFilter;

use crate::config::{FromSetting, HttpUrl, Reader, Setting, ToSetting};

const RUST_LOG: Setting = Setting::new("RUST_LOG", "which log lines to write");
const LOG_FORMAT: Setting = Setting::new("LOG_FORMAT", "form of the log lines: text or json");
const NO_COLOR: Setting = Setting::new("NO_COLOR", "any value: no colours in text logs");
const OTLP_ENDPOINT: Setting = Setting::new(
    "OTEL_EXPORTER_OTLP_ENDPOINT",
    "trace collector, OTLP over gRPC; without it no span is exported",
);
const SAMPLER: Setting = Setting::new("OTEL_TRACES_SAMPLER", "which traces to record");
const SAMPLER_ARG: Setting =
    Setting::new("OTEL_TRACES_SAMPLER_ARG", "share of traces for the ratio samplers, 0 to 1")
        .expecting("a number from 0 to 1");
const SCHEDULE_DELAY: Setting =
    Setting::new("OTEL_BSP_SCHEDULE_DELAY", "milliseconds between two exports of spans")
        .expecting("whole milliseconds, 1 or more");

/// How this process logs and traces.
#[derive(Clone, Debug)]
pub struct TelemetryConfig {
    /// Collector for OTLP over gRPC (`OTEL_EXPORTER_OTLP_ENDPOINT`); `None` exports nothing.
    pub otlp_endpoint: Option<HttpUrl>,
    /// Which traces are recorded (`OTEL_TRACES_SAMPLER` and `OTEL_TRACES_SAMPLER_ARG`).
    pub sampler: TraceSampler,
    /// Pause between two exports (`OTEL_BSP_SCHEDULE_DELAY`, default 200 ms).
    pub schedule_delay: Duration,
    /// `deployment.environment.name` of every span.
    pub environment: String,
    /// Which log lines are written (`RUST_LOG`, default `info`).
    pub log_filter: LogFilter,
    /// Their form (`LOG_FORMAT`).
    pub log_format: LogFormat,
    /// Colours in text logs, unless `NO_COLOR` is set.
    pub log_color: bool,
}

impl Default for TelemetryConfig {
    /// What [`read`](TelemetryConfig::read) gives when nothing is set: logs at `info`, no export.
    fn default() -> Self {
        Self {
            otlp_endpoint: None,
            sampler: TraceSampler::parent_based(1.0),
            schedule_delay: Duration::from_millis(200),
            environment: "dev".to_owned(),
            log_filter: LogFilter("info".to_owned()),
            log_format: LogFormat::Text,
            log_color: true,
        }
    }
}

impl TelemetryConfig {
    /// Reads the settings; mistakes are noted in `read`.
    pub fn read(read: &mut Reader, environment: &str) -> Self {
        let default = Self::default();
        let millis = u64::try_from(default.schedule_delay.as_millis()).unwrap_or(u64::MAX);
        let schedule_delay = read.with_default(&SCHEDULE_DELAY, millis);
        if schedule_delay == 0 {
            read.mistake(&SCHEDULE_DELAY, "0 would export without a pause".to_owned(), "");
        }
        let kind = read.with_default(&SAMPLER, SamplerKind::ParentBasedAlwaysOn);
        let ratio = read.with_default(&SAMPLER_ARG, 1.0);
        if !(0.0..=1.0).contains(&ratio) {
            read.mistake(&SAMPLER_ARG, format!("{ratio} is no share"), "");
        }
        let no_color: Option<String> = read.optional(&NO_COLOR);
        Self {
            otlp_endpoint: read.optional(&OTLP_ENDPOINT),
            sampler: kind.with_ratio(ratio),
            schedule_delay: Duration::from_millis(schedule_delay),
            environment: environment.to_owned(),
            log_filter: read.with_default(&RUST_LOG, default.log_filter),
            log_format: read.with_default(&LOG_FORMAT, default.log_format),
            log_color: no_color.is_none(),
        }
    }
}

/// Which traces are recorded. Unrecorded ones keep their ids and travel all the same.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TraceSampler {
    pub(super) parent_based: bool,
    pub(super) ratio: f64,
}

impl TraceSampler {
    /// Records `ratio` (0 to 1) of the traces that begin here and follows the decision that came with
    /// a message for the others.
    pub const fn parent_based(ratio: f64) -> Self {
        Self { parent_based: true, ratio }
    }

    /// Records `ratio` (0 to 1) of all traces by their id, whoever began them.
    pub const fn by_id(ratio: f64) -> Self {
        Self { parent_based: false, ratio }
    }
}

/// The names that the OpenTelemetry specification gives to samplers.
#[derive(Clone, Copy, Debug)]
enum SamplerKind {
    AlwaysOn,
    AlwaysOff,
    TraceIdRatio,
    ParentBasedAlwaysOn,
    ParentBasedTraceIdRatio,
}

const SAMPLERS: [(&str, SamplerKind); 5] = [
    ("always_on", SamplerKind::AlwaysOn),
    ("always_off", SamplerKind::AlwaysOff),
    ("traceidratio", SamplerKind::TraceIdRatio),
    ("parentbased_always_on", SamplerKind::ParentBasedAlwaysOn),
    ("parentbased_traceidratio", SamplerKind::ParentBasedTraceIdRatio),
];

impl SamplerKind {
    /// The specification gives an argument to the ratio samplers only; others ignore it.
    fn with_ratio(self, ratio: f64) -> TraceSampler {
        match self {
            Self::AlwaysOn => TraceSampler::by_id(1.0),
            Self::AlwaysOff => TraceSampler::by_id(0.0),
            Self::TraceIdRatio => TraceSampler::by_id(ratio),
            Self::ParentBasedAlwaysOn => TraceSampler::parent_based(1.0),
            Self::ParentBasedTraceIdRatio => TraceSampler::parent_based(ratio),
        }
    }
}

impl FromSetting for SamplerKind {
    const EXPECTED: &'static str = "always_on, always_off, traceidratio, parentbased_always_on or \
                                    parentbased_traceidratio";

    fn from_setting(text: &str) -> Result<Self, String> {
        let named = SAMPLERS.iter().find(|(name, _)| *name == text);
        named.map(|(_, kind)| *kind).ok_or_else(|| "is no sampler known here".to_owned())
    }
}

impl ToSetting for SamplerKind {
    fn to_setting(&self) -> String {
        let same =
            |kind: &SamplerKind| std::mem::discriminant(kind) == std::mem::discriminant(self);
        SAMPLERS.iter().find(|(_, kind)| same(kind)).map_or("", |(name, _)| name).to_owned()
    }
}

/// Form of the log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object per line, for machines.
    Json,
}

impl FromSetting for LogFormat {
    const EXPECTED: &'static str = "text or json";

    fn from_setting(text: &str) -> Result<Self, String> {
        match text {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            _ => Err("is no log format".to_owned()),
        }
    }
}

impl ToSetting for LogFormat {
    fn to_setting(&self) -> String {
        match self {
            Self::Text => "text".to_owned(),
            Self::Json => "json".to_owned(),
        }
    }
}

/// Directives of `RUST_LOG` that were found to be valid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogFilter(pub(super) String);

impl FromSetting for LogFilter {
    const EXPECTED: &'static str = "log directives, for example info,order=debug";

    fn from_setting(text: &str) -> Result<Self, String> {
        match EnvFilter::try_new(text) {
            Ok(_) => Ok(Self(text.to_owned())),
            Err(_) => Err("holds a directive that cannot be read".to_owned()),
        }
    }
}

impl ToSetting for LogFilter {
    fn to_setting(&self) -> String {
        self.0.clone()
    }
}
