//! The Erlang port mapper of a private node.
//!
//! Erlang would start one by itself, as a daemon that nobody can find and that outlives the node. So it
//! is started first, in the foreground, and its process is known.

use std::fs;
use std::net::{Ipv4Addr, TcpStream};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use super::{RabbitOptions, WHAT, clean_command, programs};
use crate::account::Account;
use crate::error::{Doing as _, ServerError};
use crate::ports;
use crate::process::{self, Server};

const START_WITHIN: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub(super) struct Epmd {
    server: Server,
    pid_file: PathBuf,
}

impl Epmd {
    /// Starts the port mapper of this node, or takes over the one that an earlier start left.
    pub(super) async fn start(
        options: &RabbitOptions,
        account: Option<&Account>,
    ) -> Result<Self, ServerError> {
        let port = options.ports.epmd;
        let pid_file = options.dir.join("epmd.pid");
        if let Some((pid, arguments)) = running(&pid_file) {
            let server = Server::found(pid);
            if arguments.contains(&format!("-port {port} ")) {
                return Ok(Self { server, pid_file });
            }
            Self { server, pid_file: pid_file.clone() }.stop()?;
        }
        if !ports::is_free(port) {
            return Err(ServerError::PortTaken { what: WHAT, port });
        }
        let program = programs::find_epmd()?;
        let mut command = clean_command(&program, options, account);
        command.args(["-port", &port.to_string(), "-address", "127.0.0.1"]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
        let server = Server::started(command.spawn().doing("start", &program)?);
        let mut this = Self { server, pid_file };
        fs::write(&this.pid_file, this.pid().to_string()).doing("write", &this.pid_file)?;
        this.wait_ready(port).await?;
        Ok(this)
    }

    pub(super) fn pid(&self) -> u32 {
        self.server.pid()
    }

    pub(super) fn stop(&mut self) -> Result<(), ServerError> {
        self.server.kill().doing("stop the port mapper of", &self.pid_file)?;
        let _ = fs::remove_file(&self.pid_file);
        Ok(())
    }

    async fn wait_ready(&mut self, port: u16) -> Result<(), ServerError> {
        let deadline = Instant::now() + START_WITHIN;
        while let Err(error) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)) {
            if !self.server.is_running() || Instant::now() >= deadline {
                return Err(ServerError::NotReady {
                    what: "epmd",
                    after: START_WITHIN,
                    last: error.to_string(),
                    log: self.pid_file.clone(),
                });
            }
            tokio::time::sleep(super::LOOK).await;
        }
        Ok(())
    }
}

/// The port mapper in the pid file, with its arguments, if it is alive and one.
fn running(pid_file: &Path) -> Option<(u32, String)> {
    let pid = fs::read_to_string(pid_file).ok()?.trim().parse().ok()?;
    let arguments = process::command_line(pid).filter(|_| process::is_alive(pid))?;
    arguments.contains("epmd").then_some((pid, arguments))
}
