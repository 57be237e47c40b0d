//! Changes of orders as server-sent events.

use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use chassis::http::{Id, Path, Stopping};
use chassis::problem::Problem;
use feed::{Stream, Told, last_event_id};
use http::{HeaderMap, StatusCode};

use super::requests::OrderPath;
use crate::App;
use crate::application::views::ChangeRow;

/// The changes of all orders.
pub const OF_ALL: &str = "/orders/events";
/// The changes of one order.
pub const OF_ORDER: &str = "/orders/{order_id}/events";
/// What the events are called.
pub(super) const EVENT: &str = "status";

/// Every change of every order, in the sequence that all replicas share.
pub(super) async fn of_all(
    State(app): State<App>,
    Stopping(stop): Stopping,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let tell = |change: &ChangeRow| {
        change.feed.map(|number| Told { event: EVENT, id: number, ends: false })
    };
    let stream = Stream::of_all(&app.feed, last_event_id(&headers), tell, stop).await;
    stream.map_err(Problem::unavailable)
}

/// Every change of one order, until its last.
pub(super) async fn of_order(
    State(app): State<App>,
    Stopping(stop): Stopping,
    Path(OrderPath { order_id: Id(order_id) }): Path<OrderPath>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let tell = move |change: &ChangeRow| {
        let (id, ends) = (change.version.into(), change.status != "pending");
        (change.order_id == order_id).then_some(Told { event: EVENT, id, ends })
    };
    let past = async { Ok(app.queries.changes_of(order_id).await?) };
    let stream = Stream::of_some(&app.feed, last_event_id(&headers), past, tell, stop).await;
    match stream.map_err(Problem::unavailable)? {
        None => Err(Problem::not_found()),
        Some((_, true)) => Ok(StatusCode::NO_CONTENT.into_response()),
        Some((stream, false)) => Ok(stream),
    }
}
