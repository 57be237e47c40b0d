//! What an event is: the [`Event`] trait, the CloudEvents [`Envelope`] it travels in, its Ed25519
//! [`signature`], and the [`Clock`] that times and ids come from.
//!
//! Nothing here knows a broker, a database or a business word, so a program that only reads
//! contracts compiles neither.
//!
//! ```
//! use envelope::{Clock, Envelope, Event, Identity, Subject};
//!
//! #[derive(serde::Serialize, serde::Deserialize)]
//! struct LampLit { lamp: String }
//!
//! impl Event for LampLit {
//!     const TYPE: &'static str = "lamp.lit.v1";
//!     fn subject(&self) -> Subject { Subject::new("lamp", &self.lamp) }
//! }
//!
//! let clock = Clock::system();
//! let house = Identity::new("house", "dev", "switchboard");
//! let lit = LampLit { lamp: "hall".into() };
//! let envelope = Envelope::wrap(&house, &lit, 1, clock.new_id(), clock.now())?;
//! let bytes = envelope.to_bytes()?;
//!
//! let read = Envelope::decode(&bytes)?;
//! assert_eq!(read.event_type, "house.lamp.lit.v1");
//! assert_eq!(read.data::<LampLit>()?.lamp, "hall");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod clock;
mod decode;
mod event;
mod identity;
mod json;
pub mod signature;

pub use clock::{Clock, TimeSource};
pub use decode::DecodeError;
pub use event::{EncodeError, Envelope, Event, Subject};
pub use identity::Identity;
pub use json::check as check_json;

/// The only content type that is sent and accepted: CloudEvents 1.0, structured mode, JSON.
pub const CONTENT_TYPE: &str = "application/cloudevents+json";

/// Largest body that is written or read, in bytes (the CloudEvents size rule).
pub const MAX_BODY: usize = 64 * 1024;
