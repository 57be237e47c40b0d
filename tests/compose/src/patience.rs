//! Waiting for conditions.

use std::fmt::Display;
use std::time::{Duration, Instant};

use anyhow::bail;

const PAUSE: Duration = Duration::from_millis(250);

/// Asks until it is so; gives how long that took.
///
/// # Errors
/// When it is not so after `within`, with the last reason.
pub(crate) async fn until<E: Display>(
    what: &str,
    within: Duration,
    mut ask: impl AsyncFnMut() -> Result<(), E>,
) -> anyhow::Result<Duration> {
    let begun = Instant::now();
    loop {
        let Err(reason) = ask().await else { return Ok(begun.elapsed()) };
        if begun.elapsed() >= within {
            bail!("{what}: not within {} s: {reason:#}", within.as_secs());
        }
        tokio::time::sleep(PAUSE).await;
    }
}
