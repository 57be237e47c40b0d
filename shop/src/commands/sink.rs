//! `shop sink`: the stand-ins that receive traces and mail.

use std::net::SocketAddr;

use sandbox::otlp::{Receiver, StoreLimits, TraceStore};
use sandbox::smtp::{Mailbox, MailboxLimits, SmtpServer};
use sandbox::{bind, jaeger, mailpit, serve_http};
use tokio_util::sync::CancellationToken;

use crate::up::Signals;
use crate::{Exit, Output};

const OTLP_EXAMPLES: &str = "\
Examples:
  shop sink otlp
  curl -s 'http://127.0.0.1:16686/api/traces?service=order&limit=5'

Keeps the newest traces in memory; http://127.0.0.1:16686/trace/ID shows one.";

const SMTP_EXAMPLES: &str = "\
Examples:
  shop sink smtp
  curl -s http://127.0.0.1:8025/api/v1/messages

Delivers nothing; keeps the newest mails in memory.";

/// `shop sink otlp`.
#[derive(Debug, clap::Args)]
#[command(after_help = OTLP_EXAMPLES)]
pub struct OtlpArgs {
    /// Address of Jaeger's query API and the pages
    #[arg(long, env, value_name = "ADDRESS", default_value = "127.0.0.1:16686")]
    http_addr: SocketAddr,
    /// Address for OTLP over gRPC
    #[arg(long, env, value_name = "ADDRESS", default_value = "127.0.0.1:4317")]
    otlp_grpc_addr: SocketAddr,
    /// Address for OTLP over HTTP
    #[arg(long, env, value_name = "ADDRESS", default_value = "127.0.0.1:4318")]
    otlp_http_addr: SocketAddr,
    /// Traces kept, the oldest dropped first
    #[arg(long, env, value_name = "N", default_value_t = StoreLimits::default().traces)]
    max_traces: usize,
    /// Spans kept over all traces
    #[arg(long, env, value_name = "N", default_value_t = StoreLimits::default().spans)]
    max_spans: usize,
}

/// `shop sink smtp`.
#[derive(Debug, clap::Args)]
#[command(after_help = SMTP_EXAMPLES)]
pub struct SmtpArgs {
    /// Address of Mailpit's API and the pages
    #[arg(long, env, value_name = "ADDRESS", default_value = "127.0.0.1:8025")]
    http_addr: SocketAddr,
    /// Address for SMTP
    #[arg(long, env, value_name = "ADDRESS", default_value = "127.0.0.1:11025")]
    smtp_addr: SocketAddr,
    /// Mails kept, the oldest dropped first
    #[arg(long, env, value_name = "N", default_value_t = MailboxLimits::default().mails)]
    max_mails: usize,
}

/// Receives traces until a signal.
///
/// # Errors
/// When an address cannot be had.
pub async fn otlp(args: OtlpArgs, out: &Output) -> anyhow::Result<Exit> {
    let mut signals = Signals::listen()?;
    let store = TraceStore::new(StoreLimits { traces: args.max_traces, spans: args.max_spans });
    let (grpc, http) = (args.otlp_grpc_addr, args.otlp_http_addr);
    let shutdown = CancellationToken::new();
    // The pages last: who sees them can be sure of the rest.
    let receiver = Receiver::start(grpc, http, store.clone(), &shutdown).await?;
    let pages = serve_http(bind(args.http_addr).await?, jaeger::router(store), &shutdown)?;
    out.note(format_args!("traces: {}, OTLP on {grpc} (gRPC) and {http} (HTTP)", pages.url()));
    signals.next().await;
    let (pages, receiver) = tokio::join!(pages.stop(), receiver.stop());
    pages.and(receiver)?;
    out.note("traces: stopped");
    Ok(Exit::Done)
}

/// Receives mail until a signal.
///
/// # Errors
/// When an address cannot be had.
pub async fn smtp(args: SmtpArgs, out: &Output) -> anyhow::Result<Exit> {
    let mut signals = Signals::listen()?;
    let mailbox = Mailbox::new(MailboxLimits { mails: args.max_mails, ..Default::default() });
    let shutdown = CancellationToken::new();
    let server = SmtpServer::start(args.smtp_addr, mailbox.clone(), &shutdown).await?;
    let pages = serve_http(bind(args.http_addr).await?, mailpit::router(mailbox), &shutdown)?;
    out.note(format_args!("mail: {}, SMTP on {}", pages.url(), server.addr()));
    signals.next().await;
    let (pages, server) = tokio::join!(pages.stop(), server.stop());
    pages.and(server)?;
    out.note("mail: stopped");
    Ok(Exit::Done)
}
