//! The kit's counters and gauges, as a test sees them.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex};

use metrics::{Counter, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit};

type Figures = LazyLock<Mutex<HashMap<String, Arc<AtomicU64>>>>;

static COUNTERS: Figures = LazyLock::new(Mutex::default);
static GAUGES: Figures = LazyLock::new(Mutex::default);

/// For the whole process: with one test per process, for that test.
struct InMemory;

fn spelt(key: &Key) -> String {
    let labels: Vec<String> =
        key.labels().map(|label| format!("{}={}", label.key(), label.value())).collect();
    format!("{}{{{}}}", key.name(), labels.join(","))
}

impl Recorder for InMemory {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(COUNTERS.lock().unwrap().entry(spelt(key)).or_default().clone())
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::from_arc(GAUGES.lock().unwrap().entry(spelt(key)).or_default().clone())
    }

    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::noop()
    }
}

pub(super) fn install() {
    let _ = metrics::set_global_recorder(InMemory);
}

/// What a counter stands at: `parked_total{code=stale}`.
pub fn counted(name: &str) -> u64 {
    COUNTERS.lock().unwrap().get(name).map_or(0, |count| count.load(Ordering::SeqCst))
}

/// All counters that there are, whatever they stand at.
pub fn counters() -> Vec<String> {
    COUNTERS.lock().unwrap().keys().cloned().collect()
}

/// What a gauge stands at: `broker_blocked{}`; nothing where there is none.
pub fn gauged(name: &str) -> Option<f64> {
    let bits = GAUGES.lock().unwrap().get(name).map(|value| value.load(Ordering::SeqCst));
    bits.map(f64::from_bits)
}
