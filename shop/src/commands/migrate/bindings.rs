//! The bindings of a vhost, by RabbitMQ's management API: AMQP has no question for them.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use messaging::transport::rabbitmq::Binding;
use reqwest::{Client, Url};
use serde::Deserialize;

const ANSWER_WITHIN: Duration = Duration::from_secs(10);

#[derive(Deserialize)]
struct Found {
    source: String,
    destination: String,
    destination_type: String,
    routing_key: String,
}

/// All bindings of queues in a vhost; its name is percent-encoded.
///
/// # Errors
/// When the API does not answer, or refuses. The address's password is in no error.
pub(super) async fn all(management_url: &str, vhost: &str) -> anyhow::Result<BTreeSet<Binding>> {
    let mut url = Url::parse(management_url)
        .ok()
        .filter(Url::has_host)
        .context("MANAGEMENT_URL is not of the form http://user:password@host:port")?;
    let (user, password) = (url.username().to_owned(), url.password().map(str::to_owned));
    let bare = url.set_username("").and_then(|()| url.set_password(None));
    ensure!(bare.is_ok(), "MANAGEMENT_URL names no host");
    let path = format!("{}/api/bindings/{vhost}", url.path().trim_end_matches('/'));
    url.set_path(&path);
    let client = Client::builder().no_proxy().timeout(ANSWER_WITHIN).build()?;
    let asked = || format!("the broker's management API at {url} does not answer");
    let request = client.get(url.clone()).basic_auth(&user, password.as_deref());
    let answer = request.send().await.with_context(asked)?;
    let status = answer.status();
    ensure!(status.is_success(), "the broker's management API answers {status} to {url}");
    let body = answer.bytes().await.with_context(asked)?;
    let found: Vec<Found> = serde_json::from_slice(&body)
        .with_context(|| format!("what the broker answers to {url}"))?;
    let of_queues = found.into_iter().filter(|one| one.destination_type == "queue");
    Ok(of_queues
        .map(|one| Binding { exchange: one.source, key: one.routing_key, queue: one.destination })
        .collect())
}
