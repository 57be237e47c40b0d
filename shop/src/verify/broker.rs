//! What the broker's queues hold, by its management API.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use reqwest::Client;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::world::Service;

const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// What is read of a queue; all there is to say of one takes kilobytes.
const COLUMNS: &str = "name,messages,messages_ready,messages_unacknowledged,consumers";

/// A virtual host of RabbitMQ, seen through the management API. Its figures are a few seconds old.
#[derive(Debug, Clone)]
pub struct Broker(Source);

/// Where its figures come from.
#[derive(Debug, Clone)]
enum Source {
    Api { base: String, user: String, password: String, vhost: String },
    Idle,
}

/// What a queue holds, and how many take from it. The broker leaves figures out for a moment after
/// the queue was declared.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(crate) struct Depth {
    /// All messages, those that a consumer holds included.
    pub(crate) messages: u64,
    /// Messages that wait for a consumer.
    #[serde(rename = "messages_ready")]
    pub(crate) ready: u64,
    /// Messages that a consumer holds.
    #[serde(rename = "messages_unacknowledged")]
    pub(crate) unacked: u64,
    /// Those who take from it.
    pub(crate) consumers: u64,
}

/// The queues of a virtual host by their names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Depths(BTreeMap<String, Depth>);

/// What the queues hold, and what was lost before it came to one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Queues {
    depths: Depths,
    /// Messages that no queue wanted and nobody was told of.
    pub(crate) dropped: u64,
}

#[derive(Deserialize)]
struct Queue {
    name: String,
    #[serde(flatten)]
    depth: Depth,
}

#[derive(Deserialize)]
struct Vhost {
    #[serde(default)]
    message_stats: Stats,
}

#[derive(Default, Deserialize)]
struct Stats {
    #[serde(default)]
    drop_unroutable: u64,
}

impl Broker {
    /// The virtual host at a management address `http://user:password@host:port`.
    ///
    /// # Errors
    /// When the address has another form. It is not part of the error: it holds a password.
    pub fn new(management_url: &str, vhost: &str) -> anyhow::Result<Self> {
        let parts =
            management_url.trim_end_matches('/').split_once("://").and_then(|(scheme, rest)| {
                let (login, host) = rest.rsplit_once('@')?;
                let (user, password) = login.split_once(':')?;
                Some((format!("{scheme}://{host}"), user, password))
            });
        let (base, user, password) = parts
            .context("the management address is not of the form http://user:password@host:port")?;
        let (user, password) = (user.to_owned(), password.to_owned());
        Ok(Self(Source::Api { base, user, password, vhost: vhost.to_owned() }))
    }

    /// One that holds nothing, for whoever has seen that without a management API.
    #[must_use]
    pub fn idle() -> Self {
        Self(Source::Idle)
    }

    /// What the queues hold now, as far as the management API knows.
    pub(crate) async fn queues(&self) -> anyhow::Result<Queues> {
        let Source::Api { vhost, .. } = &self.0 else { return Ok(Queues::default()) };
        let depths = self.depths().await?;
        let host: Vhost = self.get(&format!("/api/vhosts/{}", escaped(vhost))).await?;
        Ok(Queues { depths, dropped: host.message_stats.drop_unroutable })
    }

    /// Every queue, as far as the management API knows.
    pub(crate) async fn depths(&self) -> anyhow::Result<Depths> {
        let Source::Api { vhost, .. } = &self.0 else { return Ok(Depths::default()) };
        let path = format!("/api/queues/{}?columns={COLUMNS}", escaped(vhost));
        let queues: Vec<Queue> = self.get(&path).await?;
        Ok(Depths(queues.into_iter().map(|queue| (queue.name, queue.depth)).collect()))
    }

    async fn get<T: DeserializeOwned>(&self, path: &str) -> anyhow::Result<T> {
        let Source::Api { base, user, password, .. } = &self.0 else {
            anyhow::bail!("there is no management API");
        };
        let client = Client::builder().no_proxy().timeout(ANSWER_WITHIN).build()?;
        let request = client.get(format!("{base}{path}")).basic_auth(user, Some(password));
        let asked = || format!("the broker's management API at {base} does not answer");
        let answer = request.send().await.with_context(asked)?;
        let status = answer.status();
        let asked_for = path.split('?').next().unwrap_or(path);
        ensure!(status.is_success(), "the broker's management API answers {status} to {asked_for}");
        let body = answer.bytes().await.with_context(asked)?;
        serde_json::from_slice(&body).with_context(|| format!("what the broker answers to {path}"))
    }
}

impl Depths {
    /// The queue that a service takes its messages from, if there is one.
    pub(crate) fn work(&self, service: &str) -> Option<Depth> {
        self.0.get(&format!("{service}.in")).copied()
    }

    /// Messages on the rungs of a service's retry ladder, those of earlier versions included.
    pub(crate) fn retry(&self, service: &str) -> u64 {
        let rung = format!("{service}.retry.");
        let rungs = self.0.iter().filter(|(name, _)| name.starts_with(&rung));
        rungs.map(|(_, depth)| depth.messages).sum()
    }

    /// Messages on their way from a service's dead-letter queue into its table.
    pub(crate) fn dead(&self, service: &str) -> Option<u64> {
        self.0.get(&format!("{service}.dlq")).map(|depth| depth.messages)
    }
}

impl Queues {
    /// Messages that wait for a service: in its queue, and on the rungs of its retry ladder.
    pub(crate) fn waiting(&self, service: Service) -> u64 {
        let work = self.depths.work(service.name()).unwrap_or_default();
        work.messages + self.depths.retry(service.name())
    }

    /// Messages on their way from a service's dead-letter queue into its table.
    pub(crate) fn parked(&self, service: Service) -> u64 {
        self.depths.dead(service.name()).unwrap_or_default()
    }

    /// A queue that holds something, with how much.
    pub(crate) fn first_busy(&self) -> Option<(&str, u64)> {
        let busy = self.depths.0.iter().find(|(_, depth)| depth.messages > 0);
        busy.map(|(name, depth)| (name.as_str(), depth.messages))
    }
}

/// Percent-encodes everything but the characters that never mean anything in a path.
fn escaped(segment: &str) -> String {
    segment.bytes().fold(String::new(), |mut text, byte| {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            text.push(char::from(byte));
        } else {
            text += &format!("%{byte:02X}");
        }
        text
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn messages_are_counted_by_what_they_wait_for() {
        let queues = [
            ("order.in", 2),
            ("order.retry.1s", 3),
            ("order.retry.10m", 4),
            ("order.dlq", 5),
            ("order.input", 100),
        ];
        let holding = |messages| Depth { messages, ..Depth::default() };
        let depths = queues.into_iter().map(|(name, count)| (name.to_owned(), holding(count)));
        let queues = Queues { depths: Depths(depths.collect()), dropped: 0 };
        assert_eq!((queues.waiting(Service::Order), queues.parked(Service::Order)), (9, 5));
        assert_eq!((queues.waiting(Service::Email), queues.parked(Service::Email)), (0, 0));
        assert_eq!(queues.first_busy(), Some(("order.dlq", 5)));
    }

    #[test]
    fn a_queue_that_was_declared_a_moment_ago_is_empty() {
        let text = r#"[{"name": "order.in"}, {"name": "email.in", "messages": 3,
            "messages_ready": 1, "messages_unacknowledged": 2, "consumers": 4}]"#;
        let read: Vec<Queue> = serde_json::from_str(text).unwrap();
        let depths: Vec<Depth> = read.into_iter().map(|queue| queue.depth).collect();
        let full = Depth { messages: 3, ready: 1, unacked: 2, consumers: 4 };
        assert_eq!(depths, [Depth::default(), full]);
    }

    #[test]
    fn an_address_without_a_login_is_refused_and_not_repeated() {
        let error = Broker::new("http://127.0.0.1:15672", "shop").unwrap_err().to_string();
        assert!(!error.contains("15672"), "{error}");
        let Broker(Source::Api { base, user, .. }) = Broker::new("http://a:b@h:1/", "/").unwrap()
        else {
            unreachable!("it was made of an address");
        };
        assert_eq!((base.as_str(), user.as_str()), ("http://h:1", "a"));
        assert_eq!(escaped("/"), "%2F");
    }
}
