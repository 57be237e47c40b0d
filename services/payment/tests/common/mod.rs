//! A payment service on a database of its own, with a gateway of its own.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use chassis::telemetry::{self, TelemetryConfig};
use contracts::inventory::StockReserved;
use contracts::order::{CancelReason, OrderCancelled};
use contracts::{Currency, Money};
use envelope::signature::Signer;
use envelope::{Clock, Envelope, Event, Identity};
use messaging::step::{Progress, Step as _, repeat};
use messaging::{Cause, ManyHandler, Message, Pool, Presence, Received, Tx};
use opentelemetry::Context;
use opentelemetry::trace::{TraceContextExt as _, Tracer as _};
use payment::App;
use payment::presentation::messages::Payment;
use payment::presentation::settlement::Settlement;
use serde_json::Value;
use sqlx::Row as _;
use testkit::gateway::{Gateway, GatewayOptions};
use testkit::{Database, free_port};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// Longer than anything here may take, however busy the machine.
pub const SOON: Duration = Duration::from_secs(20);

pub struct World {
    pub gateway: Gateway,
    address: SocketAddr,
    serving: Option<CancellationToken>,
    folder: PathBuf,
    pub service: Replica,
    pub database: Database,
}

/// One process of the service, as far as the database can tell.
pub struct Replica {
    pub app: App,
    pub settlement: Settlement,
}

/// An event in the outbox.
#[derive(Debug)]
pub struct Told {
    pub event_type: String,
    pub version: i32,
    pub data: Value,
    pub envelope: Value,
}

impl World {
    pub async fn new() -> Self {
        Self::with_replies_lost_after(Duration::from_millis(50)).await
    }

    /// `hold`: how long the gateway keeps a caller waiting whose reply it will lose.
    pub async fn with_replies_lost_after(hold: Duration) -> Self {
        telemetry::init("payment", &TelemetryConfig::default()).unwrap();
        let database = Database::new("payment").await;
        let folder = std::env::temp_dir().join(format!("payment-{}", database.name()));
        let gateway = Gateway::open(folder.join("ledger"), GatewayOptions { hold }).unwrap();
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port().unwrap()));
        let service = replica(&database, address);
        let mut world = Self { gateway, address, serving: None, folder, service, database };
        world.open_gateway().await;
        world
    }

    /// Another process of the same service.
    pub fn replica(&self) -> Replica {
        replica(&self.database, self.address)
    }

    pub async fn open_gateway(&mut self) {
        let (listener, stop) =
            (TcpListener::bind(self.address).await.unwrap(), CancellationToken::new());
        self.gateway.serve(listener, &stop).unwrap();
        self.serving = Some(stop);
    }

    /// Nobody listens there any more when this returns.
    pub async fn shut_gateway(&mut self) {
        self.serving.take().unwrap().cancel();
        testkit::eventually(SOON, || async {
            tokio::net::TcpStream::connect(self.address).await.is_err()
        })
        .await;
    }

    pub async fn reserved(&self, payment_method: &str) -> Uuid {
        let order_id = Uuid::from_u128(self.service.app.pool.new_id().as_u128());
        self.reserved_for(order_id, payment_method).await;
        order_id
    }

    pub async fn reserved_for(&self, order_id: Uuid, payment_method: &str) {
        let payment_method = payment_method.to_owned();
        let amount = Money::new(1_999, Currency::GBP);
        self.tell(StockReserved { order_id, amount, payment_method }).await;
    }

    pub async fn cancelled(&self, order_id: Uuid) {
        let cancelled = OrderCancelled {
            order_id,
            customer_email: "ada@example.com".into(),
            reason: CancelReason::CustomerRequest,
            total: Money::new(1_999, Currency::GBP),
            cancelled_at: self.service.app.pool.clock().now(),
        };
        self.tell(cancelled).await;
    }

    /// Hands an event to the service as its consumer would, in a trace of its own. Returns the
    /// event's id.
    pub async fn tell<E: Event>(&self, event: E) -> Uuid
    where
        Payment: ManyHandler<E>,
    {
        let app = &self.service.app;
        let publisher = Identity::new("shop", "test", "another");
        let (id, now) = (app.pool.new_id(), app.pool.clock().now());
        let envelope = Envelope::wrap(&publisher, &event, 1, id, now).unwrap();
        let message = Arc::new(Message {
            envelope,
            short_type: E::TYPE.to_owned(),
            body: Vec::new(),
            body_sha256: [0; 32],
            signature: [0; 64],
            key_id: String::new(),
            published_at: None,
        });
        let process = opentelemetry::global::tracer("test").start("process");
        let context = Context::new().with_span(process);
        let carrier = Cause::request(id, context).traceparent();
        let cause = Cause::resumed(id, Some(id), carrier.as_deref(), None);
        let mut tx = Tx::begin(&app.pool, cause.clone()).await.unwrap();
        let handler = Payment { wanted: app.wanted.clone() };
        let received = vec![Received { data: event, message, cause }];
        handler.handle_many(&mut tx, received).await.unwrap();
        tx.commit().await.unwrap();
        id
    }

    pub async fn payment(&self, order_id: Uuid) -> Value {
        let row = sqlx::query("select to_jsonb(p) from payments p where order_id = $1")
            .bind(order_id)
            .fetch_optional(&self.database.pool())
            .await
            .unwrap();
        row.map_or(Value::Null, |row| row.get(0))
    }

    pub async fn status(&self, order_id: Uuid) -> String {
        self.payment(order_id).await["status"].as_str().unwrap_or("unknown").to_owned()
    }

    /// Whether a payment was last changed before that lease of it had run out by itself.
    pub async fn changed_within(&self, order_id: Uuid, lease_until: &Value) -> bool {
        let sql = "select updated_at < $2::text::timestamptz from payments where order_id = $1";
        let row = sqlx::query(sql).bind(order_id).bind(lease_until.as_str().unwrap());
        row.fetch_one(&self.database.pool()).await.unwrap().get(0)
    }

    pub async fn becomes(&self, order_id: Uuid, status: &str) {
        testkit::eventually(SOON, || async {
            let payment = self.payment(order_id).await;
            if payment["status"] == status { Ok(()) } else { Err(payment) }
        })
        .await;
    }

    /// What was told of a payment, in the order of telling.
    pub async fn told(&self, order_id: Uuid) -> Vec<Told> {
        let sql = "select type, aggversion, body from messaging.outbox where subject = $1
            order by seq";
        let rows: Vec<(String, i32, Vec<u8>)> = sqlx::query_as(sql)
            .bind(format!("payment/{order_id}"))
            .fetch_all(&self.database.pool())
            .await
            .unwrap();
        rows.into_iter()
            .map(|(event_type, version, body)| {
                let envelope: Value = serde_json::from_slice(&body).unwrap();
                Told { event_type, version, data: envelope["data"].clone(), envelope }
            })
            .collect()
    }

    pub async fn told_types(&self, order_id: Uuid) -> Vec<String> {
        self.told(order_id).await.into_iter().map(|told| told.event_type).collect()
    }

    /// Charges of an order in the gateway's ledger, and what it has paid net.
    pub fn ledger(&self, order_id: Uuid) -> (usize, i64) {
        let order_id = order_id.to_string();
        (self.gateway.charges_of(&order_id).len(), self.gateway.net_captured(&order_id))
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if let Some(stop) = self.serving.take() {
            stop.cancel();
        }
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn replica(database: &Database, gateway: SocketAddr) -> Replica {
    let identity = Identity::new("shop", "test", "payment");
    let signer = Signer::from_seed("payment-1", [1; 32]);
    // Connections of its own, which end with it.
    let pg = messaging::connect_lazily(database.local_url(), "payment", 5).unwrap();
    let pool = Pool::new(pg, identity, signer, Clock::system());
    let app = App::new(pool, &format!("http://{gateway}")).unwrap();
    Replica { settlement: Settlement::new(app.clone()), app }
}

impl Replica {
    /// Steps until there is nothing left to do now, waiting out the pauses between attempts. Returns
    /// how long these were, all together.
    pub async fn settle_all(&mut self) -> Duration {
        let mut waited = Duration::ZERO;
        loop {
            match self.settlement.step().await {
                Progress::More => {}
                Progress::Idle(pause) if pause < Duration::from_secs(5) => {
                    tokio::time::sleep(pause).await;
                    waited += pause;
                }
                Progress::Idle(_) => return waited,
            }
        }
    }

    /// Steps once through everything that is due, without waiting for what is due later.
    pub async fn settle_due(&mut self) {
        while self.settlement.step().await == Progress::More {}
    }

    /// Shows the other replicas that this one is alive, from the moment that this returns.
    #[expect(clippy::disallowed_methods, reason = "the test is the supervisor")]
    pub async fn live(&self) -> JoinHandle<()> {
        let pool = self.app.pool.clone();
        let presence = tokio::spawn(Presence::new(pool.clone()).run(CancellationToken::new()));
        testkit::eventually(SOON, || async {
            let live: Vec<i32> = sqlx::query_scalar("select messaging.live_instances()")
                .fetch_all(pool.pg())
                .await?;
            Ok::<_, sqlx::Error>(live.contains(&pool.instance().number()))
                .and_then(|live| live.then_some(()).ok_or(sqlx::Error::RowNotFound))
        })
        .await;
        presence
    }

    /// Ends as a killed process does: without a word, its connections gone.
    pub async fn kill(self, presence: JoinHandle<()>) {
        presence.abort();
        let _ = presence.await;
        let pg = self.app.pool.pg().clone();
        drop(self);
        pg.close().await;
    }

    /// Runs as in production, woken by its signal, until the token is cancelled.
    #[expect(clippy::disallowed_methods, reason = "the test is the supervisor")]
    pub fn run(&self) -> (CancellationToken, JoinHandle<()>) {
        let stop = CancellationToken::new();
        let settlement = Settlement::new(self.app.clone());
        let work = repeat(settlement, self.app.wanted.clone(), stop.clone());
        (stop, tokio::spawn(work))
    }
}
