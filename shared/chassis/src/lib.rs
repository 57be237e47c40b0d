//! What every process needs: configuration, telemetry, HTTP server, problem+json, health, supervisor.
//!
//! No broker, no database, no business word: a service brings those. One complete service:
//!
//! ```no_run
//! use std::process::ExitCode;
//!
//! use chassis::config::{ConfigError, Reader, ServiceConfig, Source};
//! use chassis::health::Health;
//! use chassis::http::{Api, ApiRouter, Json, RequestContext, routing::post};
//! use chassis::problem::{FieldErrors, Problem, code};
//! use chassis::service::HttpService;
//! use chassis::supervisor::{self, Outcome, Supervisor};
//! use chassis::{metrics, telemetry};
//!
//! #[derive(serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
//! struct Greeting {
//!     name: String,
//! }
//!
//! /// Extractors parse, `?` refuses; the context is for those who hand the trace on.
//! async fn greet(
//!     RequestContext(_trace): RequestContext,
//!     Json(greeting): Json<Greeting>,
//! ) -> Result<Json<Greeting>, Problem> {
//!     let mut faults = FieldErrors::default();
//!     faults.check(!greeting.name.is_empty(), "/name", code::LENGTH);
//!     faults.into_result(Json(greeting))
//! }
//!
//! fn config() -> Result<ServiceConfig, ConfigError> {
//!     let mut read = Reader::new(Source::process());
//!     let service = ServiceConfig::read(&mut read, 8081);
//!     read.finish(|| service) // every mistake at once
//! }
//!
//! async fn serve(config: ServiceConfig) -> anyhow::Result<Outcome> {
//!     let metrics = metrics::install("shop")?;
//!     let telemetry = telemetry::init("greeter", &config.telemetry)?;
//!     let health = Health::new();
//!     health.check("postgres", || async { Err("not connected yet".to_owned()) });
//!     let api = Api::new(ApiRouter::new().api_route("/greetings", post(greet)));
//!     let http = HttpService::bind(config.http_addr, api, &health, &metrics).await?;
//!     let late = http.late();
//!     let outcome = Supervisor::new(config.shutdown_grace)
//!         .task("late", |stop| late.run(stop)) // tells who comes too late
//!         .task("relay", |stop| async move { Ok(stop.cancelled().await) })
//!         .phase() // what follows stops first
//!         .task("http", |stop| http.run(stop))
//!         .run()
//!         .await;
//!     telemetry.shutdown().await;
//!     Ok(outcome)
//! }
//!
//! #[tokio::main]
//! async fn main() -> ExitCode {
//!     match config() {
//!         Ok(config) => supervisor::exit_code(serve(config).await),
//!         Err(error) => error.report(), // help exits 0, mistakes 2
//!     }
//! }
//! ```

pub mod config;
pub mod health;
pub mod http;
pub mod metrics;
pub mod problem;
pub mod service;
pub mod supervisor;
pub mod telemetry;

/// An id for an occurrence that nothing is decided by and no test holds still: a problem, a process.
#[expect(clippy::disallowed_methods, reason = "chassis knows no Clock; these ids only name things")]
fn random_id() -> uuid::Uuid {
    uuid::Uuid::new_v4()
}
