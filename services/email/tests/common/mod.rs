//! An email service on a database of its own, with a mail server of its own.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use chassis::telemetry::{self, TelemetryConfig};
use contracts::order::{CancelReason, OrderCancelled, OrderConfirmed};
use contracts::payment::PaymentRefunded;
use contracts::{Currency, Money};
use email::App;
use email::infrastructure::SmtpServer as ServerAddress;
use email::presentation::delivery::Delivery;
use email::presentation::messages::Mail as MailHandler;
use envelope::signature::Signer;
use envelope::{Clock, Envelope, Event, Identity};
use messaging::step::{Progress, Step as _, repeat};
use messaging::{Cause, ManyHandler, Message, Pool, Presence, Received, Tx};
use opentelemetry::Context;
use opentelemetry::trace::{TraceContextExt as _, Tracer as _};
use serde_json::Value;
use sqlx::Row as _;
use testkit::smtp::{FaultSwitch, Mail, Mailbox, SmtpServer};
use testkit::{Database, free_port};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// Longer than anything here may take, however busy the machine.
pub const SOON: Duration = Duration::from_secs(20);
pub const ADA: &str = "ada@example.com";

pub struct World {
    pub mailbox: Mailbox,
    address: SocketAddr,
    server: Option<SmtpServer>,
    pub service: Replica,
    pub database: Database,
}

/// One process of the service, as far as the database can tell.
pub struct Replica {
    pub app: App,
    pub delivery: Delivery,
}

impl World {
    pub async fn new() -> Self {
        telemetry::init("email", &TelemetryConfig::default()).unwrap();
        let database = Database::new("email").await;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port().unwrap()));
        let (service, mailbox) = (replica(&database, address), Mailbox::default());
        let mut world = Self { mailbox, address, server: None, service, database };
        world.open_server().await;
        world
    }

    /// Another process of the same service.
    pub fn replica(&self) -> Replica {
        replica(&self.database, self.address)
    }

    pub async fn open_server(&mut self) {
        let stop = CancellationToken::new();
        let server = SmtpServer::start(self.address, self.mailbox.clone(), &stop).await.unwrap();
        self.server = Some(server);
    }

    pub async fn shut_server(&mut self) {
        self.server.take().unwrap().stop().await.unwrap();
    }

    pub fn faults(&self) -> &FaultSwitch {
        self.server.as_ref().unwrap().faults()
    }

    pub fn order(&self) -> Uuid {
        self.service.app.pool.new_id()
    }

    pub async fn confirmed(&self, order_id: Uuid) -> Uuid {
        self.confirmed_to(order_id, ADA).await
    }

    pub async fn confirmed_to(&self, order_id: Uuid, address: &str) -> Uuid {
        let confirmed_at = self.service.app.pool.clock().now();
        let (customer_email, total) = (address.to_owned(), Money::new(1_999, Currency::GBP));
        self.tell(OrderConfirmed { order_id, customer_email, total, confirmed_at }).await
    }

    pub async fn cancelled(&self, order_id: Uuid, reason: CancelReason) -> Uuid {
        let cancelled_at = self.service.app.pool.clock().now();
        let (customer_email, total) = (ADA.to_owned(), Money::new(1_999, Currency::GBP));
        self.tell(OrderCancelled { order_id, customer_email, reason, total, cancelled_at }).await
    }

    pub async fn refunded(&self, order_id: Uuid) -> Uuid {
        let (refund_id, amount) = ("re_1".to_owned(), Money::new(1_999, Currency::GBP));
        self.tell(PaymentRefunded { order_id, refund_id, amount }).await
    }

    /// Hands an event to the service as its consumer would, in a trace of its own. Returns the
    /// event's id.
    async fn tell<E: Event>(&self, event: E) -> Uuid
    where
        MailHandler: ManyHandler<E>,
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
        let (wanted, domain) = (app.wanted.clone(), app.mailer.domain().to_owned());
        let handler = MailHandler { wanted, domain };
        let received = vec![Received { data: event, message, cause }];
        handler.handle_many(&mut tx, received).await.unwrap();
        tx.commit().await.unwrap();
        id
    }

    pub async fn email(&self, order_id: Uuid, template: &str) -> Value {
        let sql = "select to_jsonb(e) from emails e where order_id = $1 and template = $2";
        let row = sqlx::query(sql)
            .bind(order_id)
            .bind(template)
            .fetch_optional(&self.database.pool())
            .await
            .unwrap();
        row.map_or(Value::Null, |row| row.get(0))
    }

    /// Whether a mail was stored as sent before that lease of it had run out by itself.
    pub async fn sent_within(&self, order_id: Uuid, template: &str, lease_until: &Value) -> bool {
        let sql = "select sent_at < $3::text::timestamptz from emails
            where order_id = $1 and template = $2";
        let row =
            sqlx::query(sql).bind(order_id).bind(template).bind(lease_until.as_str().unwrap());
        row.fetch_one(&self.database.pool()).await.unwrap().get(0)
    }

    pub async fn becomes(&self, order_id: Uuid, template: &str, status: &str) -> Value {
        testkit::eventually(SOON, || async {
            let email = self.email(order_id, template).await;
            if email["status"] == status { Ok(email) } else { Err(email) }
        })
        .await
    }

    /// The envelopes of what was told, oldest first.
    pub async fn told(&self) -> Vec<Value> {
        let rows: Vec<(Vec<u8>,)> =
            sqlx::query_as("select body from messaging.outbox order by seq")
                .fetch_all(&self.database.pool())
                .await
                .unwrap();
        rows.into_iter().map(|(body,)| serde_json::from_slice(&body).unwrap()).collect()
    }

    pub fn mails(&self) -> Vec<Arc<Mail>> {
        self.mailbox.all()
    }
}

fn replica(database: &Database, server: SocketAddr) -> Replica {
    let identity = Identity::new("shop", "test", "email");
    let signer = Signer::from_seed("email-1", [1; 32]);
    // Connections of its own, which end with it.
    let pg = messaging::connect_lazily(database.local_url(), "email", 5).unwrap();
    let pool = Pool::new(pg, identity, signer, Clock::system());
    let server = ServerAddress { host: server.ip().to_string(), port: server.port() };
    let from = "Tidings <shop@tidings.example>".parse().unwrap();
    let app = App::new(pool, server, from);
    Replica { delivery: Delivery::new(app.clone()), app }
}

impl Replica {
    /// Steps until there is nothing left to do now, waiting out the pauses between attempts.
    pub async fn send_all(&mut self) {
        loop {
            match self.delivery.step().await {
                Progress::More => {}
                Progress::Idle(pause) if pause < Duration::from_secs(5) => {
                    tokio::time::sleep(pause).await;
                }
                Progress::Idle(_) => return,
            }
        }
    }

    /// Steps once through everything that is due, without waiting for what is due later.
    pub async fn send_due(&mut self) {
        while self.delivery.step().await == Progress::More {}
    }

    /// Shows the other replicas that this one is alive, from the moment that this returns.
    #[expect(clippy::disallowed_methods, reason = "the test is the supervisor")]
    pub async fn live(&self) -> JoinHandle<()> {
        let pool = self.app.pool.clone();
        let presence = tokio::spawn(Presence::new(pool.clone()).run(CancellationToken::new()));
        testkit::eventually(SOON, || async {
            let live: Result<Vec<i32>, _> =
                sqlx::query_scalar("select messaging.live_instances()").fetch_all(pool.pg()).await;
            live.is_ok_and(|live| live.contains(&pool.instance().number()))
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
        let delivery = Delivery::new(self.app.clone());
        let work = repeat(delivery, self.app.wanted.clone(), stop.clone());
        (stop, tokio::spawn(work))
    }
}
