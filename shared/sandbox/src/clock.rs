//! The sandbox's one look at the wall clock, and its one source of ids.

use chrono::{DateTime, Utc};

/// The time now, UTC. A stand-in stamps what it received; nothing decides on this value.
#[expect(clippy::disallowed_methods, reason = "the sandbox's one wall clock")]
pub(crate) fn now() -> DateTime<Utc> {
    Utc::now()
}

/// 32 random hexadecimal digits: an outside system hands out ids of its own making.
#[expect(clippy::disallowed_methods, reason = "the sandbox's one source of ids")]
pub(crate) fn random_id() -> String {
    uuid::Uuid::new_v4().simple().to_string()
}
