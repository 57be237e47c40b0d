//! Orders that flow while something breaks.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde_json::Value;
use tokio::process::Child;

use crate::api::Api;
use crate::docker::Compose;
use crate::engine;
use crate::patience::until;

const RATE: u64 = 10;
/// Of all endings that a payment can come to.
const PAY: &str = "pm_ok:7,pm_declined:1,pm_insufficient_funds:1,pm_flaky:1";

/// A `shop load` that runs beside the system.
pub(crate) struct Load {
    child: Child,
}

impl Load {
    /// Starts one that places orders for that time, and waits for the first of them.
    ///
    /// # Errors
    /// When none is placed.
    pub(crate) async fn start(
        compose: &Compose,
        api: &Api,
        time: Duration,
    ) -> anyhow::Result<Self> {
        let before = api.newest().await?;
        let (rate, limit) = (RATE.to_string(), (RATE * time.as_secs()).to_string());
        let run = ["--profile", "tools", "run", "--rm", "-T", "--no-deps", "shop", "load"];
        let how = ["--rate", &rate, "--limit", &limit, "--pay", PAY, "--wait", "3m", "-o", "json"];
        let child = compose.command(&[&run[..], &how].concat()).spawn()?;
        until("the load begins", Duration::from_secs(30), async || {
            ensure!(api.newest().await? != before, "no order is placed");
            anyhow::Ok(())
        })
        .await?;
        Ok(Self { child })
    }

    /// Waits until every order has ended; gives how many there were.
    ///
    /// # Errors
    /// When one was lost, or does not end.
    pub(crate) async fn end(self) -> anyhow::Result<u64> {
        let output = self.child.wait_with_output().await;
        let text = engine::outcome(&["compose", "run", "shop", "load"], output)?;
        let report: Value = serde_json::from_str(&text).context("the load's report")?;
        let orders = &report["orders"];
        let none = |field: &str| orders[field].as_array().is_some_and(Vec::is_empty);
        ensure!(none("lost") && none("not_terminal"), "orders are lost or stuck: {orders}");
        orders["accepted"].as_u64().context("no number of accepted orders")
    }
}
