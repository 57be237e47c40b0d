//! A whole shop for one test.

use std::collections::BTreeMap;
use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use envelope::Identity;
use envelope::signature::{KeyDocument, Signer};
use messaging::topology::Topology;
use messaging::transport::Transport as _;
use messaging::transport::rabbitmq::RabbitMq;
use sandbox::gateway::{Gateway, GatewayOptions};
use sandbox::otlp::{Receiver, StoreLimits, TraceStore};
use sandbox::smtp::{Mailbox, MailboxLimits, SmtpServer};
use serde_json::{Value, json};
use sqlx::PgPool;
use testkit::{Database, Vhost, eventually, free_port};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

pub const SERVICES: [&str; 5] = ["order", "inventory", "payment", "email", "audit"];
/// A healthy shop needs milliseconds; a busy test machine gets patience.
pub const SOON: Duration = Duration::from_secs(30);
/// For what may rest on the rungs of 1, 5 and 30 s while something is away.
pub const LATER: Duration = Duration::from_secs(120);

pub struct World {
    pub databases: BTreeMap<&'static str, Database>,
    pub vhost: Vhost,
    pub gateway: Gateway,
    pub mailbox: Mailbox,
    pub traces: TraceStore,
    pub http: reqwest::Client,
    replicas: Mutex<Vec<Replica>>,
    settings: Vec<(String, String)>,
    stop: CancellationToken,
    folder: PathBuf,
}

struct Replica {
    service: &'static str,
    address: SocketAddr,
    child: Child,
}

impl World {
    /// One replica of each service, ready.
    pub async fn start() -> Self {
        Self::start_on(Vhost::new().await, 1).await
    }

    /// `replicas` of each service, over the broker that `vhost` is on.
    pub async fn start_on(vhost: Vhost, replicas: usize) -> Self {
        let stop = CancellationToken::new();
        let folder = std::env::temp_dir().join(format!("tidings-e2e-{}", Uuid::now_v7()));
        std::fs::create_dir_all(&folder).unwrap();
        let mut databases = BTreeMap::new();
        for service in SERVICES {
            databases.insert(service, Database::new(service).await);
        }
        provision(vhost.amqp_url()).await;
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let traces = TraceStore::new(StoreLimits::default());
        let otlp = Receiver::start(any, any, traces.clone(), &stop).await.unwrap();
        let mailbox = Mailbox::new(MailboxLimits::default());
        let smtp = SmtpServer::start(any, mailbox.clone(), &stop).await.unwrap();
        let options = GatewayOptions { hold: Duration::from_secs(2) };
        let gateway = Gateway::open(folder.join("ledger.jsonl"), options).unwrap();
        let listener = tokio::net::TcpListener::bind(any).await.unwrap();
        let gateway_server = gateway.serve(listener, &stop).unwrap();
        let settings = [
            ("AMQP_URL", vhost.amqp_url().to_owned()),
            ("ENVIRONMENT", "test".into()),
            ("EVENT_KEYS", event_keys()),
            ("GATEWAY_URL", format!("http://{}", gateway_server.addr())),
            ("SMTP_URL", format!("smtp://{}", smtp.addr())),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", format!("http://{}", otlp.grpc_addr())),
            ("OTEL_BSP_SCHEDULE_DELAY", "100".into()),
            ("RUST_LOG", "info".into()),
        ];
        let settings = settings.map(|(name, value)| (name.to_owned(), value)).to_vec();
        let (http, none) = (reqwest::Client::new(), Mutex::default());
        let world = Self {
            databases,
            vhost,
            gateway,
            mailbox,
            traces,
            http,
            replicas: none,
            settings,
            stop,
            folder,
        };
        for _ in 0..replicas {
            for service in SERVICES {
                world.run(service);
            }
        }
        world.ready().await;
        world
    }

    /// Starts one more replica of a service.
    pub fn run(&self, service: &'static str) {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port().unwrap()));
        let child = self.spawn(service, address);
        self.replicas.lock().unwrap().push(Replica { service, address, child });
    }

    fn spawn(&self, service: &str, address: SocketAddr) -> Child {
        let log = self.folder.join(format!("{service}-{}.log", address.port()));
        let log = File::options().create(true).append(true).open(log).unwrap();
        Command::new(shop_binary())
            .arg(service)
            .env_clear()
            .envs(self.settings.clone())
            .env("HTTP_ADDR", address.to_string())
            .env("DATABASE_URL", self.databases[service].url())
            .env("SIGNING_KEY", STANDARD.encode(seed_of(service)))
            .env("SIGNING_KEY_ID", format!("{service}-1"))
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap()
    }

    /// `kill -9` of every replica of a service, and a new one in each place.
    pub fn kill_and_restart(&self, service: &str) {
        let mut replicas = self.replicas.lock().unwrap();
        for replica in replicas.iter_mut().filter(|r| r.service == service) {
            replica.child.kill().unwrap();
            replica.child.wait().unwrap();
            replica.child = self.spawn(replica.service, replica.address);
        }
    }

    fn addresses(&self) -> Vec<(&'static str, SocketAddr)> {
        self.replicas.lock().unwrap().iter().map(|r| (r.service, r.address)).collect()
    }

    /// Waits until every running replica says that it is ready.
    pub async fn ready(&self) {
        for (service, address) in self.addresses() {
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

    /// The address of a service's n-th replica, counted round and round.
    pub fn url_of(&self, service: &str, n: usize, path: &str) -> String {
        let mut all = self.addresses();
        all.retain(|(name, _)| *name == service);
        format!("http://{}{path}", all[n % all.len()].1)
    }

    pub fn pg(&self, service: &str) -> PgPool {
        self.databases[service].pool()
    }

    pub async fn get(&self, service: &str, path: &str) -> Value {
        let answer = self.http.get(self.url(service, path)).send().await.unwrap();
        answer.json().await.unwrap()
    }

    /// Lists a product and waits until order knows it.
    pub async fn stock(&self, sku: &str, price_minor: i64, on_hand: i64) {
        let body = json!({"name": sku, "on_hand": on_hand,
            "unit_price": {"amount_minor": price_minor, "currency": "GBP"}});
        let url = self.url("inventory", &format!("/products/{sku}"));
        let answer = self.http.put(url).json(&body).send().await.unwrap();
        assert!(answer.status().is_success(), "{}", answer.text().await.unwrap());
        let url = self.url("order", &format!("/products/{sku}"));
        eventually(SOON, || async {
            self.http.get(&url).send().await.is_ok_and(|answer| answer.status().is_success())
        })
        .await;
    }

    /// Places an order, as a client that does not give up: the same key until there is an answer.
    pub async fn place(&self, n: usize, sku: &str, quantity: u32, pay: &str) -> Uuid {
        let key = format!("order-{}", Uuid::now_v7());
        let body = json!({"customer_id": Uuid::nil(), "customer_email": format!("buyer-{key}@example.com"),
            "lines": [{"sku": sku, "quantity": quantity}], "payment_method": pay});
        let url = self.url_of("order", n, "/orders");
        let order = eventually(SOON, || async {
            let request = self.http.post(&url).header("idempotency-key", &key).json(&body);
            let answer = request.send().await.map_err(|e| e.to_string())?;
            let status = answer.status().as_u16();
            let order: Value = answer.json().await.map_err(|e| e.to_string())?;
            if status == 202 { Ok(order) } else { Err(format!("{status}: {order}")) }
        })
        .await;
        order["order_id"].as_str().unwrap().parse().unwrap()
    }

    /// Waits until an order has ended, and gives it.
    pub async fn ended(&self, order: Uuid) -> Value {
        let url = self.url("order", &format!("/orders/{order}"));
        eventually(LATER, || async {
            let answer = self.http.get(&url).send().await.map_err(|e| e.to_string())?;
            let order: Value = answer.json().await.map_err(|e| e.to_string())?;
            if order["status"] == "pending" { Err(order.to_string()) } else { Ok(order) }
        })
        .await
    }

    /// Waits until nothing is under way: outboxes published, wishes fulfilled, queues empty.
    pub async fn quiet(&self) {
        let one = async |service: &str, sql: &'static str| -> i64 {
            sqlx::query_scalar(sql).fetch_one(&self.pg(service)).await.unwrap()
        };
        eventually(LATER, || async {
            for service in SERVICES {
                let sql = "select count(*) from messaging.outbox where published_at is null";
                let pending = one(service, sql).await;
                if pending > 0 {
                    return Err(format!("{pending} events of {service} are not published"));
                }
                for queue in ["in", "retry.1s", "retry.5s", "retry.30s"] {
                    let depth = self.vhost.depth(&format!("{service}.{queue}")).await;
                    if depth != Some(0) {
                        return Err(format!("{service}.{queue} holds {depth:?}"));
                    }
                }
            }
            let mails = one("email", "select count(*) from emails where status = 'pending'").await;
            let payments =
                one("payment", "select count(*) from payments where status = 'pending'").await;
            if mails + payments > 0 {
                return Err(format!("{mails} mails, {payments} payments are pending"));
            }
            Ok(())
        })
        .await;
    }

    /// The events of every outbox that every consumer bound to them has not handled exactly once,
    /// and anything handled that nobody published.
    pub async fn lost_or_doubled(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        let mut published: Vec<(String, Uuid)> = Vec::new();
        for service in SERVICES {
            let sql = "select type, event_id from messaging.outbox";
            let rows: Vec<(String, Uuid)> =
                sqlx::query_as(sql).fetch_all(&self.pg(service)).await.unwrap();
            published.extend(rows);
        }
        for (service, bindings) in bindings() {
            let sql = "select event_id from messaging.inbox";
            let handled: Vec<Uuid> =
                sqlx::query_scalar(sql).fetch_all(&self.pg(service)).await.unwrap();
            let wanted: Vec<Uuid> = published
                .iter()
                .filter(|(full, _)| {
                    bindings.iter().any(|b| b == "#" || *full == format!("shop.{b}"))
                })
                .map(|(_, id)| *id)
                .collect();
            wrong.extend(
                wanted
                    .iter()
                    .filter(|id| !handled.contains(id))
                    .map(|id| format!("{service} lost {id}")),
            );
            wrong.extend(
                handled
                    .iter()
                    .filter(|id| !wanted.contains(id))
                    .map(|id| format!("{service} invented {id}")),
            );
        }
        wrong
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

pub fn bindings() -> [(&'static str, Vec<String>); 5] {
    [
        ("order", order::bindings()),
        ("inventory", inventory::bindings()),
        ("payment", payment::bindings()),
        ("email", email::bindings()),
        ("audit", audit::bindings()),
    ]
}

async fn provision(amqp_url: &str) {
    let broker = RabbitMq::new(amqp_url, "e2e", "shop");
    for (service, bindings) in bindings() {
        let topology = Topology { service: service.into(), bindings };
        broker.provision(&topology).await.unwrap();
    }
}

fn seed_of(service: &str) -> [u8; 32] {
    let mut seed = [7; 32];
    seed[..service.len()].copy_from_slice(service.as_bytes());
    seed
}

fn event_keys() -> String {
    let key = |service: &str| {
        let signer = Signer::from_seed(format!("{service}-1"), seed_of(service));
        signer.public_for(&Identity::new("shop", "test", service))
    };
    let document = KeyDocument { keys: SERVICES.into_iter().map(key).collect() };
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
