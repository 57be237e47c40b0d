//! The HTTP API.

use axum::Router;
use axum::extract::State;
use axum::routing::get;
use chassis::http::{Json, Query};
use chassis::problem::Problem;
use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::App;
use crate::application::views::EmailView;
use crate::domain::email::masked;

/// All routes.
pub fn routes(app: App) -> Router {
    Router::new().route("/emails", get(get_emails)).with_state(app)
}

/// Which mails.
#[derive(Debug, Deserialize)]
struct Filter {
    order_id: Uuid,
}

#[derive(Debug, Serialize)]
struct EmailsBody {
    emails: Vec<EmailBody>,
}

/// A mail, as a client sees it.
#[derive(Debug, Serialize)]
struct EmailBody {
    template: String,
    /// Null until it is known where the mail goes.
    to_masked: Option<String>,
    status: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    sent_at: Option<String>,
    message_id: String,
}

fn time(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Micros, true)
}

impl From<EmailView> for EmailBody {
    fn from(email: EmailView) -> Self {
        Self {
            template: email.template,
            to_masked: email.recipient.as_deref().map(masked),
            status: email.status,
            sent_at: email.sent_at.map(time),
            message_id: email.message_id,
        }
    }
}

async fn get_emails(
    State(app): State<App>,
    Query(filter): Query<Filter>,
) -> Result<Json<EmailsBody>, Problem> {
    let emails = app.queries.emails(filter.order_id).await.map_err(Problem::unavailable)?;
    Ok(Json(EmailsBody { emails: emails.into_iter().map(EmailBody::from).collect() }))
}
