//! Fault injection over the real system: `make chaos SEEDS=n`.
//!
//! Two replicas of every service, the payment gateway, a mail server and a trace collector run against
//! a Postgres and a RabbitMQ of their own, and every way between them can be broken. A seed draws what
//! customers do and what goes wrong meanwhile. Then everything is healed, comes to rest, and has to
//! fulfil every invariant, by the checks of `shop verify` and by what was seen from outside.

pub mod cli;
mod customers;
mod document;
mod draw;
mod episode;
mod faults;
mod report;
mod run;
mod tap;
mod task;
mod world;

pub use run::run;
