//! HTTP clients of the running shop, for the verbs that talk to it.

mod addresses;
mod call;
mod inventory;
mod order;

use std::time::Duration;

use chassis::config::FromSetting as _;

pub use addresses::Addresses;
pub use call::{CallError, FieldFault, Http, Patience, Problem};
pub use inventory::{InventoryApi, NewProduct, Put};
pub use order::{HistoryEntry, NewLine, NewOrder, OrderApi, OrderDocument, Status};

/// Reads a time as all settings have it: `500ms`, `20s`, `5m`.
///
/// # Errors
/// What is wrong with the text.
pub fn duration(text: &str) -> Result<Duration, String> {
    Duration::from_setting(text)
        .map_err(|wrong| format!("{wrong}; expected {}", Duration::EXPECTED))
}
