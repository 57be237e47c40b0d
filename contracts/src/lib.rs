//! The integration events: the only types that two services share.
//!
//! Every event has one owner, which alone publishes it. It is delivered **at least once**, in any
//! order across aggregates, and may come again months later from a replay: a consumer decides from
//! its stored state. Within one aggregate (the [`subject`](envelope::Event::subject)) events leave
//! in version order. Readers ignore fields that they do not know, so a new optional field is a new
//! minor version and breaks nobody; everything else is a new major version, which is a new type.
//!
//! [`catalogue::EVENTS`] lists them all, with owner and consumers.

pub mod catalogue;
pub mod compatibility;
pub mod email;
pub mod inventory;
mod money;
pub mod order;
pub mod payment;
mod sku;

pub use money::{Currency, CurrencyError, Money};
pub use sku::is_sku;
