//! The command line: every verb, with examples.

use std::ffi::OsString;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::{commands, up};

const ABOUT: &str = "Runs Tidings, the event-driven shop, and shows, checks and repairs it.";

const EXAMPLES: &str = "\
Examples:
  shop up                                     everything on this machine, no Docker
  shop place DEMO-1:2 --watch                 an order, followed to its end
  shop trace 0192f0c4-...                     its trace through all services
  shop load --file orders.csv --rate 20       many orders
  shop status --watch                         how each service is, every 2 s
  shop verify                                 is everything consistent?
  shop dlq ls --groups                        what could not be handled, and why

Exit codes: 0 done, 1 failed, 2 wrong use, 3 partly.";

/// The whole command line.
#[derive(Debug, Parser)]
#[command(name = "shop", version, about = ABOUT, after_help = EXAMPLES)]
#[command(arg_required_else_help = true, propagate_version = true)]
pub struct Cli {
    /// What all verbs share.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub verb: Verb,
}

/// Options that every verb takes.
#[derive(Debug, Clone, Copy, Args)]
pub struct Global {
    /// Form of the answer on stdout: table for people, json for machines
    #[arg(short, long, global = true, value_enum, default_value_t, value_name = "FORM")]
    #[arg(help_heading = "Global", hide_possible_values = true)]
    pub output: Format,
    /// Do it without asking
    #[arg(short, long, global = true, help_heading = "Global")]
    pub yes: bool,
}

/// Form of the answer on stdout.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people
    #[default]
    Table,
    /// For machines: stable names
    Json,
}

/// What the program can do.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Start everything on this machine and stay until Ctrl-C
    Up(up::Args),
    /// Forget the data of `shop up`
    Reset(commands::reset::Args),

    /// Run the order service
    #[command(disable_help_flag = true)]
    Order(ServiceArgs),
    /// Run the inventory service
    #[command(disable_help_flag = true)]
    Inventory(ServiceArgs),
    /// Run the payment service
    #[command(disable_help_flag = true)]
    Payment(ServiceArgs),
    /// Run the email service
    #[command(disable_help_flag = true)]
    Email(ServiceArgs),
    /// Run the audit service
    #[command(disable_help_flag = true)]
    Audit(ServiceArgs),
    /// Run the simulated payment gateway
    Gateway(commands::gateway::Args),
    /// Run a stand-in that receives traces or mail
    #[command(subcommand)]
    Sink(Sink),

    /// Bring databases and broker to what this program needs
    Migrate(commands::migrate::Args),
    /// Say what is missing or wrong on this machine, and the fix
    Doctor(commands::doctor::Args),
    /// Make the signing keys that are missing
    Keys(commands::keys::Args),

    /// Place an order
    Place(commands::place::Args),
    /// Place many orders and measure
    Load(commands::load::Args),
    /// Show how each service is, and what waits for it
    Status(commands::status::Args),
    /// Check the invariants over databases, broker and gateway
    Verify(commands::verify::Args),
    /// Show an order's trace
    Trace(commands::trace::Args),
    /// Look at messages that could not be handled, and decide over them
    #[command(subcommand, after_help = commands::dlq::EXAMPLES)]
    Dlq(commands::dlq::Verb),

    /// Ask a service whether it is ready: exit 0 or 1
    Healthcheck(commands::healthcheck::Args),
    /// Print the OpenAPI document of the services
    Openapi(commands::documents::OpenApiArgs),
    /// Print the AsyncAPI document of all events
    Asyncapi,
    /// Print the completions of a shell
    Completions(commands::completions::Args),
}

/// The settings of a service, which it reads itself and names with `--help`.
#[derive(Debug, Clone, Args)]
pub struct ServiceArgs {
    /// Settings of the service; `--help` lists them
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "SETTINGS")]
    pub args: Vec<OsString>,
}

/// What to receive.
#[derive(Debug, Subcommand)]
pub enum Sink {
    /// Traces: OTLP in, Jaeger's query API and a page per trace out
    Otlp(commands::sink::OtlpArgs),
    /// Mail: SMTP in, Mailpit's API and a page per mail out
    Smtp(commands::sink::SmtpArgs),
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
