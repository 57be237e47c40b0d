//! Log lines on stdout.

use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _, fmt};

use super::TelemetryConfig;
use super::config::LogFormat;

/// Libraries below us that report every frame at `debug` and every retry at `warn`; the exporter's own
/// traffic would otherwise log itself without end, and the broker's client would log returned
/// messages with their bodies, which hold customers' addresses.
const NOISY: [(&str, &str); 10] = [
    ("h2", "warn"),
    ("hyper", "warn"),
    ("hyper_util", "warn"),
    ("lapin", "error"),
    ("tonic", "warn"),
    ("tower", "warn"),
    ("opentelemetry", "off"),
    ("opentelemetry_sdk", "off"),
    ("opentelemetry-otlp", "off"),
    ("opentelemetry_otlp", "off"),
];

/// The first call in a process wins; a subscriber that somebody else installed stays.
pub(super) fn init(config: &TelemetryConfig) {
    let lines = match config.log_format {
        LogFormat::Text => fmt::layer().with_ansi(config.log_color).boxed(),
        LogFormat::Json => fmt::layer().json().flatten_event(true).boxed(),
    };
    let filter = EnvFilter::new(directives(&config.log_filter.0));
    // An error only says that logs are set up already.
    let _ = tracing_subscriber::registry().with(filter).with(lines).try_init();
}

/// The user's directives, preceded by ours for every noisy target that they do not name.
fn directives(user: &str) -> String {
    let named = |target: &str| {
        user.split(',').any(|directive| directive.split(['=', '[']).next() == Some(target))
    };
    let ours = NOISY.iter().filter(|(target, _)| !named(target));
    let ours = ours.map(|(target, level)| format!("{target}={level}"));
    ours.chain([user.to_owned()]).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_noisy_target_that_the_user_names_is_the_users() {
        let all = directives("info,h2=trace");
        assert!(!all.contains("h2=warn"));
        assert!(all.contains("hyper=warn"));
        assert!(all.ends_with("info,h2=trace"));
    }
}
