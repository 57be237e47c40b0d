//! The use cases: each takes stores and a command, decides, and returns. None begins or commits.

pub mod cancel_order;
pub mod expire_order;
pub mod follow_product;
pub mod note_progress;
pub mod place_order;
pub mod ports;
pub mod settle_orders;
pub mod views;
