//! The HTTP API.

use axum::extract::State;
use chassis::http::openapi::{About, Describe as _, Operation};
use chassis::http::routing::get_with;
use chassis::http::{Api, ApiRouter, Id, Json, Path};
use chassis::problem::Problem;
use http::StatusCode;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::App;
use crate::application::views::PaymentView;

const ABOUT: About = About { title: "payment", description: "What became of the money of orders." };

/// The API: all of it reads.
pub fn api() -> Api<App> {
    let payment = get_with(get_payment, describe_payment);
    Api::new(ApiRouter::new().api_route("/payments/{order_id}", payment)).about(ABOUT)
}

/// Which order.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(inline)]
struct OrderPath {
    /// The order's id.
    order_id: Id,
}

/// A payment, as a client sees it.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Payment")]
struct PaymentBody {
    /// `void`: it was never charged, and never will be.
    #[schemars(extend("enum" = ["pending", "captured", "declined", "refunded", "void"]))]
    status: String,
    amount: MoneyBody,
    /// Calls to the gateway.
    attempts: u32,
    /// Why it was declined, when it was.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", default)]
    decline_reason: Option<String>,
}

/// An amount of money.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Money")]
struct MoneyBody {
    /// In minor units of the currency.
    amount_minor: i64,
    /// ISO 4217.
    #[schemars(regex(pattern = "^[A-Z]{3}$"))]
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
    Path(OrderPath { order_id: Id(order_id) }): Path<OrderPath>,
) -> Result<Json<PaymentBody>, Problem> {
    let payment = app.queries.payment(order_id).await.map_err(Problem::unavailable)?;
    payment.map(|view| Json(view.into())).ok_or_else(Problem::not_found)
}

fn describe_payment(route: Operation<'_>) -> Operation<'_> {
    route
        .id("getPayment")
        .summary("What became of an order's money")
        .answers::<PaymentBody>(StatusCode::OK, "As it is now.")
        .refuses(&Problem::not_found())
}
