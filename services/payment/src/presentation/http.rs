//! The HTTP API.

use axum::Router;
use axum::extract::State;
use axum::routing::get;
use chassis::http::{Json, Path};
use chassis::problem::Problem;
use serde::Serialize;
use uuid::Uuid;

use crate::App;
use crate::application::views::PaymentView;

/// All routes.
pub fn routes(app: App) -> Router {
    Router::new().route("/payments/{order_id}", get(get_payment)).with_state(app)
}

/// A payment, as a client sees it.
#[derive(Debug, Serialize)]
struct PaymentBody {
    status: String,
    amount: MoneyBody,
    attempts: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    decline_reason: Option<String>,
}

#[derive(Debug, Serialize)]
struct MoneyBody {
    amount_minor: i64,
    currency: String,
}

impl From<PaymentView> for PaymentBody {
    fn from(payment: PaymentView) -> Self {
        let PaymentView { status, amount_minor, currency, attempts, decline_reason } = payment;
        let amount = MoneyBody { amount_minor, currency };
        Self { status, amount, attempts: attempts.unsigned_abs(), decline_reason }
    }
}

async fn get_payment(
    State(app): State<App>,
    Path(order_id): Path<Uuid>,
) -> Result<Json<PaymentBody>, Problem> {
    let payment = app.queries.payment(order_id).await.map_err(Problem::unavailable)?;
    payment.map(|view| Json(view.into())).ok_or_else(Problem::not_found)
}
