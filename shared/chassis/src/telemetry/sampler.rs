//! Who decides whether a trace is recorded.

use opentelemetry::trace::{Link, SpanKind, TraceContextExt as _, TraceId};
use opentelemetry::{Context, KeyValue};
use opentelemetry_sdk::trace::{Sampler, SamplingResult, ShouldSample};

use super::TraceSampler;

/// At the edge (a SERVER span) the parent is a stranger's: its trace id is continued, its wish to be
/// recorded or not is ignored. Behind the edge the parent is ours and its decision stands.
#[derive(Clone, Debug)]
pub(super) struct EdgeSampler {
    root: Sampler,
    inner: Sampler,
}

impl EdgeSampler {
    pub(super) fn new(config: TraceSampler) -> Self {
        let root = match config.ratio {
            ratio if ratio >= 1.0 => Sampler::AlwaysOn,
            ratio if ratio <= 0.0 => Sampler::AlwaysOff,
            ratio => Sampler::TraceIdRatioBased(ratio),
        };
        let inner = match config.parent_based {
            true => Sampler::ParentBased(Box::new(root.clone())),
            false => root.clone(),
        };
        Self { root, inner }
    }
}

impl ShouldSample for EdgeSampler {
    fn should_sample(
        &self,
        parent: Option<&Context>,
        trace_id: TraceId,
        name: &str,
        kind: &SpanKind,
        attributes: &[KeyValue],
        links: &[Link],
    ) -> SamplingResult {
        let stranger = parent.is_some_and(|parent| parent.span().span_context().is_remote());
        let sampler = if stranger && *kind == SpanKind::Server { &self.root } else { &self.inner };
        sampler.should_sample(parent, trace_id, name, kind, attributes, links)
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry::trace::{SpanContext, SpanId, TraceFlags, TraceState};
    use opentelemetry_sdk::trace::SamplingDecision;

    use super::*;

    fn recorded(config: TraceSampler, parent: TraceFlags, kind: &SpanKind) -> bool {
        let trace_id = TraceId::from(7_u128);
        let remote =
            SpanContext::new(trace_id, SpanId::from(1_u64), parent, true, TraceState::default());
        let parent = Context::new().with_remote_span_context(remote);
        let result =
            EdgeSampler::new(config).should_sample(Some(&parent), trace_id, "s", kind, &[], &[]);
        result.decision == SamplingDecision::RecordAndSample
    }

    #[test]
    fn a_client_decides_nothing_and_a_message_decides_all() {
        let (yes, no) = (TraceFlags::SAMPLED, TraceFlags::NOT_SAMPLED);
        let (all, none) = (TraceSampler::parent_based(1.0), TraceSampler::parent_based(0.0));
        assert!(recorded(all, no, &SpanKind::Server));
        assert!(!recorded(none, yes, &SpanKind::Server));
        assert!(!recorded(all, no, &SpanKind::Consumer));
        assert!(recorded(none, yes, &SpanKind::Consumer));
        assert!(recorded(TraceSampler::by_id(1.0), no, &SpanKind::Consumer));
    }
}
