//! What the broker's queues hold, by its management API.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use reqwest::Client;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::world::Service;

const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// A virtual host of RabbitMQ, seen through the management API. Its figures are a few seconds old.
#[derive(Debug, Clone)]
pub struct Broker {
    base: String,
    user: String,
    password: String,
    vhost: String,
}

/// Messages in queues, those that a consumer holds included.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Queues {
    messages: BTreeMap<String, u64>,
    /// Messages that no queue wanted and nobody was told of.
    pub(crate) dropped: u64,
}

#[derive(Deserialize)]
struct Queue {
    name: String,
    /// Absent for a moment after the queue was declared.
    #[serde(default)]
    messages: u64,
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
        Ok(Self { base, user, password, vhost: vhost.to_owned() })
    }

    /// What the queues hold now, as far as the management API knows.
    pub(crate) async fn queues(&self) -> anyhow::Result<Queues> {
        let vhost = escaped(&self.vhost);
        let queues: Vec<Queue> = self.get(&format!("/api/queues/{vhost}")).await?;
        let host: Vhost = self.get(&format!("/api/vhosts/{vhost}")).await?;
        Ok(Queues {
            messages: queues.into_iter().map(|queue| (queue.name, queue.messages)).collect(),
            dropped: host.message_stats.drop_unroutable,
        })
    }

    async fn get<T: DeserializeOwned>(&self, path: &str) -> anyhow::Result<T> {
        let client = Client::builder().no_proxy().timeout(ANSWER_WITHIN).build()?;
        let request = client.get(format!("{}{path}", self.base));
        let request = request.basic_auth(&self.user, Some(&self.password));
        let asked = || format!("the broker's management API at {} does not answer", self.base);
        let answer = request.send().await.with_context(asked)?;
        let status = answer.status();
        ensure!(status.is_success(), "the broker's management API answers {status} to {path}");
        let body = answer.bytes().await.with_context(asked)?;
        serde_json::from_slice(&body).with_context(|| format!("what the broker answers to {path}"))
    }
}

impl Queues {
    /// Messages that wait for a service: in its queue, and on the rungs of its retry ladder.
    pub(crate) fn waiting(&self, service: Service) -> u64 {
        let work = format!("{service}.in");
        let retry = format!("{service}.retry.");
        let wait = |name: &str| name == work || name.starts_with(&retry);
        self.messages.iter().filter(|(name, _)| wait(name)).map(|(_, count)| count).sum()
    }

    /// Messages on their way from a service's dead-letter queue into its table.
    pub(crate) fn parked(&self, service: Service) -> u64 {
        self.messages.get(&format!("{service}.dlq")).copied().unwrap_or_default()
    }

    /// A queue that holds something, with how much.
    pub(crate) fn first_busy(&self) -> Option<(&str, u64)> {
        let busy = self.messages.iter().find(|(_, count)| **count > 0);
        busy.map(|(name, count)| (name.as_str(), *count))
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
        let messages = queues.into_iter().map(|(name, count)| (name.to_owned(), count)).collect();
        let queues = Queues { messages, dropped: 0 };
        assert_eq!((queues.waiting(Service::Order), queues.parked(Service::Order)), (9, 5));
        assert_eq!((queues.waiting(Service::Email), queues.parked(Service::Email)), (0, 0));
        assert_eq!(queues.first_busy(), Some(("order.dlq", 5)));
    }

    #[test]
    fn an_address_without_a_login_is_refused_and_not_repeated() {
        let error = Broker::new("http://127.0.0.1:15672", "shop").unwrap_err().to_string();
        assert!(!error.contains("15672"), "{error}");
        let broker = Broker::new("http://a:b@h:1/", "/").unwrap();
        assert_eq!((broker.base.as_str(), broker.user.as_str()), ("http://h:1", "a"));
        assert_eq!(escaped("/"), "%2F");
    }
}
