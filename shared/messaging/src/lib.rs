#![doc = include_str!("../README.md")]

pub mod answers;
mod bell;
mod breaker;
mod cause;
mod chunk;
mod clerk;
mod connection;
mod consumer;
pub mod crash;
mod dead_letter;
pub mod errand;
mod failure;
mod gauges;
mod handler;
mod housekeeping;
mod inbox;
mod intake;
mod lease;
mod messaging;
mod outbox;
mod partition;
mod pool;
mod postgres;
mod presence;
pub mod reason;
mod registry;
mod relay;
pub mod retry;
mod room;
#[cfg(feature = "simulation")]
pub mod simulation;
pub mod step;
pub mod topology;
pub mod trace;
pub mod transport;
mod tx;
mod vitals;

pub use bell::Bell;
pub use cause::Cause;
pub use connection::Connection;
pub use consumer::{Consumer, ConsumerSettings};
pub use dead_letter::{Parker, Replayer, repair};
pub use handler::{
    AnyHandler, Causes, ChunkHandler, Handler, HandlerError, HandlerResult, ManyHandler, Message,
    Received,
};
pub use housekeeping::{Housekeeping, Retention};
pub use messaging::{Messaging, RetentionTooShort, Running, Task};
pub use partition::{PARTITIONS, partition_of};
pub use pool::{Instance, Pool};
pub use postgres::{connect_lazily, ping};
pub use presence::Presence;
pub use registry::Handlers;
pub use relay::Relay;
pub use tx::{Tx, TxError};
pub use vitals::Vitals;

/// The kit's own migrations: schema `messaging`, with a history table of its own, so that they run
/// beside a service's. Apply them before the service's own.
pub static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!();
