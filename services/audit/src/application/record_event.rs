//! Recording events.

use super::ports::{Log, StoreError};
use crate::domain::chain::Entry;

/// Events that could not be recorded.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The log has some of them, so that the links of the others do not hold. The transaction must be
    /// rolled back; one by one they can be recorded.
    #[error("some of the events are in the log")]
    SomeKnown,
}

/// Appends events to the log in their order, all of them or, where the log has them, none. Returns
/// whether they were appended.
///
/// # Errors
/// [`RecordError`].
pub async fn record_events(log: &mut impl Log, entries: &[Entry<'_>]) -> Result<bool, RecordError> {
    let mut head = log.head().await?;
    let linked: Vec<_> = entries.iter().map(|entry| (head.append(entry), entry)).collect();
    match log.append(&linked).await? {
        0 => Ok(false),
        all if all == entries.len() => Ok(true),
        _ => Err(RecordError::SomeKnown),
    }
}
