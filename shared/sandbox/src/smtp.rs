//! A mail server that delivers nothing: real SMTP in, a [`Mailbox`] of bounded memory, and faults on
//! demand.
//!
//! It speaks RFC 5321 with `SIZE`, `PIPELINING`, `8BITMIME`, `SMTPUTF8` and `ENHANCEDSTATUSCODES`;
//! no TLS and no `AUTH`, which a stand-in on the loopback interface does not need.

mod command;
mod fault;
mod lines;
mod mail;
mod mailbox;
mod session;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::server::{Running, bind};

pub use fault::{Fault, FaultSwitch};
pub use mail::{Mail, MailAddress};
pub use mailbox::{MailTimeout, Mailbox, MailboxLimits};

/// The limits of an [`SmtpServer`].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct SmtpOptions {
    /// The largest mail in bytes; announced as `SIZE`.
    pub max_bytes: usize,
    /// Recipients of one mail.
    pub max_recipients: usize,
    /// Connections at once; the next one is answered `421`.
    pub max_connections: usize,
    /// A client that is silent for so long is answered `421` and disconnected.
    pub idle: Duration,
    /// A mail must have arrived after so long, however steadily it drips.
    pub data: Duration,
}

impl Default for SmtpOptions {
    fn default() -> Self {
        Self {
            max_bytes: 1024 * 1024,
            max_recipients: 100,
            max_connections: 256,
            idle: Duration::from_secs(60),
            data: Duration::from_secs(300),
        }
    }
}

/// A running SMTP server.
#[derive(Debug)]
pub struct SmtpServer {
    running: Running,
    mailbox: Mailbox,
    faults: FaultSwitch,
}

impl SmtpServer {
    /// Listens on `addr` (port 0 takes a free one) until `shutdown` is cancelled; accepted mails go
    /// to `mailbox`.
    ///
    /// # Errors
    /// The operating system's error, with the address, when it cannot be bound.
    pub async fn start(
        addr: SocketAddr,
        mailbox: Mailbox,
        shutdown: &CancellationToken,
    ) -> io::Result<Self> {
        Self::start_with(bind(addr).await?, mailbox, SmtpOptions::default(), shutdown)
    }

    /// As [`SmtpServer::start`], on a listener and with limits of the caller's choice.
    ///
    /// # Errors
    /// When the listener has no address.
    pub fn start_with(
        listener: TcpListener,
        mailbox: Mailbox,
        options: SmtpOptions,
        shutdown: &CancellationToken,
    ) -> io::Result<Self> {
        let addr = listener.local_addr()?;
        let faults = FaultSwitch::default();
        let (mails, switch) = (mailbox.clone(), faults.clone());
        let running = Running::start(addr, shutdown, |stop| {
            let desk = Desk { options, mailbox: mails, faults: switch, stop };
            accept(listener, Arc::new(desk))
        });
        Ok(Self { running, mailbox, faults })
    }

    /// The bound address.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.running.addr()
    }

    /// Where the mails are.
    #[must_use]
    pub fn mailbox(&self) -> &Mailbox {
        &self.mailbox
    }

    /// What makes the server misbehave, from now on and for open connections too.
    #[must_use]
    pub fn faults(&self) -> &FaultSwitch {
        &self.faults
    }

    /// Waits until the server has ended.
    ///
    /// # Errors
    /// As [`Running::join`].
    pub async fn join(self) -> io::Result<()> {
        self.running.join().await
    }

    /// Stops the server; open sessions are answered `421`.
    ///
    /// # Errors
    /// As [`Running::join`].
    pub async fn stop(self) -> io::Result<()> {
        self.running.stop().await
    }
}

/// What all sessions share.
#[derive(Debug)]
struct Desk {
    options: SmtpOptions,
    mailbox: Mailbox,
    faults: FaultSwitch,
    stop: CancellationToken,
}

async fn accept(listener: TcpListener, desk: Arc<Desk>) -> io::Result<()> {
    let seats = Arc::new(Semaphore::new(desk.options.max_connections));
    let mut sessions = JoinSet::new();
    loop {
        let stream = tokio::select! {
            () = desk.stop.cancelled() => break,
            Some(_) = sessions.join_next() => continue,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                // Mostly too many open files: without a pause the loop would spin.
                Err(error) => {
                    tracing::warn!(%error, "a mail connection was not accepted");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            },
        };
        let (desk, seat) = (Arc::clone(&desk), Arc::clone(&seats).try_acquire_owned());
        sessions.spawn(async move {
            let ended = match seat {
                Ok(_seat) => session::run(stream, desk).await,
                Err(_) => turn_away(stream).await,
            };
            if let Err(error) = ended {
                tracing::debug!(%error, "a mail session broke off");
            }
        });
    }
    while sessions.join_next().await.is_some() {}
    Ok(())
}

async fn turn_away(mut stream: TcpStream) -> io::Result<()> {
    use tokio::io::AsyncWriteExt;
    stream.write_all(b"421 4.7.0 too many connections, try again later\r\n").await?;
    stream.shutdown().await
}
