//! End to end: all five services as processes of their own, over real Postgres, RabbitMQ, OTLP,
//! SMTP and a real gateway. Each test has its own databases and vhost.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    unreachable_pub
)]

mod cancellations;
mod cost;
mod crashes;
mod endings;
mod happy_path;
mod idempotency;
mod poison_release;
mod random;
mod replicas;
mod stream;
mod tap;
mod too_much;
mod world;
