//! A client of server-sent events.

use reqwest::Response;
use serde_json::Value;
use testkit::eventually;
use tokio::time::timeout;

use crate::world::{SOON, World};

/// One event.
#[derive(Debug, Clone, PartialEq)]
pub struct Told {
    pub id: i64,
    pub data: Value,
}

/// A stream that is being read.
pub struct Stream {
    answer: Response,
    text: String,
}

impl Stream {
    /// Opens a stream of the n-th replica of order, behind the event `last_id` if one is given.
    pub async fn open(world: &World, n: usize, path: &str, last_id: Option<i64>) -> Self {
        let url = world.url_of("order", n, path);
        // A process that has only just started asks for patience.
        let answer = eventually(SOON, || async {
            let mut request = world.http.get(&url).header("accept", "text/event-stream");
            if let Some(id) = last_id {
                request = request.header("last-event-id", id.to_string());
            }
            let answer = request.send().await.unwrap();
            if answer.status() == 503 { Err(answer.status()) } else { Ok(answer) }
        })
        .await;
        assert_eq!(answer.status(), 200, "{path}");
        Self { answer, text: String::new() }
    }

    /// The next event; none when the stream is over, or its server gone.
    pub async fn next(&mut self) -> Option<Told> {
        loop {
            while let Some((block, rest)) = self.text.split_once("\n\n") {
                let told = event(block);
                self.text = rest.to_owned();
                if told.is_some() {
                    return told;
                }
            }
            let chunk = timeout(SOON, self.answer.chunk()).await.expect("something is told");
            self.text += std::str::from_utf8(&chunk.ok()??).unwrap();
        }
    }

    /// All that comes, up to the event `last`, or to the end.
    pub async fn until(&mut self, last: i64) -> Vec<Told> {
        let mut all = Vec::new();
        while all.last().is_none_or(|told: &Told| told.id < last) {
            match self.next().await {
                Some(told) => all.push(told),
                None => break,
            }
        }
        all
    }
}

/// None for a comment.
fn event(block: &str) -> Option<Told> {
    let field = |name: &str| block.lines().find_map(|line| line.strip_prefix(name));
    let (id, data) = (field("id: ")?, field("data: ")?);
    Some(Told { id: id.parse().unwrap(), data: serde_json::from_str(data).unwrap() })
}
