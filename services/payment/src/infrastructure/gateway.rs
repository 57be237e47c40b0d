//! The payment gateway's HTTP API.

use std::time::Duration;

use messaging::{Cause, Pool, trace};
use opentelemetry::trace::TraceContextExt as _;
use opentelemetry::{Context, KeyValue};
use reqwest::{Client, RequestBuilder, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::json;
use uuid::Uuid;

use crate::application::ports::{Attempt, Gateway, GatewayError, Outcome};
use crate::domain::payment::Wish;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// For a whole call, the connection included.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Why a charge is declined that the gateway would not even consider.
const REJECTED: &str = "gateway_rejected";

/// A client of the gateway that keeps its connections. Cheap to clone.
#[derive(Clone)]
pub struct GatewayClient {
    http: Client,
    url: String,
    pool: Pool,
}

impl GatewayClient {
    /// A client of the gateway at `url` (no slash at the end), whose spans are made by `pool`.
    ///
    /// # Errors
    /// When the HTTP client cannot be made.
    pub fn new(url: impl Into<String>, pool: Pool) -> Result<Self, reqwest::Error> {
        let http = Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(TIMEOUT)
            .tcp_nodelay(true)
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .build()?;
        Ok(Self { http, url: url.into(), pool })
    }

    /// A conversation because of `cause`.
    pub fn talk(&self, cause: Cause) -> Conversation {
        let context = cause.context().clone();
        Conversation { client: self.clone(), cause, context }
    }
}

/// Calls about one payment, each with a span of its own.
pub struct Conversation {
    client: GatewayClient,
    cause: Cause,
    /// That of the last call.
    context: Context,
}

impl Conversation {
    /// Why what follows from the last call happens.
    pub fn cause(&self) -> Cause {
        self.cause.within(self.context.clone())
    }

    /// Sends a request within a span, and reads its answer whole.
    async fn call(
        &mut self,
        name: &'static str,
        request: RequestBuilder,
    ) -> Result<Reply, GatewayError> {
        self.context = trace::call(&self.client.pool, self.cause.context(), name);
        let reply = exchange(request).await;
        if let Ok(reply) = &reply {
            let status = i64::from(reply.status.as_u16());
            let span = self.context.span();
            span.set_attribute(KeyValue::new("http.response.status_code", status));
        }
        let reply = reply.and_then(Reply::conclusive);
        trace::finish(&self.context, reply.as_ref().err().map(GatewayError::class));
        reply
    }

    async fn list<T: for<'de> Deserialize<'de>>(
        &mut self,
        name: &'static str,
        what: &str,
        order_id: Uuid,
    ) -> Result<T, GatewayError> {
        let url = format!("{}/{what}", self.client.url);
        let request = self.client.http.get(url).query(&[("order_id", order_id)]);
        let reply = self.call(name, request).await?;
        if reply.status == StatusCode::OK { reply.read() } else { Err(reply.refused()) }
    }

    async fn make(
        &mut self,
        name: &'static str,
        what: &str,
        key: String,
        body: impl Serialize,
    ) -> Result<Reply, GatewayError> {
        let url = format!("{}/{what}", self.client.url);
        let request = self.client.http.post(url).header("Idempotency-Key", key).json(&body);
        self.call(name, request).await
    }
}

impl Gateway for Conversation {
    async fn look_up(&mut self, attempt: &Attempt) -> Result<Option<Outcome>, GatewayError> {
        match &attempt.wish {
            Wish::Charge { .. } => {
                let page: ChargePage =
                    self.list("look_up_charge", "charges", attempt.order_id).await?;
                Ok(page.outcome())
            }
            Wish::Refund { charge_id } => {
                let page: RefundPage =
                    self.list("look_up_refund", "refunds", attempt.order_id).await?;
                let ours = page.refunds.into_iter().find(|refund| refund.charge_id == *charge_id);
                Ok(ours.map(|refund| Outcome::Refunded { refund_id: refund.refund_id }))
            }
        }
    }

    async fn fulfil(&mut self, attempt: &Attempt) -> Result<Outcome, GatewayError> {
        let (order_id, amount) = (attempt.order_id, &attempt.amount);
        match &attempt.wish {
            Wish::Charge { payment_method } => {
                let body = json!({
                    "order_id": order_id, "amount_minor": amount.amount_minor,
                    "currency": amount.currency, "payment_method": payment_method,
                });
                let key = format!("charge-{order_id}");
                let reply = self.make("charge", "charges", key, body).await?;
                match reply.status {
                    status if status.is_success() => reply.read::<Charge>()?.outcome(),
                    StatusCode::PAYMENT_REQUIRED => reply.read::<Charge>()?.outcome(),
                    _ => Ok(Outcome::Declined { reason: REJECTED.into() }),
                }
            }
            Wish::Refund { charge_id } => {
                let body = json!({ "charge_id": charge_id, "amount_minor": amount.amount_minor });
                let reply =
                    self.make("refund", "refunds", format!("refund-{order_id}"), body).await?;
                if reply.status.is_success() {
                    let Refund { refund_id, .. } = reply.read()?;
                    Ok(Outcome::Refunded { refund_id })
                } else {
                    Err(reply.refused())
                }
            }
        }
    }
}

async fn exchange(request: RequestBuilder) -> Result<Reply, GatewayError> {
    let response = request.send().await.map_err(|error| lost(&error))?;
    let status = response.status();
    let body = response.bytes().await.map_err(|error| lost(&error))?;
    Ok(Reply { status, body: body.to_vec() })
}

fn lost(error: &reqwest::Error) -> GatewayError {
    if error.is_connect() {
        GatewayError::Unreachable
    } else if error.is_timeout() {
        GatewayError::Unknown("timeout")
    } else {
        GatewayError::Unknown("connection_lost")
    }
}

/// A whole answer.
struct Reply {
    status: StatusCode,
    body: Vec<u8>,
}

impl Reply {
    /// Itself, if it says what became of the request. A server error does not, nor does what is
    /// about us or this moment: credentials, address, time, rate, a twin still being handled.
    fn conclusive(self) -> Result<Self, GatewayError> {
        match self.status.as_u16() {
            200..=299 => Ok(self),
            401 | 403..=405 | 407..=409 | 425 | 429 => Err(GatewayError::Unknown("turned_away")),
            400..=499 => Ok(self),
            _ => Err(GatewayError::Unknown("server_error")),
        }
    }

    fn read<T: for<'de> Deserialize<'de>>(&self) -> Result<T, GatewayError> {
        serde_json::from_slice(&self.body).map_err(|_| GatewayError::Unknown("unreadable_answer"))
    }

    fn refused(&self) -> GatewayError {
        GatewayError::Refused(self.status.as_u16())
    }
}

#[derive(Deserialize)]
struct ChargePage {
    charges: Vec<Charge>,
}

impl ChargePage {
    /// One key makes one charge; should there be more, the one that took the money counts.
    fn outcome(self) -> Option<Outcome> {
        let outcomes: Vec<Outcome> =
            self.charges.into_iter().filter_map(|charge| charge.outcome().ok()).collect();
        let captured = outcomes.iter().find(|one| matches!(one, Outcome::Captured { .. }));
        captured.or(outcomes.first()).cloned()
    }
}

#[derive(Deserialize)]
struct Charge {
    charge_id: String,
    status: String,
    decline_reason: Option<String>,
}

impl Charge {
    fn outcome(self) -> Result<Outcome, GatewayError> {
        match self.status.as_str() {
            "captured" => Ok(Outcome::Captured { charge_id: self.charge_id }),
            "declined" => {
                let reason = self.decline_reason.unwrap_or_else(|| REJECTED.into());
                Ok(Outcome::Declined { reason })
            }
            _ => Err(GatewayError::Unknown("unreadable_answer")),
        }
    }
}

#[derive(Deserialize)]
struct RefundPage {
    refunds: Vec<Refund>,
}

#[derive(Deserialize)]
struct Refund {
    refund_id: String,
    charge_id: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn conclusive(status: u16) -> bool {
        let status = StatusCode::from_u16(status).unwrap_or_default();
        Reply { status, body: Vec::new() }.conclusive().is_ok()
    }

    #[test]
    fn only_an_answer_about_the_request_itself_is_conclusive() {
        for about_it in [200, 201, 400, 402, 422] {
            assert!(conclusive(about_it), "{about_it}");
        }
        for about_us_or_now in [302, 401, 404, 408, 409, 425, 429, 500, 503, 504] {
            assert!(!conclusive(about_us_or_now), "{about_us_or_now}");
        }
    }

    #[test]
    fn of_several_charges_the_captured_one_counts() {
        let charge = |id: &str, status: &str| Charge {
            charge_id: id.into(),
            status: status.into(),
            decline_reason: None,
        };
        let page = ChargePage {
            charges: vec![charge("a", "declined"), charge("b", "captured"), charge("c", "odd")],
        };
        assert_eq!(page.outcome(), Some(Outcome::Captured { charge_id: "b".into() }));
        let odd = ChargePage { charges: vec![charge("c", "odd")] };
        assert_eq!(odd.outcome(), None);
    }
}
