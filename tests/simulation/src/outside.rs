//! The world outside of the shop: the payment gateway and the mail server, the real ones of the sandbox,
//! over real connections.
//!
//! What they answer follows from the seed: a step that calls them is driven until it has its answer or
//! its connection is closed, and nothing is decided by how long that took.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use messaging::simulation::Draws;
use sandbox::Running;
use sandbox::gateway::{Gateway, GatewayOptions};
use sandbox::smtp::{Fault, Mailbox, SmtpServer};
use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};

const ANY_PORT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
/// Files here cost no disk, and the gateway waits for the disk with each of its answers.
const IN_MEMORY: &str = "/dev/shm";

/// The mail server of a thread, and a folder for its gateways.
pub(crate) struct Outside {
    mail: SmtpServer,
    folder: PathBuf,
    stop: CancellationToken,
}

/// The payment gateway of one world.
pub(crate) struct Bank {
    pub(crate) gateway: Gateway,
    running: Running,
    _stop: DropGuard,
}

impl Bank {
    pub(crate) fn url(&self) -> String {
        self.running.url()
    }
}

impl Outside {
    pub(crate) async fn new(name: &str) -> anyhow::Result<Self> {
        let stop = CancellationToken::new();
        let mail = SmtpServer::start(ANY_PORT, Mailbox::default(), &stop).await?;
        let memory = Path::new(IN_MEMORY);
        let root = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
        let folder = root.join(format!("tidings-simulation-{name}"));
        Ok(Self { mail, folder, stop })
    }

    /// A gateway with an empty ledger.
    pub(crate) async fn bank(&self) -> anyhow::Result<Bank> {
        let _ = std::fs::remove_dir_all(&self.folder);
        // A reply that is lost is lost at once: only what was answered is of interest, not when.
        let options = GatewayOptions { hold: Duration::ZERO };
        let gateway = Gateway::open(self.folder.join("ledger"), options)?;
        let stop = self.stop.child_token();
        let running = gateway
            .serve(TcpListener::bind(ANY_PORT).await?, &stop)
            .context("serve the gateway")?;
        Ok(Bank { gateway, running, _stop: stop.drop_guard() })
    }

    /// Empties the mailbox, and lets the mail server misbehave in one world of three.
    pub(crate) fn fresh_mailbox(&self, draws: &mut Draws) -> Option<&'static str> {
        self.mail.mailbox().clear();
        self.mail.faults().clear();
        let faults = [
            (Fault::RefuseTemporarily, "mail refused for now"),
            (Fault::CutBeforeStoring, "mail connection cut, mail lost"),
            (Fault::CutAfterStoring, "mail connection cut, mail stored"),
        ];
        if !draws.one_in(3) {
            return None;
        }
        let (fault, name) = faults[draws.below(faults.len())];
        self.mail.faults().set_next(fault, 1 + draws.below(2) as u32);
        Some(name)
    }

    pub(crate) fn mailbox(&self) -> &Mailbox {
        self.mail.mailbox()
    }

    /// Where the mail server listens.
    pub(crate) fn mail_addr(&self) -> SocketAddr {
        self.mail.addr()
    }
}

impl Drop for Outside {
    fn drop(&mut self) {
        self.stop.cancel();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}
