//! What a user asks from outside, over HTTP.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use reqwest::Client;
use serde_json::{Value, json};

use crate::docker::Compose;

/// The product that `migrate` lists.
const SKU: &str = "DEMO-1";

/// The published addresses.
pub(crate) struct Api {
    client: Client,
    order: String,
    traces: String,
    mail: String,
    management: String,
    prometheus: String,
}

impl Api {
    /// Those of a project.
    ///
    /// # Errors
    /// When the HTTP client cannot be made.
    pub(crate) fn of(compose: &Compose) -> anyhow::Result<Self> {
        let client = Client::builder()
            .timeout(Duration::from_secs(5))
            .no_proxy()
            .pool_max_idle_per_host(0)
            .build()?;
        Ok(Self {
            client,
            order: compose.url("ORDER_PORT"),
            traces: compose.url("TRACES_PORT"),
            mail: compose.url("MAIL_PORT"),
            management: compose.url("MANAGEMENT_PORT"),
            prometheus: compose.url("PROMETHEUS_PORT"),
        })
    }

    async fn get(&self, url: String) -> anyhow::Result<Value> {
        let answer = self.client.get(&url).basic_auth("shop", Some("shop")).send().await?;
        let status = answer.status();
        ensure!(status.is_success(), "{url}: {status}");
        answer.json().await.with_context(|| url)
    }

    /// Places an order; gives its id.
    ///
    /// # Errors
    /// When it is not accepted.
    pub(crate) async fn place(&self, key: &str, email: &str) -> anyhow::Result<String> {
        let order = json!({
            "customer_id": "0192f0c4-0000-7000-8000-00000000e2e0",
            "customer_email": email,
            "lines": [{ "sku": SKU, "quantity": 1 }],
            "payment_method": "pm_ok",
        });
        let url = format!("{}/orders", self.order);
        let key = format!("e2e-of-the-compose-{key}");
        let request = self.client.post(url).header("Idempotency-Key", key).json(&order);
        let answer = request.send().await?;
        let status = answer.status();
        let body: Value = answer.json().await?;
        ensure!(status.as_u16() == 202, "the order is not accepted: {status} {body}");
        Ok(body["order_id"].as_str().context("no order_id")?.to_owned())
    }

    /// The trace of an order that is confirmed.
    ///
    /// # Errors
    /// When it is not confirmed, with its status.
    pub(crate) async fn confirmed(&self, order: &str) -> anyhow::Result<String> {
        let order = self.get(format!("{}/orders/{order}", self.order)).await?;
        ensure!(order["status"] == "confirmed", "the order is {}", order["status"]);
        Ok(order["trace_id"].as_str().context("the order has no trace")?.to_owned())
    }

    /// The newest order, if there is one.
    ///
    /// # Errors
    /// When order does not answer.
    pub(crate) async fn newest(&self) -> anyhow::Result<Option<String>> {
        let page = self.get(format!("{}/orders?limit=1", self.order)).await?;
        Ok(page["orders"][0]["order_id"].as_str().map(str::to_owned))
    }

    /// A trace, in Jaeger's words.
    ///
    /// # Errors
    /// When Jaeger does not know it.
    pub(crate) async fn trace(&self, id: &str) -> anyhow::Result<Value> {
        let mut found = self.get(format!("{}/api/traces/{id}", self.traces)).await?;
        Ok(found["data"][0].take())
    }

    /// How many mails were sent to an address.
    ///
    /// # Errors
    /// When Mailpit does not answer.
    pub(crate) async fn mails_to(&self, address: &str) -> anyhow::Result<u64> {
        let url = format!("{}/api/v1/search?query=to:{address}", self.mail);
        let found = self.get(url).await?;
        found["messages_count"].as_u64().context("no messages_count")
    }

    /// Every queue with its messages.
    ///
    /// # Errors
    /// When RabbitMQ's management does not answer.
    pub(crate) async fn queues(&self) -> anyhow::Result<Vec<(String, u64)>> {
        let found = self.get(format!("{}/api/queues/shop", self.management)).await?;
        let queues = found.as_array().context("no list of queues")?;
        let queue = |queue: &Value| {
            let name = queue["name"].as_str().unwrap_or_default().to_owned();
            Some((name, queue["messages"].as_u64()?))
        };
        queues.iter().map(queue).collect::<Option<_>>().context("a queue without figures")
    }

    /// The addresses that Prometheus reads and that answer it.
    ///
    /// # Errors
    /// When it does not answer itself.
    pub(crate) async fn scraped(&self) -> anyhow::Result<Vec<String>> {
        let url = format!("{}/api/v1/query?query=up==1", self.prometheus);
        let found = self.get(url).await?;
        let series = found["data"]["result"].as_array().context("no result")?;
        Ok(series.iter().map(|one| one["metric"].to_string()).collect())
    }
}
