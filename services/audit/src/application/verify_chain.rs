//! Checking that the log is what was written to it.

use super::ports::{Chain, StoreError, StoredEntry};
use crate::domain::chain::{Break, Entry, Head, Link};

/// Entries read at once: 16 MiB of the largest bodies.
const PAGE: i64 = 256;

/// What a check of the chain came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChainReport {
    /// Entries that hold, from the first on.
    pub entries: i64,
    /// The hash of the last of them: who keeps it can tell later that nothing before it changed.
    pub hash: [u8; 32],
    /// The first place where the chain does not hold.
    pub broken: Option<Break>,
}

/// Recomputes every hash from the first entry to the end of the chain, as it was when the check
/// began. It locks nothing: entries may be appended meanwhile.
///
/// # Errors
/// [`StoreError`] when the log cannot be read; a log that does not hold is a report.
pub async fn verify_chain(chain: &impl Chain) -> Result<ChainReport, StoreError> {
    let (noted, last) = chain.ends().await?;
    let mut head = Head::START;
    let broken = loop {
        if head.seq >= last {
            break end_of(head, noted);
        }
        let page = chain.entries(head.seq, PAGE.min(last - head.seq)).await?;
        if page.is_empty() {
            break Some(Break::Missing(head.seq + 1));
        }
        if let Err(found) = page.iter().try_for_each(|entry| follow(&mut head, entry)) {
            break Some(found);
        }
    };
    Ok(ChainReport { entries: head.seq, hash: head.hash, broken })
}

fn end_of(head: Head, noted: Head) -> Option<Break> {
    if noted.seq > head.seq {
        return Some(Break::Missing(head.seq + 1));
    }
    (noted != head).then_some(Break::Head(head.seq))
}

fn follow(head: &mut Head, stored: &StoredEntry) -> Result<(), Break> {
    // A hash of another length is no hash of ours.
    let hash = |bytes: &[u8]| bytes.try_into().map_err(|_| Break::Altered(stored.seq));
    let (prev_hash, own) = (hash(&stored.prev_hash)?, hash(&stored.hash)?);
    let link = Link { seq: stored.seq, prev_hash, hash: own };
    let entry = Entry {
        event_id: stored.event_id,
        source: &stored.source,
        event_type: &stored.event_type,
        subject: &stored.subject,
        aggversion: stored.aggversion,
        correlation_id: stored.correlation_id,
        causation_id: stored.causation_id,
        traceparent: stored.traceparent.as_deref(),
        occurred_at: stored.occurred_at,
        received_at: stored.received_at,
        body: &stored.body,
        signature: &stored.signature,
        key_id: &stored.key_id,
        published_at: None,
    };
    head.follow(&link, &entry)
}
