//! Noting how far an order has come beside its status.

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

/// Notes that an order took a step at a time; each step once, the first time counts.
///
/// # Errors
/// [`NoteProgressError`].
pub async fn note_progress(
    progress: &mut impl Progress,
    order_id: Uuid,
    step: Step,
    at: DateTime<Utc>,
) -> Result<(), NoteProgressError> {
    if progress.note(order_id, step, at).await? { Ok(()) } else { Err(NoteProgressError::Unknown) }
}
