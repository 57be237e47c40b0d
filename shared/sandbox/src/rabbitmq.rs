//! A private RabbitMQ node: its own data, home, cookie and port mapper, on the loopback interface only.
//!
//! The scripts of the package refuse users other than their own, so the node is started by the script
//! in the library folder, with every path and port given. It runs in a process group of its own and,
//! like the private Postgres, is taken over when an earlier start left it running.

mod config;
mod epmd;
mod programs;

use std::fs::{self, OpenOptions};
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::account::{Account, prepare_folder};
use crate::error::{Doing as _, ServerError, tail};
use crate::ports;
use crate::process::{self, Server};

use epmd::Epmd;
pub use programs::{NEEDED, find_scripts, find_scripts_in};

/// The name in messages.
const WHAT: &str = "RabbitMQ";
/// How long a start may take: 5 s on an idle machine, much more beside a build.
const START_WITHIN: Duration = Duration::from_secs(120);
/// How long an orderly stop may take: 5 s on an idle machine.
const STOP_WITHIN: Duration = Duration::from_secs(60);
/// Between two looks at a starting server.
const LOOK: Duration = Duration::from_millis(50);
/// How long one connection attempt to a starting server may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);

/// The ports of a private node, all on 127.0.0.1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RabbitPorts {
    /// AMQP 0-9-1.
    pub amqp: u16,
    /// The management HTTP API and its pages.
    pub management: u16,
    /// The Prometheus exporter.
    pub prometheus: u16,
    /// Erlang distribution, for `rabbitmqctl`.
    pub dist: u16,
    /// The Erlang port mapper.
    pub epmd: u16,
}

impl RabbitPorts {
    /// Five free ports.
    ///
    /// # Errors
    /// As [`ports::free_port`].
    pub fn free() -> std::io::Result<Self> {
        Self::chosen(ports::free_port()?, ports::free_port()?)
    }

    /// The given ports for what people use, free ones for the rest.
    ///
    /// # Errors
    /// As [`ports::free_port`].
    pub fn chosen(amqp: u16, management: u16) -> std::io::Result<Self> {
        let free = ports::free_port;
        Ok(Self { amqp, management, prometheus: free()?, dist: free()?, epmd: free()? })
    }
}

/// How to start a private RabbitMQ node.
#[derive(Debug, Clone)]
pub struct RabbitOptions {
    /// The folder of the node: data, logs, settings, home. It is created when it is missing, and given
    /// to the account that the node runs as.
    pub dir: PathBuf,
    /// The ports.
    pub ports: RabbitPorts,
    /// Name and password of the administrator, made at the first start.
    pub user: (String, String),
    /// The virtual host made at the first start, which the administrator may use.
    pub vhost: String,
    /// How long a consumer may hold a delivery before the broker closes its channel.
    pub consumer_timeout: Duration,
    /// How often the figures of queues that the management API shows are renewed.
    pub figures_every: Duration,
    /// The largest frame that is agreed on with clients, in bytes. What a client reserves per
    /// connection follows from it.
    pub frame_max: u32,
}

/// Half as much again as an event's headers can have (16 KiB of them may come from a request). At the
/// broker's own default a client would take 8 MiB of memory per connection.
const FRAME_MAX: u32 = 24_576;
/// The broker's own default.
const USUAL_FRAME_MAX: u32 = 131_072;

impl RabbitOptions {
    /// The settings for development: administrator `shop` / `shop`, vhost `shop`.
    #[must_use]
    pub fn new(dir: impl Into<PathBuf>, ports: RabbitPorts) -> Self {
        Self {
            dir: dir.into(),
            ports,
            user: ("shop".into(), "shop".into()),
            vhost: "shop".into(),
            consumer_timeout: Duration::from_secs(30 * 60),
            figures_every: Duration::from_secs(5),
            frame_max: FRAME_MAX,
        }
    }

    /// The settings for tests: as for development, with figures that are at most half a second old and
    /// the frames that a broker agrees on when nobody tells it.
    #[must_use]
    pub fn for_tests(dir: impl Into<PathBuf>, ports: RabbitPorts) -> Self {
        let figures_every = Duration::from_millis(500);
        Self { figures_every, frame_max: USUAL_FRAME_MAX, ..Self::new(dir, ports) }
    }
}

/// A private node that was started or taken over. Dropping the handle leaves it running.
#[derive(Debug)]
pub struct RabbitMq {
    options: RabbitOptions,
    account: Option<Account>,
    script: PathBuf,
    epmd: Epmd,
    server: Server,
}

impl RabbitMq {
    /// Starts the node and waits until it speaks AMQP. A new folder becomes a new node; an existing one
    /// goes on with its data, also after a crash. A node that still runs in the folder is taken over
    /// when it has the same settings, otherwise stopped first.
    ///
    /// # Errors
    /// [`ServerError`], each with its fix.
    pub async fn start(options: RabbitOptions) -> Result<Self, ServerError> {
        let script = find_scripts()?.join("rabbitmq-server");
        let account = account_for(&options.dir)?;
        prepare_folder(&options.dir, account.as_ref())?;
        let running = running_node(&options.dir);
        let same = running.is_some() && config::is_written(&options)?;
        if let (Some(pid), true) = (running, same) {
            let epmd = Epmd::start(&options, account.as_ref()).await?;
            let mut this = Self { options, account, script, epmd, server: Server::found(pid) };
            this.wait_ready().await?;
            return Ok(this);
        }
        if let Some(pid) = running {
            stop_server(&mut Server::found(pid)).await?;
        }
        config::write(&options, account.as_ref())?;
        let epmd = Epmd::start(&options, account.as_ref()).await?;
        let server = spawn(&script, &options, account.as_ref())?;
        let mut this = Self { options, account, script, epmd, server };
        this.wait_ready().await?;
        Ok(this)
    }

    /// The process id of the node's Erlang machine.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.server.pid()
    }

    /// The process id of the node's own port mapper, which outlives a killed node.
    #[must_use]
    pub fn epmd_pid(&self) -> u32 {
        self.epmd.pid()
    }

    /// The ports of the node.
    #[must_use]
    pub fn ports(&self) -> RabbitPorts {
        self.options.ports
    }

    /// The address of a virtual host, with the administrator's name and password and a heartbeat of
    /// 10 s.
    #[must_use]
    pub fn url(&self, vhost: &str) -> String {
        let (user, password) = &self.options.user;
        let vhost = vhost.replace('%', "%25").replace('/', "%2f");
        format!(
            "amqp://{user}:{password}@127.0.0.1:{}/{vhost}?heartbeat=10",
            self.options.ports.amqp
        )
    }

    /// The address of the management API, with the administrator's name and password, no slash at the
    /// end.
    #[must_use]
    pub fn management_url(&self) -> String {
        let (user, password) = &self.options.user;
        format!("http://{user}:{password}@127.0.0.1:{}", self.options.ports.management)
    }

    /// The node's log.
    #[must_use]
    pub fn log(&self) -> PathBuf {
        config::log(&self.options.dir)
    }

    /// Whether the node's process still runs.
    pub fn is_running(&mut self) -> bool {
        self.server.is_running()
    }

    /// An orderly stop of the node and its port mapper.
    ///
    /// # Errors
    /// When the node has not ended after 60 s.
    pub async fn stop(&mut self) -> Result<(), ServerError> {
        stop_server(&mut self.server).await?;
        let _ = fs::remove_file(config::pid_file(&self.options.dir));
        self.epmd.stop()
    }

    /// Whether the node would find its quorum queues again after a kill now. It keeps their names in a
    /// table that it writes about half a second late, and a queue that is missing there comes back
    /// empty, whatever was confirmed: a fault of RabbitMQ that only a kill right after the declaration
    /// shows.
    #[must_use]
    pub fn queues_are_recorded(&self) -> bool {
        config::quorum_folder(&self.options.dir).is_none_or(|folder| {
            let table = fs::read(folder.join("names.dets")).unwrap_or_default();
            let entries = fs::read_dir(&folder).into_iter().flatten().flatten();
            let mut queues = entries.filter(|entry| entry.path().is_dir());
            queues.all(|queue| {
                let name = queue.file_name();
                table.windows(name.len()).any(|part| part == name.as_encoded_bytes())
            })
        })
    }

    /// Ends the node at once (SIGKILL), as a crash would. The port mapper stays, for the next start.
    /// Blocks for the few milliseconds until it is gone.
    ///
    /// # Errors
    /// When the process does not belong to us or does not end.
    pub fn kill(&mut self) -> Result<(), ServerError> {
        self.server.kill().doing("kill RabbitMQ in", &self.options.dir)
    }

    /// Ends the node and its port mapper at once, with nothing left running.
    ///
    /// # Errors
    /// As [`kill`](Self::kill).
    pub fn kill_all(&mut self) -> Result<(), ServerError> {
        self.kill()?;
        self.epmd.stop()
    }

    /// Starts the node again in the same folder, on the same ports; stops it first if it runs.
    ///
    /// # Errors
    /// As [`start`](Self::start) and [`stop`](Self::stop).
    pub async fn restart(&mut self) -> Result<(), ServerError> {
        self.begin_restart().await?;
        self.wait_ready().await
    }

    /// As [`restart`](Self::restart), but returns before the node answers.
    ///
    /// # Errors
    /// As [`restart`](Self::restart).
    pub async fn begin_restart(&mut self) -> Result<(), ServerError> {
        if self.is_running() {
            stop_server(&mut self.server).await?;
        }
        self.epmd = Epmd::start(&self.options, self.account.as_ref()).await?;
        self.server = spawn(&self.script, &self.options, self.account.as_ref())?;
        Ok(())
    }

    /// Waits until the node speaks AMQP and its management API listens.
    ///
    /// # Errors
    /// When the node ends meanwhile or does not answer within 120 s.
    pub async fn wait_ready(&mut self) -> Result<(), ServerError> {
        let deadline = Instant::now() + START_WITHIN;
        let RabbitPorts { amqp, management, .. } = self.options.ports;
        loop {
            let answer = tokio::task::spawn_blocking(move || greet(amqp, management)).await;
            let last = match answer {
                Ok(Ok(())) => return Ok(()),
                Ok(Err(error)) => error.to_string(),
                Err(error) => error.to_string(),
            };
            let log = self.log();
            if !self.server.is_running() {
                let tail = tail(&config::output(&self.options.dir), 12);
                return Err(ServerError::Ended { what: WHAT, log, tail });
            }
            if Instant::now() >= deadline {
                return Err(ServerError::NotReady { what: WHAT, after: START_WITHIN, last, log });
            }
            tokio::time::sleep(LOOK).await;
        }
    }
}

/// The account of the package where there is one; root otherwise, which RabbitMQ does not mind.
fn account_for(dir: &Path) -> Result<Option<Account>, ServerError> {
    match Account::of_server(WHAT, "rabbitmq", &dir.join("mnesia")) {
        Err(ServerError::NoAccount { .. }) => Ok(None),
        other => other,
    }
}

/// The protocol header and the first byte of the answer, which is a method frame (Connection.Start)
/// from a broker that takes connections.
fn greet(amqp: u16, management: u16) -> std::io::Result<()> {
    const HEADER: &[u8] = b"AMQP\0\0\x09\x01";
    const METHOD_FRAME: u8 = 1;
    let to = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let mut stream = TcpStream::connect_timeout(&to(amqp), ANSWER_WITHIN)?;
    stream.set_read_timeout(Some(ANSWER_WITHIN))?;
    stream.write_all(HEADER)?;
    let mut first = [0];
    stream.read_exact(&mut first)?;
    if first[0] != METHOD_FRAME {
        return Err(std::io::Error::other("the answer is not AMQP 0-9-1"));
    }
    TcpStream::connect_timeout(&to(management), ANSWER_WITHIN).map(drop)
}

/// The node's Erlang machine that still runs in this folder.
fn running_node(dir: &Path) -> Option<u32> {
    let text = fs::read_to_string(config::pid_file(dir)).ok()?;
    let pid = text.trim().parse().ok().filter(|pid| process::is_alive(*pid))?;
    // The number may belong to anyone by now; our node has its folder among its arguments.
    let ours = process::command_line(pid).is_none_or(|arguments| {
        arguments.contains("beam") && arguments.contains(&*dir.to_string_lossy())
    });
    ours.then_some(pid)
}

/// SIGTERM makes the node stop in order.
async fn stop_server(server: &mut Server) -> Result<(), ServerError> {
    let pid = server.pid();
    process::terminate(pid).doing("stop RabbitMQ, process", Path::new(&pid.to_string()))?;
    if server.wait_gone(STOP_WITHIN).await {
        return Ok(());
    }
    Err(ServerError::NotStopped { what: WHAT, pid, after: STOP_WITHIN })
}

fn spawn(
    script: &Path,
    options: &RabbitOptions,
    account: Option<&Account>,
) -> Result<Server, ServerError> {
    let RabbitPorts { amqp, management, prometheus, dist, .. } = options.ports;
    for port in [amqp, management, prometheus, dist] {
        if !ports::is_free(port) {
            return Err(ServerError::PortTaken { what: WHAT, port });
        }
    }
    let path = config::output(&options.dir);
    let mut files = OpenOptions::new();
    let out = files.write(true).create(true).truncate(true).open(&path).doing("open", &path)?;
    let err = out.try_clone().doing("open", &path)?;
    let mut command = clean_command(script, options, account);
    command.stdin(Stdio::null()).stdout(out).stderr(err).process_group(0);
    Ok(Server::started(command.spawn().doing("start", script)?))
}

/// A command with nothing of our environment but the path and what makes the node a private one.
fn clean_command(program: &Path, options: &RabbitOptions, account: Option<&Account>) -> Command {
    let mut command = Command::new(program);
    command.env_clear().env("PATH", process::search_path());
    command.envs(config::environment(options)).current_dir(&options.dir);
    if let Some(account) = account {
        account.apply(&mut command);
    }
    command
}
