//! One request, its answer, and how often it is repeated.

use std::fmt;
use std::future::Future;
use std::time::{Duration, Instant};

use envelope::Clock;
use messaging::retry::Backoff;
use reqwest::{Client, RequestBuilder, StatusCode};
use serde::Deserialize;
use serde::de::DeserializeOwned;

/// How long a connection may take to come about.
const CONNECT_WITHIN: Duration = Duration::from_secs(2);
/// How long an answer may take, the connection included.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// What a service says when it refuses (RFC 9457).
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Problem {
    /// HTTP status.
    pub status: u16,
    /// The machine's name of the refusal, such as `unknown_sku`.
    pub code: String,
    /// One sentence.
    pub detail: String,
    /// The fields at fault.
    pub errors: Vec<FieldFault>,
}

/// A field at fault.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct FieldFault {
    /// JSON pointer.
    pub pointer: String,
    /// What is wrong with it.
    pub code: String,
}

impl Problem {
    /// The most telling code: that of the first field at fault, else that of the whole.
    #[must_use]
    pub fn reason(&self) -> &str {
        self.errors.first().map_or(&self.code, |fault| &fault.code)
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.status, self.code)?;
        if !self.detail.is_empty() {
            write!(f, ": {}", self.detail)?;
        }
        for FieldFault { pointer, code } in &self.errors {
            write!(f, " [{pointer}: {code}]")?;
        }
        Ok(())
    }
}

/// A request without the answer that was hoped for.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// Nobody answered, or the answer was "later": the same request may be sent again.
    #[error("{address} does not answer: {reason}")]
    Later {
        /// Who.
        address: String,
        /// What came instead.
        reason: String,
    },
    /// A refusal that stays one.
    #[error("{address} refuses: {problem}")]
    Refused {
        /// Who.
        address: String,
        /// Why.
        problem: Problem,
    },
    /// An answer that cannot be read.
    #[error("{address} answers what cannot be read: {reason}")]
    Unreadable {
        /// Who.
        address: String,
        /// What is wrong with it.
        reason: String,
    },
}

/// A client of one service.
#[derive(Debug, Clone)]
pub struct Http {
    client: Client,
    base: String,
}

impl Http {
    /// A client of the service at `base`.
    ///
    /// # Errors
    /// When the machine gives no HTTP client.
    pub fn new(base: String) -> anyhow::Result<Self> {
        // Straight to the service: a proxy of the environment has no business on this path.
        let client = Client::builder()
            .no_proxy()
            .connect_timeout(CONNECT_WITHIN)
            .timeout(ANSWER_WITHIN)
            .build()?;
        Ok(Self { client, base })
    }

    /// A `GET`.
    pub fn get(&self, path: &str) -> RequestBuilder {
        self.client.get(format!("{}{path}", self.base))
    }

    /// A `PUT`.
    pub fn put(&self, path: &str) -> RequestBuilder {
        self.client.put(format!("{}{path}", self.base))
    }

    /// A `POST`.
    pub fn post(&self, path: &str) -> RequestBuilder {
        self.client.post(format!("{}{path}", self.base))
    }

    /// Sends a request and reads the answer, with its status.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn send<T: DeserializeOwned>(
        &self,
        request: RequestBuilder,
    ) -> Result<(StatusCode, T), CallError> {
        let (status, body) = self.send_raw(request).await?;
        let document = serde_json::from_slice(&body).map_err(|error| CallError::Unreadable {
            address: self.base.clone(),
            reason: error.to_string(),
        })?;
        Ok((status, document))
    }

    /// Sends a request and gives the bytes of a good answer.
    ///
    /// # Errors
    /// [`CallError::Later`] or [`CallError::Refused`].
    pub async fn send_raw(
        &self,
        request: RequestBuilder,
    ) -> Result<(StatusCode, Vec<u8>), CallError> {
        let answer = request.send().await.map_err(|error| self.later(cause_of(&error)))?;
        let status = answer.status();
        // Cut off in the middle: whether it was done is unknown, so it is asked again.
        let body = answer.bytes().await.map_err(|error| self.later(cause_of(&error)))?;
        if status.is_success() {
            return Ok((status, body.to_vec()));
        }
        let mut problem: Problem = serde_json::from_slice(&body).unwrap_or_default();
        problem.status = status.as_u16();
        if is_passing(status, &problem) {
            return Err(self.later(problem.to_string()));
        }
        Err(CallError::Refused { address: self.base.clone(), problem })
    }

    fn later(&self, reason: String) -> CallError {
        CallError::Later { address: self.base.clone(), reason }
    }
}

/// Whether the same request may be answered otherwise in a moment.
fn is_passing(status: StatusCode, problem: &Problem) -> bool {
    status.is_server_error()
        || matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT)
        // A twin of it is under way: the first try, whose connection was lost.
        || (status == StatusCode::CONFLICT && problem.code == "request_in_progress")
}

/// The innermost cause, which is the one that says something: `connection refused`.
fn cause_of(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return format!("no answer within {} s", ANSWER_WITHIN.as_secs());
    }
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}

/// How long a request is repeated, with growing pauses.
#[derive(Debug, Clone)]
pub struct Patience {
    clock: Clock,
    until: Instant,
}

impl Patience {
    /// From now on for `time`.
    #[must_use]
    pub fn of(clock: &Clock, time: Duration) -> Self {
        Self { clock: clock.clone(), until: Instant::now() + time }
    }

    /// Repeats what may be answered later until it is answered or the patience ends. Gives the
    /// answer and the number of repetitions.
    ///
    /// # Errors
    /// The last [`CallError`].
    pub async fn repeat<T, F, Fut>(&self, mut call: F) -> (Result<T, CallError>, u64)
    where
        F: FnMut() -> Fut,
        Fut: Future<Output = Result<T, CallError>>,
    {
        let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(1));
        let mut repetitions = 0;
        loop {
            let answer = call().await;
            let pause = backoff.next(&self.clock);
            let again = matches!(answer, Err(CallError::Later { .. }));
            if !again || Instant::now() + pause >= self.until {
                return (answer, repetitions);
            }
            tokio::time::sleep(pause).await;
            repetitions += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn only_what_can_pass_is_asked_again() {
        let named = |code: &str| Problem { code: code.into(), ..Problem::default() };
        assert!(is_passing(StatusCode::SERVICE_UNAVAILABLE, &named("unavailable")));
        assert!(is_passing(StatusCode::TOO_MANY_REQUESTS, &Problem::default()));
        assert!(is_passing(StatusCode::CONFLICT, &named("request_in_progress")));
        assert!(!is_passing(StatusCode::CONFLICT, &named("price_changed")));
        assert!(!is_passing(StatusCode::UNPROCESSABLE_ENTITY, &named("validation_failed")));
    }

    #[test]
    fn a_refusal_is_told_with_its_fields() {
        let json = r#"{"type":"x","status":422,"code":"validation_failed","detail":"Wrong.",
            "errors":[{"pointer":"/lines/0/sku","code":"unknown_sku"}]}"#;
        let problem: Problem = serde_json::from_str(json).unwrap();
        assert_eq!(
            problem.to_string(),
            "422 validation_failed: Wrong. [/lines/0/sku: unknown_sku]"
        );
        assert_eq!(problem.reason(), "unknown_sku");
    }

    #[tokio::test]
    async fn a_request_is_repeated_while_the_answer_is_later_and_no_longer() {
        let clock = Clock::system();
        let mut left = 2;
        let (answer, repetitions) = Patience::of(&clock, Duration::from_secs(20))
            .repeat(|| {
                left -= 1;
                let later = CallError::Later { address: "a".into(), reason: "b".into() };
                std::future::ready(if left >= 0 { Err(later) } else { Ok("done") })
            })
            .await;
        assert_eq!((answer.unwrap(), repetitions), ("done", 2));

        let (answer, repetitions) = Patience::of(&clock, Duration::ZERO)
            .repeat(|| {
                let later = CallError::Later { address: "a".into(), reason: "b".into() };
                std::future::ready(Err::<(), _>(later))
            })
            .await;
        assert_eq!(
            (answer.unwrap_err().to_string().as_str(), repetitions),
            ("a does not answer: b", 0)
        );
    }
}
