//! What those who follow orders are told of a change.

use super::answers::ChangeBody;
use crate::application::views::ChangeRow;

/// The change as it is sent.
pub fn render(change: &ChangeRow) -> String {
    // Texts and numbers only: there is nothing in it that JSON cannot hold.
    serde_json::to_string(&ChangeBody::from(change)).unwrap_or_default()
}
