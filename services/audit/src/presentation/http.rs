//! The HTTP API: all of it reads.

use axum::Router;
use axum::extract::State;
use axum::routing::get;
use chassis::http::{Json, Path, Query};
use chassis::problem::Problem;
use uuid::Uuid;

use super::answers::{EventsPage, TimelineBody};
use super::requests::EventsQuery;
use crate::App;
use crate::application::timeline::timeline;

/// All routes.
pub fn routes(app: App) -> Router {
    Router::new()
        .route("/orders/{order_id}/timeline", get(get_timeline))
        .route("/events", get(list_events))
        .with_state(app)
}

async fn get_timeline(
    State(app): State<App>,
    Path(order_id): Path<Uuid>,
) -> Result<Json<TimelineBody>, Problem> {
    let events = app.queries.correlated(order_id).await.map_err(Problem::unavailable)?;
    let timeline = timeline(order_id, events).ok_or_else(Problem::not_found)?;
    Ok(Json(TimelineBody::new(order_id, timeline)))
}

async fn list_events(
    State(app): State<App>,
    Query(query): Query<EventsQuery>,
) -> Result<Json<EventsPage>, Problem> {
    let (limit, filter) = query.into_filter(app.pool.identity())?;
    let found = app.queries.events(&filter, limit.rows()).await;
    Ok(Json(EventsPage::new(found.map_err(Problem::unavailable)?, limit)))
}
