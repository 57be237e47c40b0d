//! Test support: a database and a vhost of its own for every test, on servers that all tests share.
//!
//! Setting up is not what a test is about, so everything here panics with a sentence when it fails,
//! and no test needs to.

#![allow(clippy::panic, reason = "a fixture that cannot be made fails its test")]

pub mod bad_input;
pub mod cli;
mod database;
mod eventually;
mod folder;
mod guard;
mod management;
pub mod migrations;
mod private;
mod servers;
mod shared;
mod vhost;

pub use database::Database;
pub use eventually::{Observation, eventually};
pub use management::{Management, QueueFigures};
pub use private::{Broker, PrivatePostgres};
pub use sandbox::ports::free_port;
pub use sandbox::{gateway, otlp, process, smtp};
pub use servers::Servers;
pub use vhost::Vhost;

/// A name that no other test has.
#[expect(
    clippy::disallowed_methods,
    reason = "a test cannot choose what must differ from all others"
)]
pub(crate) fn unique(prefix: &str) -> String {
    format!("{prefix}{}", uuid::Uuid::new_v4().simple())
}

/// The value, or the end of the test with what was being done and every cause.
pub(crate) fn must<T>(doing: &str, result: anyhow::Result<T>) -> T {
    match result {
        Ok(value) => value,
        Err(error) => panic!("{doing}: {error:#}"),
    }
}
