//! Stand-ins of the outside world: private Postgres and RabbitMQ servers, OTLP and SMTP receivers, the payment gateway.

mod account;
mod clock;
mod error;
mod html;
mod server;

pub mod gateway;
pub mod jaeger;
pub mod mailpit;
pub mod otlp;
pub mod ports;
pub mod postgres;
pub mod process;
pub mod rabbitmq;
pub mod smtp;

pub use account::{DataRoot, data_root};
pub use error::ServerError;
pub use server::{GRACE, Running, bind, serve_http};
