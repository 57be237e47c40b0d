//! `make simulate`: one order through all five services, stepped from a seed.
//!
//! The services' own handlers, use cases, stores, errands and HTTP routes, over their real databases;
//! the real payment gateway and mail server of the sandbox. The broker is in memory and time passes when
//! the driver lets it: see `messaging::simulation`. What is drawn is how the order is to end (confirmed,
//! out of stock, declined, cancelled by its customer, timed out), which services run twice, and all that
//! goes wrong. Then it heals, comes to rest, and every invariant of `shop verify` is asked.

pub mod cli;
mod customer;
mod databases;
mod invariants;
mod outside;
mod report;
mod run;
mod script;
mod services;
mod stage;

pub use databases::Server;
pub use report::{drawn, tell};
pub use run::{Outcome, Plan, run};
pub use stage::Stage;
