//! Recording an event.

use super::ports::{Log, StoreError};
use crate::domain::chain::Entry;

/// Appends an event to the log, unless it is there. Returns whether it was appended.
///
/// # Errors
/// [`StoreError`].
pub async fn record_event(log: &mut impl Log, entry: &Entry<'_>) -> Result<bool, StoreError> {
    let head = log.head().await?;
    log.append(&head.next(entry), entry).await
}
