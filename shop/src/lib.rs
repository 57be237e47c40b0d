//! The one command-line program: runs everything, and shows, checks and repairs it.

pub mod cli;
pub mod commands;
pub mod output;
pub mod ports;
mod probe;
pub mod services;
pub mod up;
pub mod verify;

use std::process::ExitCode;

use chassis::config::Source;
use clap::Parser as _;

use cli::{Cli, ServiceArgs, Sink, Verb};
pub use output::{Exit, Output};

/// Runs what the command line asks for, on a runtime of its own. (Here and not in `main.rs`: what the
/// runtime polls is compiled in the crate that starts it, and would be compiled twice.)
#[tokio::main]
pub async fn run() -> ExitCode {
    let Cli { global, verb } = Cli::parse();
    let out = Output::new(&global);
    match dispatch(verb, &out).await {
        Ok(code) => code,
        Err(error) => {
            out.error(&error);
            Exit::Failed.into()
        }
    }
}

async fn dispatch(verb: Verb, out: &Output) -> anyhow::Result<ExitCode> {
    let exit = match verb {
        Verb::Order(args) => return Ok(service("order", args).await),
        Verb::Inventory(args) => return Ok(service("inventory", args).await),
        Verb::Payment(args) => return Ok(service("payment", args).await),
        Verb::Email(args) => return Ok(service("email", args).await),
        Verb::Audit(args) => return Ok(service("audit", args).await),
        Verb::Up(args) => up::run(args, out).await,
        Verb::Reset(args) => commands::reset::run(args, out).await,
        Verb::Gateway(args) => commands::gateway::run(args, out).await,
        Verb::Sink(Sink::Otlp(args)) => commands::sink::otlp(args, out).await,
        Verb::Sink(Sink::Smtp(args)) => commands::sink::smtp(args, out).await,
        Verb::Migrate(args) => commands::migrate::run(args, out).await,
        Verb::Doctor(args) => commands::doctor::run(args, out).await,
        Verb::Place(args) => commands::place::run(args, out).await,
        Verb::Load(args) => commands::load::run(args, out).await,
        Verb::Status(args) => commands::status::run(args, out).await,
        Verb::Verify(args) => commands::verify::run(args, out).await,
        Verb::Dlq(verb) => commands::dlq::run(verb, out).await,
        Verb::Trace(args) => commands::trace::run(args, out).await,
        Verb::Healthcheck(args) => commands::healthcheck::run(args, out).await,
        Verb::Keys(args) => commands::keys::run(args, out).await,
        Verb::Openapi(args) => commands::documents::openapi(&args, out),
        Verb::Asyncapi => Ok(commands::documents::asyncapi(out)),
        Verb::Completions(args) => Ok(commands::completions::run(&args, out)),
    };
    exit.map(ExitCode::from)
}

async fn service(name: &str, args: ServiceArgs) -> ExitCode {
    let Some(service) = services::service(name) else { return Exit::WrongUse.into() };
    (service.run)(Source::with_args(format!("shop {name}"), args.args)).await
}
