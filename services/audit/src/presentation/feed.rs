//! What those who follow the log are told of an entry.

use super::answers::EventBody;
use crate::application::views::EventView;

/// What the events of a stream are called.
pub(super) const EVENT: &str = "recorded";

/// The entry as it is sent.
pub fn render(entry: &EventView) -> String {
    // Texts and numbers only: there is nothing in it that JSON cannot hold.
    serde_json::to_string(&EventBody::from(entry.clone())).unwrap_or_default()
}
