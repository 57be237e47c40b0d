//! Short HTTP questions to what runs on this machine.

use std::error::Error;
use std::fmt::Write as _;
use std::time::Duration;

use reqwest::{Client, redirect};
use serde_json::Value;

/// What something says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Readiness {
    /// It can work.
    Ready,
    /// It cannot, and why, as far as it says.
    NotReady(String),
    /// It does not answer, and what came instead.
    Away(String),
}

/// Asks whether something is ready.
#[derive(Debug, Clone)]
pub(crate) struct Probe {
    client: Client,
}

impl Probe {
    /// A probe that gives up after `timeout`, follows no redirect and uses no proxy.
    ///
    /// # Errors
    /// When the HTTP client cannot be made.
    pub(crate) fn new(timeout: Duration) -> anyhow::Result<Self> {
        let client = Client::builder()
            .timeout(timeout)
            .connect_timeout(timeout)
            .no_proxy()
            // A server may close what is idle just when it is asked again, and would seem to be away.
            .pool_max_idle_per_host(0)
            .redirect(redirect::Policy::none())
            .build()?;
        Ok(Self { client })
    }

    /// Whether `url` answers with success.
    ///
    /// # Errors
    /// Why not, in words: with the reason of each dependency where the answer names them.
    pub(crate) async fn ready(&self, url: &str) -> Result<(), String> {
        match self.readiness(url).await {
            Readiness::Ready => Ok(()),
            Readiness::NotReady(why) | Readiness::Away(why) => Err(why),
        }
    }

    /// What `url` answers of itself.
    pub(crate) async fn readiness(&self, url: &str) -> Readiness {
        let answer = match self.client.get(url).send().await {
            Ok(answer) => answer,
            Err(error) => return Readiness::Away(in_short(&error)),
        };
        let status = answer.status();
        if status.is_success() {
            return Readiness::Ready;
        }
        let reasons = answer.json().await.map(|body| reasons(&body)).unwrap_or_default();
        Readiness::NotReady(if reasons.is_empty() { format!("answers {status}") } else { reasons })
    }

    /// The body of `GET url`, when it answers with success.
    pub(crate) async fn text(&self, url: &str) -> Option<String> {
        let answer = self.client.get(url).send().await.ok()?;
        answer.error_for_status().ok()?.text().await.ok()
    }
}

/// The client's own text repeats the address in every line; the reason is at the bottom of it.
fn in_short(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        "no answer in time".to_owned()
    } else if error.is_connect() {
        "not listening".to_owned()
    } else {
        let mut cause: &dyn Error = error;
        while let Some(deeper) = cause.source() {
            cause = deeper;
        }
        cause.to_string()
    }
}

/// `rabbitmq: not connected; postgres: ...` from the body of `/health/ready`.
fn reasons(body: &Value) -> String {
    let mut text = String::new();
    let dependencies = body.get("dependencies").and_then(Value::as_object);
    for (name, dependency) in dependencies.into_iter().flatten() {
        if dependency["status"] != "up" {
            let reason = dependency["reason"].as_str().unwrap_or("down");
            let separator = if text.is_empty() { "" } else { "; " };
            let _ = write!(text, "{separator}{name}: {reason}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_down_is_named() {
        let body = serde_json::json!({ "dependencies": {
            "postgres": { "status": "up" },
            "rabbitmq": { "status": "down", "reason": "no connection" },
        }});
        assert_eq!(reasons(&body), "rabbitmq: no connection");
    }
}
