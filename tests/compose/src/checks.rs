//! What must be so of orders that went well, seen from outside.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde_json::Value;

use crate::api::Api;
use crate::docker::Compose;
use crate::patience::until;

const SERVICES: [&str; 5] = ["order", "inventory", "payment", "email", "audit"];
/// The last thing to happen: audit hears of the mail.
const LAST: &str = "process events:email.sent.v1:audit.in";
const ORDERS: usize = 10;
const SOON: Duration = Duration::from_secs(30);

/// Places one order and waits for its whole trace.
///
/// # Errors
/// When it does not come to that.
pub(crate) async fn first_trace(api: &Api) -> anyhow::Result<()> {
    let order = api.place("first", "first@example.com").await?;
    whole(api, &order).await
}

/// Places orders and follows each to its end: trace, mail, queues, invariants.
///
/// # Errors
/// What is not so.
pub(crate) async fn orders(compose: &Compose, api: &Api) -> anyhow::Result<()> {
    let address = "ten@example.com";
    let mut placed = Vec::new();
    for number in 0..ORDERS {
        placed.push(api.place(&format!("ten-{number}"), address).await?);
    }
    for order in &placed {
        whole(api, order).await?;
    }
    until("a mail for each order", SOON, async || {
        let mails = api.mails_to(address).await?;
        ensure!(mails == ORDERS as u64, "{mails} mails for {ORDERS} orders");
        anyhow::Ok(())
    })
    .await?;
    empty(api).await?;
    verified(compose).await
}

async fn whole(api: &Api, order: &str) -> anyhow::Result<()> {
    until("an order is confirmed", SOON, async || api.confirmed(order).await.map(drop)).await?;
    let trace = api.confirmed(order).await?;
    until("a trace is whole", SOON, async || connected(&api.trace(&trace).await?)).await?;
    Ok(())
}

/// Whether a trace goes through every service, and every parent is there.
fn connected(trace: &Value) -> anyhow::Result<()> {
    let spans = trace["spans"].as_array().context("no spans")?;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let ids: BTreeSet<String> = spans.iter().map(|span| text(&span["spanID"])).collect();
    let service = |span: &Value| {
        let process = span["processID"].as_str().unwrap_or_default();
        text(&trace["processes"][process]["serviceName"])
    };
    let services: BTreeSet<String> = spans.iter().map(service).collect();
    for wanted in SERVICES {
        ensure!(services.contains(wanted), "no span of {wanted} among {services:?}");
    }
    ensure!(spans.iter().any(|span| span["operationName"] == LAST), "no span `{LAST}`");
    let mut roots = 0;
    for span in spans {
        let references = span["references"].as_array().map(Vec::as_slice).unwrap_or_default();
        let parent = references.iter().find(|reference| reference["refType"] == "CHILD_OF");
        match parent.map(|parent| text(&parent["spanID"])) {
            None => roots += 1,
            Some(parent) => {
                let name = &span["operationName"];
                ensure!(ids.contains(&parent), "the parent of {name} is missing");
            }
        }
    }
    ensure!(roots == 1, "{roots} roots");
    Ok(())
}

/// Waits until no queue holds a message.
///
/// # Errors
/// When one still does.
pub(crate) async fn empty(api: &Api) -> anyhow::Result<()> {
    until("all queues are empty", SOON, async || {
        let queues = api.queues().await?;
        ensure!(!queues.is_empty(), "there are no queues");
        let full: Vec<_> = queues.into_iter().filter(|(_, messages)| *messages > 0).collect();
        ensure!(full.is_empty(), "messages wait: {full:?}");
        anyhow::Ok(())
    })
    .await
    .map(drop)
}

/// Whether `shop verify` finds nothing wrong.
///
/// # Errors
/// What it finds.
pub(crate) async fn verified(compose: &Compose) -> anyhow::Result<()> {
    compose.shop(&["verify", "--settle", "60s"]).await.map(drop)
}

/// Whether the alert rules do what their tests say, and Prometheus finds everything that it asks.
///
/// # Errors
/// What is not so.
pub(crate) async fn prometheus(compose: &Compose, api: &Api) -> anyhow::Result<()> {
    let profile = ["--profile", "observability"];
    let tool = ["run", "--rm", "-T", "--no-deps", "--entrypoint", "promtool", "prometheus"];
    let folder = "/etc/prometheus";
    let config = format!("{folder}/prometheus.yml");
    compose.run(&[&profile[..], &tool, &["check", "config", &config]].concat()).await?;
    let tests = format!("{folder}/alerts_test.yml");
    compose.run(&[&profile[..], &tool, &["test", "rules", &tests]].concat()).await?;
    let up = ["up", "-d", "--no-build", "--no-deps", "prometheus"];
    compose.run(&[&profile[..], &up].concat()).await?;
    until("prometheus finds all services and the broker", SOON, async || {
        let up = api.scraped().await?;
        for wanted in SERVICES.iter().chain(&["rabbitmq"]) {
            ensure!(up.iter().any(|url| url.contains(wanted)), "no {wanted} among {up:?}");
        }
        anyhow::Ok(())
    })
    .await?;
    compose.run(&[&profile[..], &["rm", "-sf", "prometheus"]].concat()).await.map(drop)
}
