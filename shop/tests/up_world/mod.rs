//! A `shop up` of a test's own: free ports, a folder that nobody else uses, nothing left behind.
#![allow(dead_code, reason = "each test file uses a part")]

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::Duration;

use sandbox::process;
use testkit::{eventually, free_port};

/// A start takes 6 s on an idle machine; tests run beside builds.
pub(crate) const START: Duration = Duration::from_secs(100);
/// RabbitMQ alone takes 5 s to stop.
pub(crate) const STOP: Duration = Duration::from_secs(60);
/// What one process does by itself.
pub(crate) const SOON: Duration = Duration::from_secs(20);

const VARIABLES: [&str; 14] = [
    "ORDER_PORT",
    "INVENTORY_PORT",
    "PAYMENT_PORT",
    "EMAIL_PORT",
    "AUDIT_PORT",
    "GATEWAY_PORT",
    "POSTGRES_PORT",
    "AMQP_PORT",
    "MANAGEMENT_PORT",
    "TRACES_PORT",
    "OTLP_PORT",
    "OTLP_HTTP_PORT",
    "MAIL_PORT",
    "SMTP_PORT",
];

/// A folder and ports for one shop, started any number of times.
pub(crate) struct World {
    root: PathBuf,
    ports: Vec<(&'static str, u16)>,
    pub(crate) http: reqwest::Client,
}

impl World {
    pub(crate) fn new(name: &str) -> Self {
        let root = std::env::temp_dir().join(format!("tidings-up-{name}-{}", std::process::id()));
        fs::create_dir_all(&root).unwrap();
        let ports = VARIABLES.map(|variable| (variable, free_port().unwrap())).to_vec();
        let http = reqwest::Client::builder().no_proxy().timeout(SOON).build().unwrap();
        Self { root, ports, http }
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.root.join("data")
    }

    pub(crate) fn port(&self, variable: &str) -> u16 {
        self.ports.iter().find(|(name, _)| *name == variable).unwrap().1
    }

    pub(crate) fn url(&self, variable: &str, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port(variable))
    }

    pub(crate) fn database(&self, name: &str) -> String {
        format!("postgres://shop:shop@127.0.0.1:{}/{name}", self.port("POSTGRES_PORT"))
    }

    /// `shop` with the arguments, on this world's ports and folder.
    pub(crate) fn shop(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_shop"));
        command
            .args(arguments)
            .envs(self.ports.iter().map(|(name, port)| (name, port.to_string())));
        command.env("TIDINGS_DATA", self.data()).env_remove("RUST_LOG").current_dir(&self.root);
        command
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> (i32, String) {
        said(&self.shop(arguments).output().unwrap())
    }

    /// Starts `shop up` and gives it when it says that all is ready.
    pub(crate) async fn up(&self) -> Up {
        let mut up = self.begin();
        eventually(START, || {
            let (said, ended) = (up.said(), up.child.try_wait().unwrap());
            async move {
                assert!(ended.is_none(), "shop up ended: {ended:?}\n{said}");
                if said.contains("ready after") { Ok(()) } else { Err(said) }
            }
        })
        .await;
        up
    }

    /// Starts `shop up` and waits for nothing.
    pub(crate) fn begin(&self) -> Up {
        let log = self.root.join(format!("up-{}.out", fs::read_dir(&self.root).unwrap().count()));
        let out = File::create(&log).unwrap();
        let mut command = self.shop(&["up"]);
        command.stdin(Stdio::null()).stdout(out.try_clone().unwrap()).stderr(out);
        Up { child: command.spawn().unwrap(), log }
    }

    /// The process of that name, by the file that `shop up` keeps.
    pub(crate) fn pid(&self, name: &str) -> Option<u32> {
        let text = fs::read_to_string(self.data().join("run").join(format!("{name}.pid"))).ok()?;
        text.lines().next()?.parse().ok()
    }

    /// Everything that runs out of this world's folder: by its arguments or by where it works.
    pub(crate) fn left_running(&self) -> Vec<String> {
        let data = self.data();
        let folder = data.to_string_lossy();
        let ours = |pid: &u32| {
            let arguments = arguments_of(*pid);
            let works = fs::read_link(format!("/proc/{pid}/cwd")).unwrap_or_default();
            let variables = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            let variables = String::from_utf8_lossy(&variables).into_owned();
            arguments.contains(&*folder) || works.starts_with(&data) || variables.contains(&*folder)
        };
        let entries = fs::read_dir("/proc").unwrap();
        let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
        let alive = pids.filter(|pid| process::is_alive(*pid) && ours(pid));
        alive.map(|pid| format!("{pid} {}", arguments_of(pid))).collect()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if self.data().exists() {
            // Also ends what a failed test has left.
            let (code, said) = self.run(&["reset", "--yes"]);
            if code != 0 && !std::thread::panicking() {
                panic!("reset: {said}");
            }
        }
        if !std::thread::panicking() {
            let _ = fs::remove_dir_all(&self.root);
        }
    }
}

fn arguments_of(pid: u32) -> String {
    let raw = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&raw).replace('\0', " ")
}

/// Exit code and everything that was printed.
pub(crate) fn said(output: &Output) -> (i32, String) {
    let both = [&output.stdout[..], &output.stderr[..]].concat();
    (output.status.code().unwrap_or(-1), String::from_utf8(both).unwrap())
}

/// A running `shop up`.
pub(crate) struct Up {
    child: Child,
    log: PathBuf,
}

impl Up {
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// All that it has printed.
    pub(crate) fn said(&self) -> String {
        read(&self.log)
    }

    /// SIGTERM, and its end.
    pub(crate) async fn terminate(self) -> (ExitStatus, String) {
        process::terminate(self.pid()).unwrap();
        self.ended().await
    }

    /// SIGINT, as Ctrl-C sends it, and its end.
    pub(crate) async fn interrupt(self) -> (ExitStatus, String) {
        process::interrupt(self.pid()).unwrap();
        self.ended().await
    }

    /// SIGKILL: its children stay.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Its end, and all that it has printed.
    pub(crate) async fn ended(mut self) -> (ExitStatus, String) {
        let child = &mut self.child;
        let status = eventually(START + STOP, || {
            let ended = child.try_wait().unwrap();
            async move { ended }
        });
        let status = status.await;
        (status, self.said())
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        // After a failed test only; the world ends what it has left.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_default()
}
