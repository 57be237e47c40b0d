//! The HTTP API: all of it reads.

use axum::extract::State;
use chassis::http::openapi::{About, Describe as _, Operation};
use chassis::http::routing::get_with;
use chassis::http::{Api, ApiRouter, Json, Path, Query};
use chassis::problem::Problem;
use http::StatusCode;

use super::answers::{EventsPage, TimelineBody};
use super::requests::{EventsQuery, OrderPath};
use crate::App;
use crate::application::timeline::timeline;

const ABOUT: About =
    About { title: "audit", description: "Every event that was ever published, as it was signed." };

/// The API: all of it reads.
pub fn api() -> Api<App> {
    let routes = ApiRouter::new()
        .api_route("/orders/{order_id}/timeline", get_with(get_timeline, describe_timeline))
        .api_route("/events", get_with(list_events, describe_events));
    Api::new(routes).about(ABOUT)
}

async fn get_timeline(
    State(app): State<App>,
    Path(OrderPath { order_id }): Path<OrderPath>,
) -> Result<Json<TimelineBody>, Problem> {
    let events = app.queries.correlated(order_id).await.map_err(Problem::unavailable)?;
    let timeline = timeline(order_id, events).ok_or_else(Problem::not_found)?;
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
