//! RabbitMQ, with the faults that one of its vhosts can have.

use std::time::Duration;

use async_trait::async_trait;
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties};
use messaging::topology::Topology;
use messaging::transport::Transport;
use messaging::transport::conformance::{Bench, NAMESPACE, Raw};
use messaging::transport::rabbitmq::RabbitMq;
use reqwest::Method;
use testkit::{Servers, Vhost, eventually};

const SOON: Duration = Duration::from_secs(20);

pub struct OfRabbitMq {
    vhost: Vhost,
    transport: RabbitMq,
}

impl OfRabbitMq {
    pub async fn new() -> Self {
        let vhost = Vhost::new().await;
        let transport = RabbitMq::new(vhost.amqp_url(), "bench", NAMESPACE);
        Self { vhost, transport }
    }

    /// Does something on a connection of its own, which is closed after it.
    async fn on_channel<T>(&self, work: impl AsyncFnOnce(Channel) -> T) -> T {
        let url = self.vhost.amqp_url();
        let connection = Connection::connect(url, ConnectionProperties::default()).await.unwrap();
        let channel = connection.create_channel().await.unwrap();
        let done = work(channel).await;
        let _ = connection.close(200, "done".into()).await;
        done
    }
}

/// The ports of this process with a connection to the port that `url` names.
fn ports_to(url: &str) -> Vec<u16> {
    let address = url.rsplit('@').next().unwrap();
    let port = address.split(['/', '?']).next().unwrap().rsplit(':').next().unwrap();
    let port: u16 = port.parse().unwrap();
    let files = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
    let sockets: Vec<String> = files
        .filter_map(|file| std::fs::read_link(file.path()).ok())
        .filter_map(|to| Some(to.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned()))
        .collect();
    let port_of = |address: &str| u16::from_str_radix(address.rsplit(':').next()?, 16).ok();
    let table = std::fs::read_to_string("/proc/self/net/tcp").unwrap();
    let open = table.lines().filter_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let (local, remote) = (port_of(fields.get(1)?)?, port_of(fields.get(2)?)?);
        let ours = sockets.iter().any(|socket| fields.get(9) == Some(&socket.as_str()));
        // 01: established.
        (ours && remote == port && fields[3] == "01").then_some(local)
    });
    open.collect()
}

#[async_trait]
impl Bench for OfRabbitMq {
    fn transport(&self) -> &dyn Transport {
        &self.transport
    }

    async fn cut(&self) -> bool {
        // The broker lists a connection some moments after it was made. Other benches have some, too.
        let url = self.vhost.amqp_url();
        let open = ports_to(url);
        let management = Servers::shared().await.management();
        eventually(SOON, || async {
            let listed = management.call(Method::GET, &["connections"], None).await.unwrap();
            let listed = listed.unwrap_or_default();
            let of = |one: &serde_json::Value| one["peer_port"].as_u64();
            let ports: Vec<u64> = listed.as_array().into_iter().flatten().filter_map(of).collect();
            let mut missing = ports_to(url);
            missing.retain(|port| open.contains(port) && !ports.contains(&u64::from(*port)));
            if missing.is_empty() { Ok(()) } else { Err(format!("{missing:?} are not listed")) }
        })
        .await;
        self.vhost.close_all_connections().await > 0
    }

    async fn delete_queue(&self, queue: &str) -> bool {
        self.vhost.delete_queue(queue).await;
        true
    }

    async fn limit(&self, queue: &str, most: Option<usize>) -> bool {
        match most {
            None => self.vhost.clear_policy("limit").await,
            Some(most) => {
                let limit = serde_json::json!({ "max-length": most, "overflow": "reject-publish" });
                self.vhost.set_policy("limit", &format!("^{queue}$"), &limit).await;
            }
        }
        true
    }

    async fn make_different(&self, topology: &Topology) -> bool {
        self.on_channel(async |channel| {
            let options = QueueDeclareOptions { durable: true, ..Default::default() };
            let name = topology.dead_letter_queue();
            let classic = FieldTable::default();
            channel.queue_declare(name.as_str().into(), options, classic).await.unwrap();
        })
        .await;
        true
    }

    #[expect(clippy::disallowed_methods, reason = "it publishes what no service would")]
    async fn put(&self, queue: &str, raw: &Raw) -> bool {
        let mut headers = FieldTable::default();
        for (name, value) in &raw.headers {
            headers.insert(name.as_str().into(), AMQPValue::LongString(value.as_str().into()));
        }
        let mut properties = BasicProperties::default().with_delivery_mode(2).with_headers(headers);
        if let Some(value) = &raw.properties.content_type {
            properties = properties.with_content_type(value.as_str().into());
        }
        if let Some(value) = &raw.properties.message_id {
            properties = properties.with_message_id(value.as_str().into());
        }
        if let Some(value) = &raw.properties.type_name {
            properties = properties.with_type(value.as_str().into());
        }
        self.on_channel(async |channel| {
            channel.confirm_select(ConfirmSelectOptions::default()).await.unwrap();
            let options = BasicPublishOptions { mandatory: true, ..Default::default() };
            let sent =
                channel.basic_publish("".into(), queue.into(), options, &raw.body, properties);
            let confirm = sent.await.unwrap().await.unwrap();
            confirm.is_ack() && confirm.take_message().is_none()
        })
        .await
    }
}
