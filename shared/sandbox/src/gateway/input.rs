//! What is wrong with a request, and how that is answered.

use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::de::DeserializeOwned;
use serde_json::json;

use super::ledger::LedgerFailed;
use super::model::{ChargeRequest, RefundRequest};

/// Why a request was refused. Nothing was stored.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Refusal {
    /// A header, parameter or field is wrong; `text` says which and how it must be.
    #[error("{text}")]
    Bad {
        /// The answer's status.
        status: StatusCode,
        /// For programs.
        code: &'static str,
        /// For people.
        text: String,
    },
    /// The key was used before, with another body.
    #[error("this idempotency key was used before with another body")]
    KeyReused,
    /// A refund of a charge that was never made.
    #[error("there is no charge of that id")]
    NoSuchCharge,
    /// A refund of a charge that took no money.
    #[error("the charge was declined: there is nothing to give back")]
    NotCaptured,
    /// A refund that would give back more than was taken.
    #[error("the refund exceeds the charge: {left_minor} minor units are left of it")]
    MoreThanCaptured {
        /// Captured and not yet refunded, in minor units.
        left_minor: i64,
    },
    /// The token `pm_flaky` fails at first.
    #[error("the gateway is not available, try again with the same key")]
    Unavailable,
    /// The disk refused.
    #[error(transparent)]
    Ledger(#[from] LedgerFailed),
    /// A defect of the gateway.
    #[error("the gateway failed")]
    Internal,
}

impl Refusal {
    pub(super) fn bad(status: StatusCode, code: &'static str, text: impl Into<String>) -> Self {
        Self::Bad { status, code, text: text.into() }
    }

    fn invalid(text: &str) -> Self {
        Self::bad(StatusCode::UNPROCESSABLE_ENTITY, "validation_failed", text)
    }

    const fn answer(&self) -> (StatusCode, &'static str) {
        match self {
            Self::Bad { status, code, .. } => (*status, code),
            Self::KeyReused => (StatusCode::UNPROCESSABLE_ENTITY, "idempotency_key_reused"),
            Self::NoSuchCharge => (StatusCode::NOT_FOUND, "charge_not_found"),
            Self::NotCaptured => (StatusCode::UNPROCESSABLE_ENTITY, "charge_not_captured"),
            Self::MoreThanCaptured { .. } => {
                (StatusCode::UNPROCESSABLE_ENTITY, "refund_exceeds_charge")
            }
            Self::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, "unavailable"),
            Self::Ledger(_) => (StatusCode::SERVICE_UNAVAILABLE, "ledger_failed"),
            Self::Internal => (StatusCode::INTERNAL_SERVER_ERROR, "internal"),
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let (status, code) = self.answer();
        let body = json!({ "code": code, "message": self.to_string() });
        (status, axum::Json(body)).into_response()
    }
}

/// The header `Idempotency-Key`, bare or quoted.
pub(super) fn idempotency_key(headers: &HeaderMap) -> Result<String, Refusal> {
    const NAME: &str = "idempotency-key";
    let bad = |code, text: &str| Refusal::bad(StatusCode::BAD_REQUEST, code, text);
    let mut values = headers.get_all(NAME).iter();
    let value = values
        .next()
        .ok_or_else(|| bad("idempotency_key_missing", "the header Idempotency-Key is missing"))?;
    let text = value.to_str().unwrap_or_default().trim();
    let inner = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(text);
    let usable =
        (1..=255).contains(&inner.len()) && inner.bytes().all(|b| (0x20..0x7f).contains(&b));
    if values.next().is_some() || !usable {
        return Err(bad(
            "idempotency_key_malformed",
            "the header Idempotency-Key must be there once, with 1 to 255 printable ASCII characters",
        ));
    }
    Ok(inner.to_owned())
}

/// A JSON body.
pub(super) fn body<T: DeserializeOwned>(headers: &HeaderMap, body: &[u8]) -> Result<T, Refusal> {
    let media_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let media_type = media_type.unwrap_or_default().split(';').next().unwrap_or_default().trim();
    if !media_type.eq_ignore_ascii_case("application/json") {
        return Err(Refusal::bad(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "unsupported_media_type",
            "the body must be application/json",
        ));
    }
    serde_json::from_slice(body).map_err(|error| {
        if error.is_data() {
            Refusal::invalid(&error.to_string())
        } else {
            let text = format!("the body is not JSON: {error}");
            Refusal::bad(StatusCode::BAD_REQUEST, "malformed_json", text)
        }
    })
}

/// 1 to `max` characters, none of them a control character.
pub(super) fn check_text(field: &str, text: &str, max: usize) -> Result<(), Refusal> {
    let fits = (1..=max).contains(&text.chars().count()) && !text.contains(char::is_control);
    if fits {
        return Ok(());
    }
    let rule = format!("{field} must have 1 to {max} characters and no control character");
    Err(Refusal::invalid(&rule))
}

/// `limit`: 1 to `max`, `default` where it is not given.
pub(super) fn check_limit(
    given: Option<&str>,
    default: usize,
    max: usize,
) -> Result<usize, Refusal> {
    let Some(text) = given else { return Ok(default) };
    let limit = text.parse().ok().filter(|limit| (1..=max).contains(limit));
    limit.ok_or_else(|| Refusal::invalid(&format!("limit must be a whole number from 1 to {max}")))
}

impl ChargeRequest {
    pub(super) fn check(&self) -> Result<(), Refusal> {
        check_text("order_id", &self.order_id, 200)?;
        check_text("payment_method", &self.payment_method, 64)?;
        if self.amount_minor < 0 {
            return Err(Refusal::invalid("amount_minor must not be negative"));
        }
        let currency = self.currency.as_bytes();
        if currency.len() != 3 || !currency.iter().all(u8::is_ascii_uppercase) {
            return Err(Refusal::invalid("currency must be three capital letters, such as GBP"));
        }
        Ok(())
    }
}

impl RefundRequest {
    pub(super) fn check(&self) -> Result<(), Refusal> {
        check_text("charge_id", &self.charge_id, 64)?;
        if self.amount_minor < 1 {
            return Err(Refusal::invalid("amount_minor must be at least 1"));
        }
        Ok(())
    }
}
