//! A small shop that has had some customers, in real databases and with a real gateway, and all of
//! it in order: for the tests to break one thing at a time.

mod postman;
mod story;

use std::collections::BTreeMap;
use std::path::PathBuf;

use contracts::{Currency, Money};
use envelope::signature::Signer;
use envelope::{Clock, Identity};
use messaging::{Cause, Pool, Tx};
use sandbox::gateway::{Gateway, GatewayOptions};
use sandbox::{Running, bind};
use serde_json::{Value, json};
use shop::verify::{Broker, Databases, Service, Verdict, World, check};
use sqlx::AssertSqlSafe;
use testkit::{Database, Servers, Vhost};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// What everything costs here.
pub(crate) const PRICE: Money = Money::new(1_250, Currency::GBP);

/// The shop.
pub(crate) struct Shop {
    /// What is checked.
    pub(crate) world: World,
    /// For messages that nobody expects.
    pub(crate) vhost: Vhost,
    /// An order that was paid and sent.
    pub(crate) confirmed: Uuid,
    /// An order whose card was declined.
    pub(crate) declined: Uuid,
    /// An order of what was not there.
    pub(crate) out_of_stock: Uuid,
    /// An order that was paid, cancelled and paid back.
    pub(crate) refunded: Uuid,
    pools: BTreeMap<Service, Pool>,
    gateway_url: String,
    ledger: PathBuf,
    _gateway: Running,
    _databases: Vec<Database>,
}

impl Shop {
    /// A shop at rest, in order.
    pub(crate) async fn at_rest() -> Self {
        let mut databases = BTreeMap::new();
        for service in Service::ALL {
            databases.insert(service, Database::new(service.name()).await);
        }
        let vhost = Vhost::new().await;
        let clock = Clock::system();
        let ledger = std::env::temp_dir().join(format!("ledger-{}", clock.new_id()));
        let gateway = Gateway::open(&ledger, GatewayOptions::default()).unwrap();
        let listener = bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let gateway_url = format!("http://{}", listener.local_addr().unwrap());
        let gateway = gateway.serve(listener, &CancellationToken::new()).unwrap();
        let [.., (_, management)] = Servers::shared().await.env();
        let world = World::new(
            Databases::at(|service| databases[&service].url().to_owned()).unwrap(),
            Broker::new(&management, vhost.name()).unwrap(),
            shop::verify::Gateway::new(&gateway_url),
        );
        let pools = databases.iter().map(|(service, database)| {
            let identity = Identity::new("shop", "test", service.name());
            let signer = Signer::from_seed(service.name(), [1; 32]);
            (*service, Pool::new(database.pool(), identity, signer, clock.clone()))
        });
        let [confirmed, declined, out_of_stock, refunded] = [0; 4].map(|_| clock.new_id());
        let mut shop = Self {
            world,
            vhost,
            confirmed,
            declined,
            out_of_stock,
            refunded,
            pools: pools.collect(),
            gateway_url,
            ledger,
            _gateway: gateway,
            _databases: databases.into_values().collect(),
        };
        shop.tell_the_story().await;
        shop.deliver_everything().await;
        shop
    }

    /// A transaction of a service because of an order.
    async fn tx(&self, service: Service, order: Uuid) -> Tx {
        Tx::begin(&self.pools[&service], Cause::resumed(order, None, None, None)).await.unwrap()
    }

    /// Changes a database behind everybody's back.
    pub(crate) async fn tamper(&self, service: Service, sql: impl Into<String>) {
        let sql = AssertSqlSafe(sql.into());
        sqlx::raw_sql(sql).execute(self.world.databases.of(service)).await.unwrap();
    }

    /// Charges an order at the gateway; the charge's id.
    pub(crate) async fn charge(&self, order: Uuid, key: &str, method: &str) -> String {
        let body = json!({ "order_id": order.to_string(), "amount_minor": PRICE.amount_minor,
            "currency": "GBP", "payment_method": method });
        self.ask_gateway("/charges", key, &body).await["charge_id"].as_str().unwrap().to_owned()
    }

    /// Gives a charge back; the refund's id.
    pub(crate) async fn refund(&self, charge_id: &str) -> String {
        let body = json!({ "charge_id": charge_id, "amount_minor": PRICE.amount_minor });
        self.ask_gateway("/refunds", charge_id, &body).await["refund_id"]
            .as_str()
            .unwrap()
            .to_owned()
    }

    async fn ask_gateway(&self, path: &str, key: &str, body: &Value) -> Value {
        let request = reqwest::Client::new().post(format!("{}{path}", self.gateway_url));
        let answer = request.header("idempotency-key", key).json(body).send().await.unwrap();
        answer.json().await.unwrap()
    }

    /// Everything that is checked.
    pub(crate) async fn verdicts(&self) -> Vec<Verdict> {
        check(&self.world).await.unwrap()
    }

    /// What the checks complain of: how often each, and the first words.
    pub(crate) async fn complaints(&self) -> Vec<(&'static str, u64, String)> {
        let bad =
            self.verdicts().await.into_iter().filter(|verdict| verdict.findings.violations > 0);
        bad.map(|verdict| {
            let first = verdict.findings.examples.into_iter().next().unwrap_or_default();
            (verdict.id, verdict.findings.violations, first)
        })
        .collect()
    }
}

impl Drop for Shop {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.ledger);
    }
}
