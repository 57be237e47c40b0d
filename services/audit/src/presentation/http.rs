//! The HTTP API: all of it reads.

use axum::extract::State;
use axum::response::Response;
use chassis::http::openapi::{About, Describe as _, Operation};
use chassis::http::routing::get_with;
use chassis::http::{Api, ApiRouter, Id, Json, Path, Query, Stopping};
use chassis::problem::Problem;
use feed::{MEDIA_TYPE, Stream, Told, last_event_id};
use http::{HeaderMap, StatusCode};

use super::answers::{EventBody, EventsPage, TimelineBody};
use super::feed::EVENT;
use super::requests::{EventsQuery, OrderPath};
use crate::App;
use crate::application::timeline::timeline;
use crate::application::views::EventView;

const STREAM: &str = "/events/stream";
const ABOUT: About =
    About { title: "audit", description: "Every event that was ever published, as it was signed." };

/// The API: all of it reads.
pub fn api() -> Api<App> {
    let routes = ApiRouter::new()
        .api_route("/orders/{order_id}/timeline", get_with(get_timeline, describe_timeline))
        .api_route("/events", get_with(list_events, describe_events))
        .api_route(STREAM, get_with(stream_events, describe_stream));
    Api::new(routes).about(ABOUT).produces(STREAM, MEDIA_TYPE)
}

async fn get_timeline(
    State(app): State<App>,
    Path(OrderPath { order_id: Id(order_id) }): Path<OrderPath>,
) -> Result<Json<TimelineBody>, Problem> {
    let events = app.queries.correlated(order_id).await.map_err(Problem::unavailable)?;
    let recorder = app.pool.identity().service();
    let timeline = timeline(order_id, events, recorder).ok_or_else(Problem::not_found)?;
    Ok(Json(TimelineBody::new(order_id, timeline)))
}

fn describe_timeline(route: Operation<'_>) -> Operation<'_> {
    route
        .id("getTimeline")
        .summary("What became of an order, in causal order")
        .answers::<TimelineBody>(StatusCode::OK, "All of its events so far.")
        .refuses(&Problem::not_found())
}

async fn list_events(
    State(app): State<App>,
    Query(query): Query<EventsQuery>,
) -> Result<Json<EventsPage>, Problem> {
    let (limit, filter) = query.into_filter(app.pool.identity())?;
    let found = app.queries.events(&filter, limit.rows()).await;
    Ok(Json(EventsPage::new(found.map_err(Problem::unavailable)?, limit)))
}

fn describe_events(route: Operation<'_>) -> Operation<'_> {
    route
        .id("listEvents")
        .summary("Events, newest first")
        .answers::<EventsPage>(StatusCode::OK, "A page of events.")
}

/// Every event, in the order in which it was recorded.
async fn stream_events(
    State(app): State<App>,
    Stopping(stop): Stopping,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let tell = |entry: &EventView| Some(Told { event: EVENT, id: entry.seq, ends: false });
    let stream = Stream::of_all(&app.feed, last_event_id(&headers), tell, stop).await;
    stream.map_err(Problem::unavailable)
}

fn describe_stream(route: Operation<'_>) -> Operation<'_> {
    let when = "First what has been, then what happens; a comment every 15 s while nothing does. \
                Ends when the service stops.";
    route
        .id("followEvents")
        .summary("All events, as they are recorded")
        .description("Each event's id is its number in the log.")
        .streams::<EventBody>(EVENT, when)
}
