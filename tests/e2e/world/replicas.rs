//! The services' processes.

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use envelope::Identity;
use envelope::signature::{KeyDocument, Signer};
use testkit::{eventually, free_port, process};

use super::{SERVICES, SOON, World};

/// A setting of one replica.
type Setting = (&'static str, &'static str);

/// The place of a process, which may be killed and started again.
pub(super) struct Replica {
    service: &'static str,
    address: SocketAddr,
    settings: Vec<Setting>,
    child: Child,
    running: bool,
}

impl Replica {
    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.running = false;
    }
}

impl World {
    /// Starts one more replica of a service, which differs from the others by `settings`.
    pub fn run(&self, service: &'static str, settings: &[Setting]) {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port().unwrap()));
        let child = self.spawn(service, address, settings);
        let settings = settings.to_vec();
        let replica = Replica { service, address, settings, child, running: true };
        self.replicas.lock().unwrap().push(replica);
    }

    fn spawn(&self, service: &str, address: SocketAddr, settings: &[Setting]) -> Child {
        let log = self.folder.join(format!("{service}-{}.log", address.port()));
        let log = File::options().create(true).append(true).open(log).unwrap();
        Command::new(shop_binary())
            .arg(service)
            .env_clear()
            .envs(self.settings.clone())
            .env("HTTP_ADDR", address.to_string())
            .env("DATABASE_URL", self.databases[service].local_url())
            .env("SIGNING_KEY", STANDARD.encode(seed_of(service)))
            .env("SIGNING_KEY_ID", format!("{service}-1"))
            .envs(settings.iter().copied())
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap()
    }

    /// Keys as a careless release would ship them: nobody believes this service.
    pub fn event_keys_without(service: &str) -> String {
        let others = SERVICES.into_iter().filter(|one| *one != service);
        keys_of(&others.collect::<Vec<_>>())
    }

    /// `kill -9` of every replica of a service.
    pub fn kill(&self, service: &str) {
        let mut replicas = self.replicas.lock().unwrap();
        replicas.iter_mut().filter(|r| r.service == service && r.running).for_each(Replica::kill);
    }

    /// `kill -9` of a service's n-th replica.
    pub fn kill_one(&self, service: &str, n: usize) {
        let mut replicas = self.replicas.lock().unwrap();
        replicas.iter_mut().filter(|r| r.service == service).nth(n).unwrap().kill();
    }

    /// SIGTERM to a service's first replica.
    pub fn terminate(&self, service: &str) {
        let replicas = self.replicas.lock().unwrap();
        let replica = replicas.iter().find(|r| r.service == service).unwrap();
        process::terminate(replica.child.id()).unwrap();
    }

    /// How a service's first replica ended by itself.
    pub async fn ended_by_itself(&self, service: &str) -> ExitStatus {
        eventually(SOON, || async {
            let mut replicas = self.replicas.lock().unwrap();
            let replica = replicas.iter_mut().find(|r| r.service == service).unwrap();
            let ended = replica.child.try_wait().unwrap();
            replica.running = ended.is_none();
            ended
        })
        .await
    }

    /// A new process in each place of a service that has none.
    pub fn restart(&self, service: &str) {
        let mut replicas = self.replicas.lock().unwrap();
        for replica in replicas.iter_mut().filter(|r| r.service == service && !r.running) {
            replica.child = self.spawn(replica.service, replica.address, &replica.settings);
            replica.running = true;
        }
    }

    fn addresses(&self, only_running: bool) -> Vec<(&'static str, SocketAddr)> {
        let replicas = self.replicas.lock().unwrap();
        let wanted = replicas.iter().filter(|replica| replica.running || !only_running);
        wanted.map(|replica| (replica.service, replica.address)).collect()
    }

    /// Waits until every running replica says that it is ready.
    pub async fn ready(&self) {
        for (service, address) in self.addresses(true) {
            let url = format!("http://{address}/health/ready");
            eventually(SOON, || async {
                let answer = self.http.get(&url).send().await.map_err(|e| e.to_string())?;
                let status = answer.status();
                let text = answer.text().await.unwrap_or_default();
                if status.is_success() { Ok(()) } else { Err(format!("{service}: {text}")) }
            })
            .await;
        }
    }

    /// The address of a service's first replica.
    pub fn url(&self, service: &str, path: &str) -> String {
        self.url_of(service, 0, path)
    }

    /// The address of a service's n-th replica, counted round and round, whether it runs or not.
    pub fn url_of(&self, service: &str, n: usize, path: &str) -> String {
        let mut all = self.addresses(false);
        all.retain(|(name, _)| *name == service);
        format!("http://{}{path}", all[n % all.len()].1)
    }

    fn logs(&self) -> String {
        let mut text = String::new();
        for entry in std::fs::read_dir(&self.folder).into_iter().flatten().flatten() {
            if entry.path().extension().is_some_and(|e| e == "log") {
                let log = std::fs::read_to_string(entry.path()).unwrap_or_default();
                let last: Vec<&str> = log.lines().rev().take(15).collect();
                let name = entry.file_name();
                text += &format!("--- {}\n", name.to_string_lossy());
                text += &last.into_iter().rev().collect::<Vec<_>>().join("\n");
                text.push('\n');
            }
        }
        text
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.logs());
        }
        self.stop.cancel();
        for replica in self.replicas.get_mut().unwrap() {
            let _ = replica.child.kill();
            let _ = replica.child.wait();
        }
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn seed_of(service: &str) -> [u8; 32] {
    let mut seed = [7; 32];
    seed[..service.len()].copy_from_slice(service.as_bytes());
    seed
}

/// The keys of all services, as each of them is told.
pub(super) fn event_keys() -> String {
    keys_of(&SERVICES)
}

fn keys_of(services: &[&str]) -> String {
    let key = |service: &&str| {
        let signer = Signer::from_seed(format!("{service}-1"), seed_of(service));
        signer.public_for(&Identity::new("shop", "test", *service))
    };
    let document = KeyDocument { keys: services.iter().map(key).collect() };
    serde_json::to_string(&document).unwrap()
}

/// The `shop` binary beside this test: the one that was built with it, if whoever runs the tests says
/// so, otherwise brought up to date once per process.
fn shop_binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| {
        let profile =
            std::env::current_exe().unwrap().parent().unwrap().parent().unwrap().to_owned();
        let built = std::env::var_os("TIDINGS_SHOP_BINARY")
            .and_then(|path| Path::new(&path).canonicalize().ok());
        if let Some(built) = built.filter(|path| path.parent() == Some(&*profile)) {
            return built;
        }
        let mut build = Command::new(env!("CARGO"));
        build.args(["build", "--quiet", "--package", "shop", "--bin", "shop"]);
        if profile.ends_with("release") {
            build.arg("--release");
        }
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        assert!(build.current_dir(root).status().unwrap().success(), "shop does not build");
        profile.join("shop")
    })
}
