//! A vhost of a test's own on a broker, and what a test may do to it.

use anyhow::{Context as _, Result};
use lapin::options::QueueDeclareOptions;
use lapin::types::FieldTable;
use lapin::{Connection, ConnectionProperties};
use reqwest::Method;
use serde_json::{Value, json};

use crate::management::{Management, QueueFigures};
use crate::servers::Servers;
use crate::{must, unique};

/// A vhost that only this test uses. It is deleted with this value, with all its queues, as hundreds of
/// quorum queues would eat the broker.
#[derive(Debug)]
pub struct Vhost {
    management: Management,
    name: String,
    amqp_url: String,
}

impl Vhost {
    /// A new vhost on the shared broker.
    ///
    /// # Panics
    /// When it cannot be made, with the reason.
    pub async fn new() -> Self {
        let servers = Servers::shared().await;
        let made = Self::on(servers.management(), |name| servers.amqp_url(name)).await;
        must("cannot make a vhost", made)
    }

    pub(crate) async fn on(
        management: Management,
        url_of: impl Fn(&str) -> String,
    ) -> Result<Self> {
        let name = unique("test-");
        let this = Self { management, amqp_url: url_of(&name), name };
        let all = json!({ "configure": ".*", "write": ".*", "read": ".*" });
        let user = this.management.user();
        this.management.call(Method::PUT, &["vhosts", &this.name], Some(json!({}))).await?;
        let path = ["permissions", &this.name, user];
        this.management.call(Method::PUT, &path, Some(all)).await?;
        Ok(this)
    }

    /// The name of the vhost.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The address of the vhost, with the administrator's name and password.
    #[must_use]
    pub fn amqp_url(&self) -> &str {
        &self.amqp_url
    }

    /// The management API of the broker, for what has no method here.
    #[must_use]
    pub fn management(&self) -> &Management {
        &self.management
    }

    /// What a queue holds, up to a second ago; None when there is no such queue. See
    /// [`depth`](Self::depth) for the exact number.
    ///
    /// # Panics
    /// When the broker does not answer.
    pub async fn queue(&self, queue: &str) -> Option<QueueFigures> {
        let answer =
            self.call("read a queue", Method::GET, &["queues", &self.name, queue], None).await?;
        Some(must("the figures of a queue", serde_json::from_value(answer).map_err(Into::into)))
    }

    /// How many messages wait in a queue at this moment, asked of the queue itself; None when there is
    /// no such queue. Messages that a consumer holds do not count.
    ///
    /// # Panics
    /// When the broker does not answer.
    pub async fn depth(&self, queue: &str) -> Option<u32> {
        must("cannot ask a queue for its depth", self.ask_depth(queue).await)
    }

    async fn ask_depth(&self, queue: &str) -> Result<Option<u32>> {
        const NOT_FOUND: u16 = 404;
        let connection =
            Connection::connect(&self.amqp_url, ConnectionProperties::default()).await?;
        let channel = connection.create_channel().await?;
        let passive = QueueDeclareOptions { passive: true, ..Default::default() };
        let answer = match channel.queue_declare(queue.into(), passive, FieldTable::default()).await
        {
            Ok(found) => Ok(Some(found.message_count())),
            Err(error) => match error.kind() {
                lapin::ErrorKind::ProtocolError(e) if e.get_id() == NOT_FOUND => Ok(None),
                _ => Err(error.into()),
            },
        };
        let _ = connection.close(200, "asked".into()).await;
        answer
    }

    /// The names of all queues.
    ///
    /// # Panics
    /// When the broker does not answer.
    pub async fn queues(&self) -> Vec<String> {
        let answer = self.call("list the queues", Method::GET, &["queues", &self.name], None).await;
        names_in(answer.as_ref())
    }

    /// Deletes a queue under its consumers.
    ///
    /// # Panics
    /// When the broker does not answer.
    pub async fn delete_queue(&self, queue: &str) {
        self.call("delete a queue", Method::DELETE, &["queues", &self.name, queue], None).await;
    }

    /// Takes away the binding of a queue to a topic exchange by a routing key.
    ///
    /// # Panics
    /// When the broker does not answer, or there was no such binding.
    pub async fn unbind(&self, exchange: &str, queue: &str, routing_key: &str) {
        // The broker names a binding without arguments by its escaped routing key.
        let key = routing_key.replace('%', "%25").replace('~', "%7E").replace('#', "%23");
        let key = if key.is_empty() { "~".to_owned() } else { key };
        let path = ["bindings", &self.name, "e", exchange, "q", queue, &key];
        let gone = self.call("unbind", Method::DELETE, &path, None).await;
        assert!(gone.is_some(), "{queue} was not bound to {exchange} by {routing_key}");
    }

    /// Sets a policy for all queues whose name matches the pattern, such as
    /// `{"max-length": 10, "overflow": "reject-publish"}`. It replaces a policy of the same name.
    /// RabbitMQ 3.10 rejects nothing on a channel that published to the queue before: open a new one.
    ///
    /// # Panics
    /// When the broker does not answer or refuses the policy.
    pub async fn set_policy(&self, policy: &str, pattern: &str, definition: &Value) {
        let body = json!({ "pattern": pattern, "definition": definition, "apply-to": "queues" });
        let path = ["policies", &self.name, policy];
        self.call("set a policy", Method::PUT, &path, Some(body)).await;
    }

    /// Takes a policy away.
    ///
    /// # Panics
    /// When the broker does not answer.
    pub async fn clear_policy(&self, policy: &str) {
        self.call("clear a policy", Method::DELETE, &["policies", &self.name, policy], None).await;
    }

    /// Closes all connections to this vhost from the broker's side and returns how many there were.
    ///
    /// # Panics
    /// When the broker does not answer.
    pub async fn close_all_connections(&self) -> usize {
        let path = ["vhosts", &self.name, "connections"];
        let open =
            names_in(self.call("list the connections", Method::GET, &path, None).await.as_ref());
        for name in &open {
            self.call("close a connection", Method::DELETE, &["connections", name], None).await;
        }
        open.len()
    }

    async fn call(
        &self,
        doing: &str,
        method: Method,
        path: &[&str],
        body: Option<Value>,
    ) -> Option<Value> {
        let answer = self.management.call(method, path, body).await;
        must("the broker's management", answer.with_context(|| format!("cannot {doing}")))
    }
}

impl Drop for Vhost {
    fn drop(&mut self) {
        // Fails when the test has ended its own broker, which takes the vhost with it.
        let _ = self.management.delete_blocking(&["vhosts", &self.name]);
    }
}

fn names_in(list: Option<&Value>) -> Vec<String> {
    let entries = list.and_then(Value::as_array).into_iter().flatten();
    entries.filter_map(|entry| Some(entry.get("name")?.as_str()?.to_owned())).collect()
}
