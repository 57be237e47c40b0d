//! Answers under an idempotency key: the kit remembers them, the chassis gives them.

use axum::response::{IntoResponse as _, Response};
use chassis::http::StoredAnswer;
use chassis::problem::Problem;
use messaging::Pool;
use messaging::answers::{Answer, Remembered, RequestKey};

/// An answer as its client gets it, `replayed` where it was given before.
pub fn stored(answer: Answer, replayed: bool) -> Response {
    let Answer { status, location, body } = answer;
    StoredAnswer { status, location, body, replayed }.into_response()
}

/// Refuses a body for its `fault`, unless its key has an answer: then the key is told of first. Only
/// bodies that are refused are looked up like this, and a look-up that fails hides no fault.
///
/// # Errors
/// `422 idempotency_key_reused`, or the fault.
pub async fn unless_answered(
    pool: &Pool,
    key: &RequestKey,
    fault: Problem,
) -> Result<Response, Problem> {
    match pool.remembered(key).await {
        Ok(Remembered::Answer(answer)) => Ok(stored(answer, true)),
        Ok(Remembered::Reused) => Err(Problem::idempotency_key_reused()),
        Ok(Remembered::Nothing | Remembered::InProgress) | Err(_) => Err(fault),
    }
}
