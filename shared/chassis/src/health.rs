//! Liveness and readiness, with the reason per dependency.
//!
//! A dependency that is late or away does not stop the process: it is started, says not ready and
//! why, and keeps trying.

use std::collections::BTreeMap;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use futures_util::FutureExt as _;
use futures_util::future::join_all;
use http::StatusCode;
use http::header::RETRY_AFTER;
use schemars::JsonSchema;
use serde::Serialize;

use crate::problem::OUTAGE_PAUSE;

/// A check that takes longer counts as down.
const TIMEOUT: Duration = Duration::from_secs(2);
/// Answers younger than this are given again, so that probes cost the dependencies nothing.
const FRESH: Duration = Duration::from_secs(1);
/// A dependency that is down is asked so many times as often: who has just started is seen to be ready
/// in the moment that it is.
const DOWN_AGES: u32 = 20;

type Answer = Result<(), String>;
type Probe = Box<dyn Fn() -> Pin<Box<dyn Future<Output = Answer> + Send>> + Send + Sync>;

/// The dependencies of one process and how to ask for their state. Clones share it.
#[derive(Clone)]
pub struct Health {
    inner: Arc<Inner>,
}

struct Inner {
    timeout: Duration,
    fresh: Duration,
    stopping: AtomicBool,
    checks: RwLock<Vec<Arc<Check>>>,
}

struct Check {
    name: String,
    probe: Probe,
    /// Held while the probe runs: whoever asks meanwhile waits for that one answer.
    last: tokio::sync::Mutex<Option<(Instant, Answer)>>,
}

/// Whether a dependency can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// It answered.
    Up,
    /// It did not, or not in time.
    Down,
}

/// The state of one dependency.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Dependency {
    /// Up or down.
    pub status: Status,
    /// Why it is down, in words for an operator.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", default)]
    pub reason: Option<String>,
}

/// The state of everything that the process needs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Readiness {
    /// Every dependency by its name.
    pub dependencies: BTreeMap<String, Dependency>,
}

impl Readiness {
    /// True when nothing is down.
    pub fn is_ready(&self) -> bool {
        self.dependencies.values().all(|dependency| dependency.status == Status::Up)
    }
}

impl Default for Health {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Debug for Health {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names: Vec<String> = self.checks().iter().map(|check| check.name.clone()).collect();
        out.debug_struct("Health").field("checks", &names).finish_non_exhaustive()
    }
}

impl Health {
    /// No dependencies yet; a check may take 2 s, and its answer serves for 1 s, or for 50 ms where the
    /// dependency is down.
    pub fn new() -> Self {
        Self::with_timing(TIMEOUT, FRESH)
    }

    /// As [`new`](Health::new) with other times.
    pub fn with_timing(timeout: Duration, fresh: Duration) -> Self {
        let (stopping, checks) = (AtomicBool::new(false), RwLock::default());
        Self { inner: Arc::new(Inner { timeout, fresh, stopping, checks }) }
    }

    /// Adds the dependency `name`. The error of `probe` is published as the reason, so it must hold
    /// no secret.
    pub fn check<F, Fut>(&self, name: impl Into<String>, probe: F) -> &Self
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(), String>> + Send + 'static,
    {
        let probe: Probe = Box::new(move || Box::pin(probe()));
        let check = Check { name: name.into(), probe, last: tokio::sync::Mutex::default() };
        let mut checks = self.inner.checks.write().unwrap_or_else(PoisonError::into_inner);
        checks.push(Arc::new(check));
        self
    }

    /// From now on the process says that it is not ready, so that no new work is sent to it.
    pub fn stop(&self) {
        self.inner.stopping.store(true, Ordering::Relaxed);
    }

    /// Asks every dependency, all at the same time.
    pub async fn readiness(&self) -> Readiness {
        let checks = self.checks();
        let answers = checks
            .iter()
            .map(|check| async { (check.name.clone(), dependency(self.inner.ask(check).await)) });
        let mut dependencies: BTreeMap<_, _> = join_all(answers).await.into_iter().collect();
        if self.inner.stopping.load(Ordering::Relaxed) {
            let reason = Err("shutting down".to_owned());
            dependencies.insert("process".to_owned(), dependency(reason));
        }
        Readiness { dependencies }
    }

    /// `GET /health/live` and `GET /health/ready`.
    pub fn router(&self) -> Router {
        Router::new()
            .route("/health/live", get(|| async { axum::Json(serde_json::json!({})) }))
            .route("/health/ready", get(ready))
            .with_state(self.clone())
    }

    fn checks(&self) -> Vec<Arc<Check>> {
        self.inner.checks.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Inner {
    async fn ask(&self, check: &Check) -> Answer {
        let mut last = check.last.lock().await;
        if let Some((asked, answer)) = last.as_ref() {
            let fresh = if answer.is_ok() { self.fresh } else { self.fresh / DOWN_AGES };
            if asked.elapsed() < fresh {
                return answer.clone();
            }
        }
        // A probe that panics must not take the probe route with it.
        let probe = AssertUnwindSafe(async { (check.probe)().await }).catch_unwind();
        let answer = match tokio::time::timeout(self.timeout, probe).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err("the check panicked".to_owned()),
            Err(_) => Err(format!("no answer within {:?}", self.timeout)),
        };
        *last = Some((Instant::now(), answer.clone()));
        answer
    }
}

fn dependency(answer: Answer) -> Dependency {
    match answer {
        Ok(()) => Dependency { status: Status::Up, reason: None },
        Err(reason) => Dependency { status: Status::Down, reason: Some(reason) },
    }
}

async fn ready(State(health): State<Health>) -> Response {
    let readiness = health.readiness().await;
    if readiness.is_ready() {
        return axum::Json(readiness).into_response();
    }
    let pause = [(RETRY_AFTER, OUTAGE_PAUSE.as_secs().to_string())];
    (StatusCode::SERVICE_UNAVAILABLE, pause, axum::Json(readiness)).into_response()
}
