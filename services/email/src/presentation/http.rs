//! The HTTP API.

use axum::extract::State;
use chassis::http::openapi::{About, Describe as _, Operation};
use chassis::http::routing::get_with;
use chassis::http::{Api, ApiRouter, Id, Json, Query, Time};
use chassis::problem::Problem;
use http::StatusCode;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::App;
use crate::application::views::EmailView;
use crate::domain::email::masked;

const ABOUT: About =
    About { title: "email", description: "The mail that customers get about their orders." };

/// The API: all of it reads.
pub fn api() -> Api<App> {
    let emails = get_with(get_emails, describe_emails);
    Api::new(ApiRouter::new().api_route("/emails", emails)).about(ABOUT)
}

/// Which mails.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(inline)]
struct Filter {
    /// Those about this order.
    order_id: Id,
}

/// All mail about an order.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Emails")]
struct EmailsBody {
    emails: Vec<EmailBody>,
}

/// A mail, as a client sees it.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Email")]
struct EmailBody {
    #[schemars(extend("enum" = ["order_confirmed", "order_cancelled", "payment_refunded"]))]
    template: String,
    /// Null until it is known where the mail goes.
    to_masked: Option<String>,
    #[schemars(extend("enum" = ["pending", "sent", "failed"]))]
    status: String,
    /// Absent until the mail server has taken it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Time", default)]
    sent_at: Option<Time>,
    /// The mail's own `Message-ID`.
    message_id: String,
}

impl From<EmailView> for EmailBody {
    fn from(email: EmailView) -> Self {
        Self {
            template: email.template,
            to_masked: email.recipient.as_deref().map(masked),
            status: email.status,
            sent_at: email.sent_at.map(Time::from),
            message_id: email.message_id,
        }
    }
}

async fn get_emails(
    State(app): State<App>,
    Query(Filter { order_id: Id(order_id) }): Query<Filter>,
) -> Result<Json<EmailsBody>, Problem> {
    let emails = app.queries.emails(order_id).await.map_err(Problem::unavailable)?;
    Ok(Json(EmailsBody { emails: emails.into_iter().map(EmailBody::from).collect() }))
}

fn describe_emails(route: Operation<'_>) -> Operation<'_> {
    route
        .id("listEmails")
        .summary("The mail about an order")
        .answers::<EmailsBody>(StatusCode::OK, "All of it; none for an order that is not known.")
}
