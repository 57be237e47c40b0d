//! Noting how far orders have come beside their status.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::ports::{Progress, Step, StoreError};

/// Why progress could not be noted.
#[derive(Debug, thiserror::Error)]
pub enum NoteProgressError {
    /// No such order.
    #[error("order is not known")]
    Unknown,
    /// It could not be stored.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Notes that orders took a step, each at a time; each step once, the first time counts.
///
/// # Errors
/// [`NoteProgressError`].
pub async fn note_progress(
    progress: &mut impl Progress,
    step: Step,
    orders: &[(Uuid, DateTime<Utc>)],
) -> Result<(), NoteProgressError> {
    if progress.note(step, orders).await? { Ok(()) } else { Err(NoteProgressError::Unknown) }
}
