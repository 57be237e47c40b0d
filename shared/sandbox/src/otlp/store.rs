//! The received traces, in memory that is bounded whatever is sent.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use super::span::SpanRecord;
use super::summary::TraceSummary;
use super::tree::TraceTree;

/// How much a [`TraceStore`] keeps. Both count at the same time.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct StoreLimits {
    /// Traces at once, at least 1.
    pub traces: usize,
    /// Spans of all traces together, at least 1.
    pub spans: usize,
}

impl Default for StoreLimits {
    fn default() -> Self {
        Self { traces: 20_000, spans: 200_000 }
    }
}

/// What a store has seen since it was made.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct StoreCounters {
    /// Spans taken in, those dropped later included.
    pub received_spans: u64,
    /// Spans that were there already: an exporter that got no answer sends a batch again.
    pub duplicate_spans: u64,
    /// Spans without a usable trace id or span id.
    pub malformed_spans: u64,
    /// Traces that made room for newer ones.
    pub dropped_traces: u64,
    /// Spans of those traces, and spans of one trace that alone exceeded the limit.
    pub dropped_spans: u64,
}

/// A wait for a trace ended without it.
#[derive(Debug, thiserror::Error)]
#[error("trace {trace_id} was not complete after {waited:?}; so far:\n{so_far}")]
pub struct TraceTimeout {
    /// The trace that was waited for.
    pub trace_id: String,
    /// How long.
    pub waited: Duration,
    /// The tree that had arrived, rendered.
    pub so_far: String,
}

/// Traces by id, the oldest dropped first. Clones share one store.
#[derive(Clone, Debug)]
pub struct TraceStore {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    limits: StoreLimits,
    state: Mutex<State>,
    revision: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct State {
    traces: HashMap<String, Trace>,
    /// Trace ids by the arrival of their first span.
    arrival: VecDeque<String>,
    spans: usize,
    counters: StoreCounters,
}

#[derive(Debug, Default)]
struct Trace {
    spans: Vec<SpanRecord>,
    ids: HashSet<String>,
    services: BTreeSet<Arc<str>>,
}

impl Default for TraceStore {
    fn default() -> Self {
        Self::new(StoreLimits::default())
    }
}

impl TraceStore {
    /// An empty store. A limit of 0 counts as 1.
    #[must_use]
    pub fn new(limits: StoreLimits) -> Self {
        let limits = StoreLimits { traces: limits.traces.max(1), spans: limits.spans.max(1) };
        let revision = watch::Sender::new(0);
        Self { shared: Arc::new(Shared { limits, state: Mutex::default(), revision }) }
    }

    /// Takes spans in. A span whose id its trace has already is counted and left out.
    pub fn add(&self, spans: Vec<SpanRecord>) {
        let mut state = self.lock();
        for span in spans {
            state.add(span, self.shared.limits);
        }
        drop(state);
        self.shared.revision.send_modify(|revision| *revision += 1);
    }

    pub(super) fn count_malformed(&self, spans: usize) {
        self.lock().counters.malformed_spans += spans as u64;
    }

    /// The spans of a trace in the order in which they began; empty for an unknown one.
    #[must_use]
    pub fn trace(&self, trace_id: &str) -> Vec<SpanRecord> {
        self.lock().traces.get(trace_id).map(Trace::ordered).unwrap_or_default()
    }

    /// The newest `limit` traces in which `service` took part, newest first.
    #[must_use]
    pub fn traces_of(&self, service: &str, limit: usize) -> Vec<Vec<SpanRecord>> {
        self.newest_where(|trace| trace.services.contains(service), Trace::ordered, limit)
    }

    /// As [`TraceStore::traces_of`], only those in which some span of `service` fits `wanted`.
    pub fn traces_with(
        &self,
        service: &str,
        limit: usize,
        wanted: impl Fn(&SpanRecord) -> bool,
    ) -> Vec<Vec<SpanRecord>> {
        let fits = |trace: &Trace| {
            trace.services.contains(service)
                && trace.spans.iter().any(|span| &*span.service == service && wanted(span))
        };
        self.newest_where(fits, Trace::ordered, limit)
    }

    /// A line about each of the newest `limit` traces, newest first.
    #[must_use]
    pub fn newest(&self, limit: usize) -> Vec<TraceSummary> {
        self.newest_where(|_| true, |trace| TraceSummary::of(&trace.spans), limit)
    }

    /// The services seen in the traces that are kept, by name.
    #[must_use]
    pub fn services(&self) -> Vec<String> {
        let state = self.lock();
        let all: BTreeSet<&str> = state
            .traces
            .values()
            .flat_map(|trace| trace.services.iter().map(AsRef::as_ref))
            .collect();
        all.into_iter().map(str::to_owned).collect()
    }

    /// The span names of a service in the traces that are kept, by name.
    #[must_use]
    pub fn operations(&self, service: &str) -> Vec<String> {
        let state = self.lock();
        let spans = state.traces.values().flat_map(|trace| &trace.spans);
        let names: BTreeSet<&str> =
            spans.filter(|s| &*s.service == service).map(|s| s.name.as_str()).collect();
        names.into_iter().map(str::to_owned).collect()
    }

    /// Traces kept now.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lock().traces.len()
    }

    /// True when no trace is kept.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Spans kept now.
    #[must_use]
    pub fn span_count(&self) -> usize {
        self.lock().spans
    }

    /// What was received and dropped so far.
    #[must_use]
    pub fn counters(&self) -> StoreCounters {
        self.lock().counters
    }

    /// Changes after every batch of spans: wait on it rather than poll.
    #[must_use]
    pub fn revision(&self) -> watch::Receiver<u64> {
        self.shared.revision.subscribe()
    }

    /// Waits until the spans of a trace satisfy `complete`, at most `timeout`.
    ///
    /// # Errors
    /// [`TraceTimeout`] with the tree as far as it had arrived.
    pub async fn wait_for(
        &self,
        trace_id: &str,
        timeout: Duration,
        complete: impl Fn(&[SpanRecord]) -> bool,
    ) -> Result<Vec<SpanRecord>, TraceTimeout> {
        let mut revision = self.revision();
        let arrived = async {
            loop {
                revision.mark_unchanged();
                let spans = self.trace(trace_id);
                // The sender lives in `self`, so the channel cannot close.
                if complete(&spans) || revision.changed().await.is_err() {
                    return spans;
                }
            }
        };
        tokio::time::timeout(timeout, arrived).await.map_err(|_| TraceTimeout {
            trace_id: trace_id.to_owned(),
            waited: timeout,
            so_far: TraceTree::build(self.trace(trace_id)).render(),
        })
    }

    fn newest_where<T>(
        &self,
        wanted: impl Fn(&Trace) -> bool,
        make: impl Fn(&Trace) -> T,
        limit: usize,
    ) -> Vec<T> {
        let state = self.lock();
        let newest = state.arrival.iter().rev().filter_map(|id| state.traces.get(id));
        newest.filter(|trace| wanted(trace)).take(limit).map(make).collect()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn add(&mut self, span: SpanRecord, limits: StoreLimits) {
        self.counters.received_spans += 1;
        let known = self.traces.get(&span.trace_id);
        if known.is_some_and(|trace| trace.ids.contains(&span.span_id)) {
            self.counters.duplicate_spans += 1;
            return;
        }
        let new = known.is_none();
        while (new && self.traces.len() >= limits.traces) || self.spans >= limits.spans {
            if self.arrival.front() == Some(&span.trace_id) {
                // This trace is the oldest. Dropping its first half would leave a torn one.
                self.counters.dropped_spans += 1;
                return;
            }
            self.drop_oldest();
        }
        if new {
            self.arrival.push_back(span.trace_id.clone());
        }
        let trace = self.traces.entry(span.trace_id.clone()).or_default();
        trace.ids.insert(span.span_id.clone());
        if !trace.services.contains(&span.service) {
            trace.services.insert(Arc::clone(&span.service));
        }
        trace.spans.push(span);
        self.spans += 1;
    }

    fn drop_oldest(&mut self) {
        let oldest = self.arrival.pop_front().and_then(|id| self.traces.remove(&id));
        if let Some(trace) = oldest {
            self.spans -= trace.spans.len();
            self.counters.dropped_traces += 1;
            self.counters.dropped_spans += trace.spans.len() as u64;
        }
    }
}

impl Trace {
    fn ordered(&self) -> Vec<SpanRecord> {
        let mut spans = self.spans.clone();
        spans.sort_by_key(|span| span.start_ns);
        spans
    }
}
