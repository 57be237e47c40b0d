//! What becomes of orders, as the stream `GET /orders/events` tells it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use anyhow::{Context as _, bail};
use reqwest::Client;
use serde::Deserialize;
use shop::verify::Service;
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use uuid::Uuid;

use super::World;

/// How an order ended, and when we were told.
#[derive(Debug, Clone)]
pub(crate) struct Ended {
    pub(crate) status: String,
    pub(crate) at: Instant,
}

/// Orders that somebody waits for, and those that ended before anybody did.
#[derive(Debug, Default)]
struct Known {
    waiting: HashMap<Uuid, oneshot::Sender<Ended>>,
    ended: HashMap<Uuid, Ended>,
    /// Why nothing more comes.
    over: Option<String>,
}

/// Watches until it is dropped.
#[derive(Debug)]
pub(crate) struct Watch {
    known: Arc<Mutex<Known>>,
    _watching: JoinSet<()>,
}

#[derive(Deserialize)]
struct Change {
    order_id: Uuid,
    status: String,
}

impl Watch {
    /// Watches the orders that are placed from now on.
    ///
    /// # Errors
    /// When there is no stream.
    pub(crate) async fn on(world: &World) -> anyhow::Result<Self> {
        let last = "select coalesce(max(feed), 0) from order_history";
        let last = world.count(Service::Order, last).await?;
        let url = format!("{}/orders/events", world.url(Service::Order));
        // Without the time-out of requests: it never ends by itself.
        let client = Client::builder().no_proxy().build()?;
        let known = Arc::<Mutex<Known>>::default();
        let mut stream = Stream { client, url, last, known: known.clone() };
        let first = stream.open().await?;
        let mut watching = JoinSet::new();
        watching.spawn(async move {
            let why = stream.follow(first).await;
            let mut known = lock(&stream.known);
            known.over = Some(format!("{why:#}"));
            // Whoever waits is told by the end of his channel.
            known.waiting.clear();
        });
        Ok(Self { known, _watching: watching })
    }

    /// Waits for the end of an order.
    ///
    /// # Errors
    /// When the stream ends.
    pub(crate) async fn end_of(&self, order: Uuid) -> anyhow::Result<Ended> {
        let receiver = {
            let mut known = lock(&self.known);
            if let Some(ended) = known.ended.remove(&order) {
                return Ok(ended);
            }
            if let Some(why) = &known.over {
                bail!("the stream of orders is over: {why}");
            }
            let (sender, receiver) = oneshot::channel();
            known.waiting.insert(order, sender);
            receiver
        };
        receiver.await.context("the stream of orders is over")
    }
}

struct Stream {
    client: Client,
    url: String,
    /// The number of the last change that was heard.
    last: i64,
    known: Arc<Mutex<Known>>,
}

impl Stream {
    async fn open(&self) -> anyhow::Result<reqwest::Response> {
        let request = self.client.get(&self.url);
        // Without it everything that ever happened comes first.
        let request = if self.last > 0 {
            request.header("Last-Event-ID", self.last.to_string())
        } else {
            request
        };
        Ok(request.send().await?.error_for_status()?)
    }

    /// A stream that falls behind is ended by the service: then it goes on where it was. Ends only
    /// with an error.
    async fn follow(&mut self, mut answer: reqwest::Response) -> anyhow::Error {
        loop {
            let mut rest = Vec::new();
            while let Ok(Some(piece)) = answer.chunk().await {
                let at = Instant::now();
                rest.extend_from_slice(&piece);
                while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
                    let line: Vec<u8> = rest.drain(..=end).collect();
                    if let Err(error) = self.hear(&line, at) {
                        return error;
                    }
                }
            }
            answer = match self.open().await {
                Ok(answer) => answer,
                Err(error) => return error,
            };
        }
    }

    fn hear(&mut self, line: &[u8], at: Instant) -> anyhow::Result<()> {
        let line = std::str::from_utf8(line)?.trim_end();
        if let Some(id) = line.strip_prefix("id: ") {
            self.last = id.parse()?;
        }
        let Some(data) = line.strip_prefix("data: ") else { return Ok(()) };
        let Change { order_id, status } = serde_json::from_str(data)?;
        if status == "pending" {
            return Ok(());
        }
        let mut known = lock(&self.known);
        let ended = Ended { status, at };
        match known.waiting.remove(&order_id) {
            // Whoever has given up waiting does not miss it.
            Some(waiting) => drop(waiting.send(ended)),
            None => drop(known.ended.insert(order_id, ended)),
        }
        Ok(())
    }
}

fn lock(known: &Mutex<Known>) -> MutexGuard<'_, Known> {
    known.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream() -> (Watch, Stream) {
        let known = Arc::<Mutex<Known>>::default();
        let watch = Watch { known: known.clone(), _watching: JoinSet::new() };
        (watch, Stream { client: Client::new(), url: String::new(), last: 0, known })
    }

    #[tokio::test]
    async fn an_end_is_told_whether_it_comes_before_the_question_or_after() {
        let (watch, mut stream) = stream();
        let (early, late) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let mut hear = |order: Uuid, status: &str| {
            let data = format!("data: {{\"order_id\":\"{order}\",\"status\":\"{status}\"}}\n");
            for line in ["event: status\n", "id: 7\n", &data, "\n", ":\n"] {
                stream.hear(line.as_bytes(), Instant::now()).unwrap();
            }
        };
        hear(early, "pending");
        hear(early, "confirmed");
        assert_eq!(watch.end_of(early).await.unwrap().status, "confirmed");
        let (ended, ()) = tokio::join!(watch.end_of(late), async { hear(late, "cancelled") });
        assert_eq!(ended.unwrap().status, "cancelled");
        assert_eq!(stream.last, 7);
    }

    #[tokio::test]
    async fn who_waits_on_a_stream_that_is_over_is_told() {
        let (watch, stream) = stream();
        lock(&stream.known).over = Some("gone".to_owned());
        let error = watch.end_of(Uuid::nil()).await.unwrap_err().to_string();
        assert!(error.contains("gone"), "{error}");
    }
}
