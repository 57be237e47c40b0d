//! Changes of orders as server-sent events: first what has been, then what happens.
//!
//! Format: <https://html.spec.whatwg.org/multipage/server-sent-events.html>.

use std::convert::Infallible;
use std::sync::Arc;
use std::vec;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use chassis::http::{Path, Stopping};
use chassis::problem::Problem;
use futures_util::stream;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderMap, StatusCode};
use tokio::sync::broadcast;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::feed::Change;
use super::requests::OrderPath;
use crate::App;

/// The changes of all orders.
pub const OF_ALL: &str = "/orders/events";
/// The changes of one order.
pub const OF_ORDER: &str = "/orders/{order_id}/events";
/// What both answer with.
pub const MEDIA_TYPE: &str = "text/event-stream";

/// Changes that a reader holds at a time while it reads what has been.
const PAGE: i64 = 32;
const COMMENT: &[u8] = b":\n\n";

/// Every change of every order, in the sequence that all replicas share.
pub(super) async fn of_all(
    State(app): State<App>,
    Stopping(stop): Stopping,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let seen = match last_event_id(&headers) {
        None => 0,
        Some(id) => {
            let last = app.queries.last_change().await.map_err(Problem::unavailable)?;
            if id <= last { id } else { 0 }
        }
    };
    let mut reader = Reader::new(app, Whose::Everybodys, seen, stop);
    reader.look_back().await.map_err(Problem::unavailable)?;
    Ok(reader.answer())
}

/// Every change of one order, until its last.
pub(super) async fn of_order(
    State(app): State<App>,
    Stopping(stop): Stopping,
    Path(OrderPath { order_id }): Path<OrderPath>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    // Before the look, so that nothing falls between the two.
    let live = app.feed.subscribe();
    let changes = app.feed.read(app.queries.changes_of(order_id)).await;
    let mut changes = changes.map_err(Problem::unavailable)?;
    let last = changes.last().ok_or_else(Problem::not_found)?;
    let seen = last_event_id(&headers).filter(|id| *id <= last.version).unwrap_or_default();
    if last.ends && seen == last.version {
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    let live = if last.ends { None } else { Some(live.ok_or_else(not_begun)?) };
    changes.retain(|change| change.version > seen);
    let mut reader = Reader::new(app, Whose::Of(order_id), seen, stop);
    (reader.past, reader.live) = (changes.into_iter(), live);
    Ok(reader.answer())
}

fn not_begun() -> Problem {
    Problem::unavailable(NotBegun)
}

/// The process has only just started, or has not found its database yet.
#[derive(Debug, thiserror::Error)]
#[error("changes are not followed yet")]
struct NotBegun;

/// None where it cannot be one of ours: then all is told again.
fn last_event_id(headers: &HeaderMap) -> Option<i64> {
    let text = headers.get("last-event-id")?.to_str().ok()?;
    let id: i64 = text.parse().ok()?;
    (id > 0 && id.to_string() == text).then_some(id)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Whose {
    Everybodys,
    Of(Uuid),
}

impl Whose {
    /// The id of a change's event.
    fn id(self, change: &Change) -> i64 {
        match self {
            Self::Everybodys => change.number,
            Self::Of(_) => change.version,
        }
    }
}

/// One client's stream. It asks the database for what has been and never for what happens; what it
/// holds does not grow while the client does not read.
struct Reader {
    app: App,
    whose: Whose,
    /// The id of the last event that was sent.
    seen: i64,
    past: vec::IntoIter<Change>,
    /// None while there is more in the database.
    live: Option<broadcast::Receiver<Arc<Change>>>,
    heartbeat: Interval,
    stop: CancellationToken,
    over: bool,
}

impl Reader {
    fn new(app: App, whose: Whose, seen: i64, stop: CancellationToken) -> Self {
        let period = app.feed.heartbeat();
        let mut heartbeat = interval_at(Instant::now() + period, period);
        heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let past = Vec::new().into_iter();
        Self { app, whose, seen, past, live: None, heartbeat, stop, over: false }
    }

    fn answer(self) -> Response {
        let events = stream::unfold(self, |mut reader| async move {
            let event = reader.next().await?;
            Some((Ok::<_, Infallible>(event), reader))
        });
        let headers = [(CONTENT_TYPE, MEDIA_TYPE), (CACHE_CONTROL, "no-store")];
        (headers, Body::from_stream(events)).into_response()
    }

    /// What goes to the client next; nothing when the stream is over.
    async fn next(&mut self) -> Option<Bytes> {
        while !self.over && !self.stop.is_cancelled() {
            if let Some(change) = self.past.next() {
                return Some(self.event(&change));
            }
            let Some(live) = &mut self.live else {
                if self.whose != Whose::Everybodys {
                    return None;
                }
                // Its state is large, and not needed once the stream is live.
                let looked = Box::pin(self.look_back()).await;
                looked.inspect_err(|error| tracing::debug!(%error, "a stream is given up")).ok()?;
                continue;
            };
            tokio::select! {
                () = self.stop.cancelled() => {}
                _ = self.heartbeat.tick() => return Some(Bytes::from_static(COMMENT)),
                // An error is that others are far ahead: the client comes back and catches up.
                change = live.recv() => {
                    let change = change.ok()?;
                    if self.concerns(&change) {
                        return Some(self.event(&change));
                    }
                }
            }
        }
        None
    }

    /// The next page of what has been in all orders. The last one is read after the stream went live,
    /// so that nothing falls between the two.
    async fn look_back(&mut self) -> anyhow::Result<()> {
        let live = self.app.feed.subscribe().ok_or(NotBegun)?;
        let page = self.app.feed.read(self.app.queries.changes(self.seen, PAGE)).await?;
        self.live = ((page.len() as i64) < PAGE).then_some(live);
        self.past = page.into_iter();
        Ok(())
    }

    fn concerns(&self, change: &Change) -> bool {
        let mine = match self.whose {
            Whose::Everybodys => true,
            Whose::Of(order_id) => change.order_id == order_id,
        };
        mine && self.whose.id(change) > self.seen
    }

    fn event(&mut self, change: &Change) -> Bytes {
        self.seen = self.whose.id(change);
        self.over = self.whose != Whose::Everybodys && change.ends;
        format!("event: status\nid: {}\ndata: {}\n\n", self.seen, change.data).into()
    }
}
