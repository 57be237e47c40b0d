//! The spans of one trace as a tree.

use std::collections::{BTreeSet, HashMap};

use super::render;
use super::span::{SpanKind, SpanRecord};

/// Waits shorter than this are measuring noise and are not shown.
const MIN_GAP_NS: u64 = 100_000;

/// The spans of one trace, each under its parent, siblings in the order in which they began.
///
/// No span is lost: one whose parent has not arrived stands at the top as well, and so does the
/// earliest of a ring of spans that name each other as parents.
#[derive(Clone, Debug)]
pub struct TraceTree {
    spans: Vec<SpanRecord>,
    children: Vec<Vec<usize>>,
    tops: Vec<usize>,
    orphans: Vec<usize>,
}

/// A wait in nanoseconds, and where it went by.
type Gap = (u64, &'static str);

/// A line of the tree, in the order in which it is read.
#[derive(Clone, Copy, Debug)]
pub struct TreeRow<'a> {
    /// The span.
    pub span: &'a SpanRecord,
    /// 0 at the top.
    pub depth: usize,
    /// Nanoseconds from the start of the trace to the start of the span.
    pub offset_ns: u64,
    /// The wait before this span: nanoseconds between the last thing that had ended (its parent, or
    /// an earlier sibling) and its start. Only where the span began after its parent had ended, so
    /// work that was handed over (outbox, queue) and not work that is nested.
    pub gap_ns: Option<u64>,
    /// Where that time went by, as far as the two spans' kinds tell: `outbox`, `queue` or `idle`.
    pub gap_in: &'static str,
    /// True where the span names a parent that is not among the spans, and should be.
    pub parent_missing: bool,
}

impl TraceTree {
    /// Builds the tree from spans of one trace, in any order.
    #[must_use]
    pub fn build(mut spans: Vec<SpanRecord>) -> Self {
        spans.sort_by(|a, b| (a.start_ns, &a.span_id).cmp(&(b.start_ns, &b.span_id)));
        let by_id: HashMap<&str, usize> =
            spans.iter().enumerate().map(|(at, span)| (span.span_id.as_str(), at)).collect();
        let mut children = vec![Vec::new(); spans.len()];
        let (mut tops, mut orphans) = (Vec::new(), Vec::new());
        for (at, span) in spans.iter().enumerate() {
            match span.parent_span_id.as_deref().map(|id| by_id.get(id)) {
                None => tops.push(at),
                Some(Some(parent)) => children[*parent].push(at),
                Some(None) => {
                    tops.push(at);
                    orphans.push(at);
                }
            }
        }
        let mut tree = Self { spans, children, tops, orphans };
        tree.break_rings();
        tree
    }

    /// Puts a span of every ring at the top, so that a walk reaches each span once.
    fn break_rings(&mut self) {
        let mut reached = vec![false; self.spans.len()];
        for top in self.tops.clone() {
            self.mark(top, &mut reached);
        }
        for at in 0..self.spans.len() {
            if !reached[at] {
                for siblings in &mut self.children {
                    siblings.retain(|child| *child != at);
                }
                self.tops.push(at);
                self.mark(at, &mut reached);
            }
        }
        self.tops.sort_unstable();
    }

    fn mark(&self, from: usize, reached: &mut [bool]) {
        let mut todo = vec![from];
        while let Some(at) = todo.pop() {
            if !std::mem::replace(&mut reached[at], true) {
                todo.extend(&self.children[at]);
            }
        }
    }

    /// The root: the earliest span without a parent. None while it has not arrived.
    #[must_use]
    pub fn root(&self) -> Option<&SpanRecord> {
        self.roots().into_iter().next()
    }

    /// All spans without a parent. A sound trace has one.
    #[must_use]
    pub fn roots(&self) -> Vec<&SpanRecord> {
        self.spans.iter().filter(|span| span.parent_span_id.is_none()).collect()
    }

    /// The spans whose parent is the span of that id, in the order in which they began.
    #[must_use]
    pub fn children(&self, span_id: &str) -> Vec<&SpanRecord> {
        let parent = self.spans.iter().position(|span| span.span_id == span_id);
        let children = parent.map(|at| self.children[at].as_slice()).unwrap_or_default();
        children.iter().map(|at| &self.spans[*at]).collect()
    }

    /// The span of that id.
    #[must_use]
    pub fn span(&self, span_id: &str) -> Option<&SpanRecord> {
        self.spans.iter().find(|span| span.span_id == span_id)
    }

    /// The parent of a span, none for a root and for one whose parent is missing.
    #[must_use]
    pub fn parent(&self, span: &SpanRecord) -> Option<&SpanRecord> {
        self.span(span.parent_span_id.as_deref()?)
    }

    /// The spans of that service and name, in the order in which they began.
    #[must_use]
    pub fn find(&self, service: &str, name: &str) -> Vec<&SpanRecord> {
        let fits = |span: &&SpanRecord| &*span.service == service && span.name == name;
        self.spans.iter().filter(fits).collect()
    }

    /// The spans that name a parent which is not here: lost, not yet exported, or not sampled.
    #[must_use]
    pub fn missing_parents(&self) -> Vec<&SpanRecord> {
        self.orphans.iter().map(|at| &self.spans[*at]).collect()
    }

    /// One root and every parent present, but that of a root which answers a request: a client that
    /// sent its trace along keeps its own spans where it likes.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        let [top] = self.tops[..] else { return false };
        let span = &self.spans[top];
        span.parent_span_id.is_none()
            || (self.orphans == self.tops && span.kind == SpanKind::Server)
    }

    /// Every span, in the order in which they began.
    #[must_use]
    pub fn spans(&self) -> &[SpanRecord] {
        &self.spans
    }

    /// The services that took part, by name.
    #[must_use]
    pub fn services(&self) -> BTreeSet<&str> {
        self.spans.iter().map(|span| &*span.service).collect()
    }

    /// Nanoseconds since the Unix epoch of the earliest start; 0 for an empty tree.
    #[must_use]
    pub fn start_ns(&self) -> u64 {
        self.spans.first().map_or(0, |span| span.start_ns)
    }

    /// Nanoseconds from the earliest start to the latest end.
    #[must_use]
    pub fn duration_ns(&self) -> u64 {
        let end = self.spans.iter().map(|span| span.end_ns).max().unwrap_or_default();
        end.saturating_sub(self.start_ns())
    }

    /// The lines of the tree: every span once, a parent before its children.
    #[must_use]
    pub fn rows(&self) -> Vec<TreeRow<'_>> {
        let mut rows = Vec::with_capacity(self.spans.len());
        let connected = self.is_connected();
        let mut todo: Vec<(usize, usize, Option<Gap>)> =
            self.tops.iter().rev().map(|top| (*top, 0, None)).collect();
        while let Some((at, depth, gap)) = todo.pop() {
            let span = &self.spans[at];
            rows.push(TreeRow {
                span,
                depth,
                offset_ns: span.start_ns.saturating_sub(self.start_ns()),
                gap_ns: gap.map(|(ns, _)| ns),
                gap_in: gap.map_or("", |(_, place)| place),
                parent_missing: !connected && self.orphans.binary_search(&at).is_ok(),
            });
            let gaps = self.gaps_before(at);
            let below = self.children[at].iter().zip(gaps).rev();
            todo.extend(below.map(|(child, gap)| (*child, depth + 1, gap)));
        }
        rows
    }

    /// For each child, how long nothing had happened before it began, and where that time went by.
    fn gaps_before(&self, at: usize) -> Vec<Option<Gap>> {
        let parent = &self.spans[at];
        let mut busy_until = parent.end_ns;
        let mut handled_until: HashMap<&str, u64> = HashMap::new();
        let mut gaps = Vec::with_capacity(self.children[at].len());
        for child in self.children[at].iter().map(|child| &self.spans[*child]) {
            let earlier = handled_until.get(&*child.service).copied().unwrap_or_default();
            let waited = child.start_ns.saturating_sub(busy_until.max(earlier));
            gaps.push((waited >= MIN_GAP_NS).then(|| (waited, place(parent, child))));
            // One message goes to several services; what another one does delays none of them.
            if child.kind == SpanKind::Consumer {
                let until = handled_until.entry(&child.service).or_default();
                *until = child.end_ns.max(*until);
            } else {
                busy_until = busy_until.max(child.end_ns);
            }
        }
        gaps
    }

    /// Text for a terminal, a line per span: offset from the start of the trace and duration in
    /// milliseconds, then the indented `service: name kind`, errors and links; a line of its own for
    /// each wait.
    #[must_use]
    pub fn render(&self) -> String {
        render::render(self)
    }
}

const fn place(parent: &SpanRecord, child: &SpanRecord) -> &'static str {
    match (parent.kind, child.kind) {
        (_, SpanKind::Consumer) => "queue",
        (SpanKind::Producer, SpanKind::Client) => "outbox",
        _ => "idle",
    }
}
