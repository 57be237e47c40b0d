//! One client's stream.
//!
//! Format: <https://html.spec.whatwg.org/multipage/server-sent-events.html>.

use std::convert::Infallible;
use std::sync::Arc;
use std::vec;

use axum::body::{Body, Bytes};
use axum::response::{IntoResponse as _, Response};
use futures_util::stream;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use metrics::gauge;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};
use tokio_util::sync::CancellationToken;

use super::{Changes, Feed, Line, Live};

/// What streams are sent as.
pub const MEDIA_TYPE: &str = "text/event-stream";

/// Changes that a stream holds at a time while it reads what has been.
const PAGE: i64 = 32;
const COMMENT: &[u8] = b":\n\n";

/// What a stream tells of a change.
#[derive(Debug, Clone, Copy)]
pub struct Told {
    /// What kind of event it is.
    pub event: &'static str,
    /// Its id in this stream: above those before it.
    pub id: i64,
    /// Whether it is the stream's last.
    pub ends: bool,
}

/// A stream that begins.
pub struct Stream<C: Changes, T> {
    feed: Feed<C>,
    tell: T,
    /// The id of the last event that was sent.
    seen: i64,
    past: vec::IntoIter<Arc<Line<C>>>,
    /// None while there is more in the database.
    live: Option<Live<C>>,
    /// Whether what has been is read from the whole sequence, page by page.
    of_all: bool,
    heartbeat: Interval,
    stop: CancellationToken,
    over: bool,
    _counted: Counted,
}

/// One of the streams that are open, for as long as it lives.
struct Counted;

impl Counted {
    fn new() -> Self {
        gauge!("streams_open").increment(1.0);
        Self
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        gauge!("streams_open").decrement(1.0);
    }
}

impl<C, T> Stream<C, T>
where
    C: Changes,
    T: Fn(&C::Change) -> Option<Told> + Send + 'static,
{
    fn new(feed: &Feed<C>, seen: i64, of_all: bool, tell: T, stop: CancellationToken) -> Self {
        let period = feed.0.heartbeat;
        let mut heartbeat = interval_at(Instant::now() + period, period);
        heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (feed, past, live) = (feed.clone(), Vec::new().into_iter(), None);
        let (over, _counted) = (false, Counted::new());
        Self { feed, tell, seen, past, live, of_all, heartbeat, stop, over, _counted }
    }

    /// Everything that `tell` makes of all changes, from the one behind `seen` on (all, where there is
    /// no such change yet). Its ids are the changes' numbers.
    ///
    /// # Errors
    /// What has been cannot be read.
    pub async fn of_all(
        feed: &Feed<C>,
        seen: Option<i64>,
        tell: T,
        stop: CancellationToken,
    ) -> anyhow::Result<Response> {
        let seen = match seen {
            None => 0,
            Some(id) => {
                let last = feed.0.changes.last().await?;
                if id <= last { id } else { 0 }
            }
        };
        let mut stream = Self::new(feed, seen, true, tell, stop);
        stream.look_back().await?;
        Ok(stream.answer())
    }

    /// A stream of some changes only, whose past `read` finds and whose ids are its own: everything
    /// behind `seen` (all, where it is no id of that past). None when it has no past. The flag says
    /// that `seen` was its end.
    ///
    /// # Errors
    /// What has been cannot be read.
    pub async fn of_some(
        feed: &Feed<C>,
        seen: Option<i64>,
        read: impl Future<Output = anyhow::Result<Vec<C::Change>>>,
        tell: T,
        stop: CancellationToken,
    ) -> anyhow::Result<Option<(Response, bool)>> {
        // Before the look, so that nothing falls between the two.
        let live = feed.subscribe();
        let past = feed.read(read).await?;
        let Some(last) = past.last().and_then(|last| tell(&last.change)) else { return Ok(None) };
        let (ends, last) = (last.ends, last.id);
        let seen = seen.filter(|id| *id <= last).unwrap_or_default();
        let mut stream = Self::new(feed, seen, false, tell, stop);
        stream.live = if ends { None } else { Some(live?) };
        stream.past = past.into_iter();
        Ok(Some((stream.answer(), ends && seen == last)))
    }

    fn answer(self) -> Response {
        let events = stream::unfold(self, |mut stream| async move {
            let event = stream.next().await?;
            Some((Ok::<_, Infallible>(event), stream))
        });
        let headers = [(CONTENT_TYPE, MEDIA_TYPE), (CACHE_CONTROL, "no-store")];
        (headers, Body::from_stream(events)).into_response()
    }

    /// What goes to the client next; nothing when the stream is over.
    async fn next(&mut self) -> Option<Bytes> {
        while !self.over && !self.stop.is_cancelled() {
            if let Some(change) = self.past.next() {
                match self.event(&change) {
                    Some(event) => return Some(event),
                    None => continue,
                }
            }
            let Some(live) = &mut self.live else {
                if !self.of_all {
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
                    let event = self.event(&*change.ok()?);
                    if event.is_some() {
                        return event;
                    }
                }
            }
        }
        None
    }

    /// The next page of what has been. The last one is read after the stream went live, so that nothing
    /// falls between the two.
    async fn look_back(&mut self) -> anyhow::Result<()> {
        let live = self.feed.subscribe()?;
        let page = self.feed.read(self.feed.0.changes.after(self.seen, PAGE)).await?;
        self.live = ((page.len() as i64) < PAGE).then_some(live);
        self.past = page.into_iter();
        Ok(())
    }

    /// None for what is not this client's, or was sent before.
    fn event(&mut self, line: &Line<C>) -> Option<Bytes> {
        let Told { event, id, ends } = (self.tell)(&line.change)?;
        if id <= self.seen {
            return None;
        }
        let data = &line.data;
        let text = format!("event: {event}\nid: {id}\ndata: {data}\n\n");
        (self.seen, self.over) = (id, ends);
        Some(text.into())
    }
}
