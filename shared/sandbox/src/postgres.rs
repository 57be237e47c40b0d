//! A private Postgres: its own cluster in a folder, on its own port, on the loopback interface only.
//!
//! It runs as a child in a process group of its own, so that a Ctrl-C in the terminal reaches it only
//! through whoever started it, and it outlives a parent that crashes: the next start in the same folder
//! finds it and takes it over.

mod cluster;
mod programs;

use std::fs::{self, OpenOptions};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use sqlx::Connection as _;
use sqlx::postgres::{PgConnectOptions, PgConnection};

use crate::account::{Account, prepare_folder};
use crate::error::{Doing as _, ServerError, tail};
use crate::process::{self, Server};

pub use programs::{NEEDED, Programs, find_programs, find_programs_in};

/// The name in messages.
const WHAT: &str = "Postgres";
/// The name of its processes.
const PROCESS: &str = "postgres";
/// How long a start may take; recovery after a crash is part of it.
const START_WITHIN: Duration = Duration::from_secs(60);
/// How long a fast shutdown may take; it writes a checkpoint.
const STOP_WITHIN: Duration = Duration::from_secs(30);
/// The longest path of a Unix socket, in bytes, on any system: macOS takes no more.
const LONGEST_SOCKET: usize = 103;
/// Between two looks at a starting server.
const LOOK: Duration = Duration::from_millis(20);

/// How to start a private Postgres.
#[derive(Debug, Clone)]
pub struct PostgresOptions {
    /// The folder that holds the cluster (`data/`) and its log. It is created when it is missing, and
    /// given to the account that the server runs as.
    pub dir: PathBuf,
    /// The TCP port, on 127.0.0.1.
    pub port: u16,
    /// Whether a commit waits for the disk. Off is for tests: fast, and what was committed is still
    /// there after the server is killed, but perhaps not after the machine dies.
    pub fsync: bool,
    /// Whether passwords are kept as MD5 rather than SCRAM, which costs a client 4,096 rounds of a hash
    /// for each connection. It takes effect when the cluster is made, and is for tests: thousands of
    /// connections, and a server that lives for minutes.
    pub cheap_logins: bool,
    /// Name and password of the superuser, who is made with the cluster.
    pub superuser: (String, String),
    /// The largest number of connections.
    pub max_connections: u16,
    /// The server's page cache, in MiB.
    pub shared_buffers_mib: u32,
    /// More settings, by name and value, as in `postgresql.conf`.
    pub settings: Vec<(String, String)>,
}

impl PostgresOptions {
    /// The settings for development: durable, superuser `shop` / `shop`, 200 connections.
    #[must_use]
    pub fn new(dir: impl Into<PathBuf>, port: u16) -> Self {
        Self {
            dir: dir.into(),
            port,
            fsync: true,
            cheap_logins: false,
            superuser: ("shop".into(), "shop".into()),
            max_connections: 200,
            shared_buffers_mib: 128,
            settings: Vec::new(),
        }
    }

    /// The settings for tests: no waiting for the disk, cheap logins, 600 connections, and little
    /// patience with clients that stop in the middle of logging in, as frozen processes do: all who drop
    /// a database would wait for them.
    #[must_use]
    pub fn for_tests(dir: impl Into<PathBuf>, port: u16) -> Self {
        Self {
            fsync: false,
            cheap_logins: true,
            max_connections: 600,
            shared_buffers_mib: 64,
            settings: vec![("authentication_timeout".to_owned(), "15s".to_owned())],
            ..Self::new(dir, port)
        }
    }

    fn arguments(&self) -> Vec<String> {
        let folder = socket_folder(&self.dir, self.port);
        let on = |yes: bool| if yes { "on" } else { "off" }.to_owned();
        let mut settings = vec![
            ("port".to_owned(), self.port.to_string()),
            ("listen_addresses".to_owned(), "127.0.0.1".to_owned()),
            ("unix_socket_directories".to_owned(), folder.unwrap_or_default()),
            ("max_connections".to_owned(), self.max_connections.to_string()),
            ("shared_buffers".to_owned(), format!("{}MB", self.shared_buffers_mib)),
            ("fsync".to_owned(), on(self.fsync)),
            ("full_page_writes".to_owned(), on(self.fsync)),
        ];
        settings.extend(self.settings.iter().cloned());
        settings.into_iter().flat_map(|(n, v)| ["-c".to_owned(), format!("{n}={v}")]).collect()
    }
}

/// A private Postgres that was started or taken over. Dropping the handle leaves the server running.
#[derive(Debug)]
pub struct Postgres {
    options: PostgresOptions,
    account: Option<Account>,
    postgres: PathBuf,
    server: Server,
}

impl Postgres {
    /// Starts the server and waits until it answers. A new folder becomes a new cluster; an existing
    /// one goes on with its data, also after a crash. A server that still runs in the folder is taken
    /// over when it has the same settings, otherwise stopped first.
    ///
    /// # Errors
    /// [`ServerError`], each with its fix.
    pub async fn start(options: PostgresOptions) -> Result<Self, ServerError> {
        let data = options.dir.join("data");
        let programs = programs::for_data(&data)?;
        let postgres = programs.postgres();
        let account = Account::of_server(WHAT, "postgres", &data)?;
        prepare_folder(&options.dir, account.as_ref())?;
        let wanted = options.arguments();
        if let Some(found) = cluster::take_over(&data, &wanted).await? {
            let mut this = Self { options, account, postgres, server: found };
            this.wait_ready().await?;
            return Ok(this);
        }
        cluster::wait_for_orphans(&data).await?;
        check_port(options.port)?;
        if !data.join("PG_VERSION").exists() {
            cluster::create(&programs.initdb(), &options, account.as_ref())?;
        }
        let server = spawn(&postgres, &options, account.as_ref())?;
        let mut this = Self { options, account, postgres, server };
        this.wait_ready().await?;
        Ok(this)
    }

    /// The process id of the server (the postmaster).
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.server.pid()
    }

    /// The TCP port, on 127.0.0.1.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.options.port
    }

    /// The address of a database, with the superuser's name and password.
    #[must_use]
    pub fn url(&self, database: &str) -> String {
        let (user, password) = &self.options.superuser;
        format!("postgres://{user}:{password}@127.0.0.1:{}/{database}", self.options.port)
    }

    /// The same by the server's Unix socket, as [`by_socket`] says.
    #[must_use]
    pub fn local_url(&self, database: &str) -> String {
        by_socket(self.url(database), &self.options.dir, self.options.port)
    }

    /// The server's log.
    #[must_use]
    pub fn log(&self) -> PathBuf {
        log_of(&self.options.dir)
    }

    /// Whether the server's process still runs.
    pub fn is_running(&mut self) -> bool {
        self.server.is_running()
    }

    /// A fast shutdown: open transactions are rolled back, connections closed, a checkpoint written.
    ///
    /// # Errors
    /// When the server has not ended after 30 s.
    pub async fn stop(&mut self) -> Result<(), ServerError> {
        // SIGINT is Postgres' fast shutdown; SIGTERM would wait for every client to leave.
        process::interrupt(self.pid()).doing("stop Postgres in", &self.options.dir)?;
        if self.server.wait_gone(STOP_WITHIN).await {
            return Ok(());
        }
        Err(ServerError::NotStopped { what: WHAT, pid: self.pid(), after: STOP_WITHIN })
    }

    /// Ends the server and all its backends at once (SIGKILL), as a crash of the machine would. Blocks
    /// for the few milliseconds until they are gone.
    ///
    /// # Errors
    /// When a process does not belong to us or does not end.
    pub fn kill(&mut self) -> Result<(), ServerError> {
        let data = self.options.dir.join("data");
        self.server.kill().doing("kill Postgres in", &data)?;
        // Backends notice the end of the postmaster by themselves, but not while they are busy.
        for backend in process::working_in(&data, PROCESS) {
            Server::found(backend).kill().doing("kill a backend of Postgres in", &data)?;
        }
        Ok(())
    }

    /// Starts the server again in the same folder, on the same port; stops it first if it runs.
    ///
    /// # Errors
    /// As [`start`](Self::start) and [`stop`](Self::stop).
    pub async fn restart(&mut self) -> Result<(), ServerError> {
        if self.is_running() {
            self.stop().await?;
        }
        cluster::wait_for_orphans(&self.options.dir.join("data")).await?;
        check_port(self.options.port)?;
        self.server = spawn(&self.postgres, &self.options, self.account.as_ref())?;
        self.wait_ready().await
    }

    async fn wait_ready(&mut self) -> Result<(), ServerError> {
        let deadline = Instant::now() + START_WITHIN;
        let (user, password) = self.options.superuser.clone();
        let target = PgConnectOptions::new_without_pgpass()
            .host("127.0.0.1")
            .port(self.options.port)
            .username(&user)
            .password(&password)
            .database("postgres");
        loop {
            let last = match PgConnection::connect_with(&target).await {
                Ok(connection) => {
                    let _ = connection.close().await;
                    return Ok(());
                }
                Err(error) => error.to_string(),
            };
            let log = self.log();
            if !self.server.is_running() {
                return Err(ServerError::Ended { what: WHAT, tail: tail(&log, 8), log });
            }
            if Instant::now() >= deadline {
                return Err(ServerError::NotReady { what: WHAT, after: START_WITHIN, last, log });
            }
            tokio::time::sleep(LOOK).await;
        }
    }
}

/// The address `url` of a database of the server in `dir`, for programs on this machine: by its Unix
/// socket, which takes less of the processor than TCP does. Where the path of `dir` is too long for
/// that, or does not stand for itself in a URL, it is `url`.
#[must_use]
pub fn by_socket(url: String, dir: &Path, port: u16) -> String {
    match socket_folder(dir, port) {
        Some(folder) => format!("{url}?host={folder}"),
        None => url,
    }
}

fn socket_folder(dir: &Path, port: u16) -> Option<String> {
    let folder = std::path::absolute(dir).ok()?.to_str()?.to_owned();
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-".contains(c);
    let path = format!("{folder}/.s.PGSQL.{port}");
    (path.len() <= LONGEST_SOCKET && folder.chars().all(plain)).then_some(folder)
}

fn log_of(dir: &Path) -> PathBuf {
    dir.join("postgres.log")
}

fn check_port(port: u16) -> Result<(), ServerError> {
    match TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
        Ok(_) => Ok(()),
        Err(_) => Err(ServerError::PortTaken { what: WHAT, port }),
    }
}

fn spawn(
    postgres: &Path,
    options: &PostgresOptions,
    account: Option<&Account>,
) -> Result<Server, ServerError> {
    let log = log_of(&options.dir);
    // A new log for every start, so that its end tells of this start; the one before is kept.
    let _ = fs::rename(&log, log.with_extension("log.1"));
    let out = OpenOptions::new().create(true).append(true).open(&log).doing("open", &log)?;
    let err = out.try_clone().doing("open", &log)?;
    let mut command = clean_command(postgres, &options.dir, account);
    command.arg("-D").arg(options.dir.join("data")).args(options.arguments());
    command.stdin(Stdio::null()).stdout(out).stderr(err).process_group(0);
    Ok(Server::started(command.spawn().doing("start", postgres)?))
}

/// A command with nothing of our environment but the path, so that no PG* variable changes it.
fn clean_command(program: &Path, folder: &Path, account: Option<&Account>) -> Command {
    let mut command = Command::new(program);
    command.env_clear().env("PATH", process::search_path()).env("LC_ALL", "C").current_dir(folder);
    if let Some(account) = account {
        account.apply(&mut command);
    }
    command
}
