//! The promises of the kit, each broken on purpose, over a real Postgres and a real RabbitMQ.
//!
//! One module per theme; `house` is the world they share: the service `lamp` publishes, the service
//! `ledger` books what it hears of.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(unreachable_pub, reason = "a test has no outside")]
#![allow(clippy::disallowed_methods, reason = "tests spawn, and publish what no service would")]

mod house;

mod at_hand;
mod atomicity;
mod bad_input;
mod bounds;
mod breaker;
mod chunks;
mod connections;
mod copies;
mod figures;
mod long_outages;
mod once;
mod order;
mod ordered_handlers;
mod outages;
mod parking;
mod poison;
mod private_outages;
mod provisioning;
mod publishing;
mod quickstart;
mod repairs;
mod replays;
mod replicas;
mod retries;
mod second_chances;
mod traces;
mod writing;
