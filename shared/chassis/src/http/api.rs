//! The HTTP surface of one service: its routes, and what stands around them.

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use aide::axum::ApiRouter;
use aide::axum::routing::ApiMethodDocs;
use aide::openapi::{OpenApi, Operation};
use aide::transform::TransformOperation;
use axum::Router;
use axum::extract::{MatchedPath, Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse as _, Response};
use futures_util::FutureExt as _;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, TRANSFER_ENCODING};
use http::{HeaderMap, Method};
use tokio::sync::Semaphore;
use tracing::Instrument as _;

use super::limits::BUSY_PAUSE;
use super::openapi::{self, About};
use super::server::TooLate;
use super::trace::ServerSpan;
use super::{Limits, body, conditions};
use crate::problem::{self, Problem};

const JSON: &str = "application/json";

/// Routes with their limits, tracing, error answers and description (`/openapi.json`, `/docs`). `S` is
/// the state that its handlers still lack.
///
/// ```
/// use chassis::http::{Api, ApiRouter, routing::get};
///
/// let events = get(|| async { "data: \n\n" });
/// let routes = ApiRouter::new().api_route("/orders/{id}/events", events);
/// let api = Api::new(routes).produces("/orders/{id}/events", "text/event-stream");
/// # let _ = api.into_router();
/// ```
pub struct Api<S = ()> {
    traced: ApiRouter<S>,
    untraced: Router<S>,
    about: About,
    rules: Rules,
}

impl<S> std::fmt::Debug for Api<S> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Api").field("about", &self.about).finish_non_exhaustive()
    }
}

#[derive(Clone, Debug, Default)]
struct Rules {
    limits: Limits,
    produces: HashMap<&'static str, &'static str>,
    body_limits: HashMap<&'static str, (Method, usize)>,
}

impl<S: Clone + Send + Sync + 'static> Api<S> {
    /// The routes of the API: traced, described, and answering in JSON unless said otherwise.
    pub fn new(routes: ApiRouter<S>) -> Self {
        let (about, rules) = (About::default(), Rules::default());
        Self { traced: routes, untraced: Router::new(), about, rules }
    }

    /// What the description says of the API as a whole.
    pub fn about(mut self, about: About) -> Self {
        self.about = about;
        self
    }

    /// Gives the handlers their state.
    pub fn with_state(self, state: S) -> Api {
        let untraced = self.untraced.with_state(state.clone());
        let traced = self.traced.with_state(state);
        Api { traced, untraced, about: self.about, rules: self.rules }
    }

    /// Routes that make no spans and may answer in any media type: documents, probes.
    pub fn untraced(mut self, routes: Router<S>) -> Self {
        self.untraced = self.untraced.merge(routes);
        self
    }

    /// Describes `GET path`, which is not one of the routes given at first.
    pub fn described(
        mut self,
        path: &str,
        describe: impl FnOnce(TransformOperation<'_>) -> TransformOperation<'_>,
    ) -> Self {
        let mut operation = Operation::default();
        let _ = describe(TransformOperation::new(&mut operation));
        self.traced = self.traced.api_route_docs(path, ApiMethodDocs::new("get", operation));
        self
    }

    /// The description.
    pub fn document(self) -> OpenApi {
        openapi::finish(self.traced, self.about).1
    }

    /// The media type of `route` (as it is written in the router), where it is not JSON.
    pub fn produces(mut self, route: &'static str, media_type: &'static str) -> Self {
        self.rules.produces.insert(route, media_type);
        self
    }

    /// Bytes that a body sent to `route` by `method` may have, where it is not [`Limits::body_bytes`].
    pub fn body_limit(mut self, method: Method, route: &'static str, bytes: usize) -> Self {
        self.rules.body_limits.insert(route, (method, bytes));
        self
    }

    /// Other limits than the defaults.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.rules.limits = limits;
        self
    }

    /// The limits that hold; [`Server`](super::Server) needs them too.
    pub fn limits_in_force(&self) -> Limits {
        self.rules.limits
    }
}

impl Api {
    /// Everything as one router.
    pub fn into_router(self) -> Router {
        let turns = Semaphore::new(self.rules.limits.requests);
        let rules = Arc::new(InForce { rules: self.rules, turns });
        let (traced, document) = openapi::finish(self.traced, self.about);
        let untraced = self.untraced.merge(openapi::published(&document));
        let untraced =
            untraced.reset_fallback().layer(from_fn_with_state(Arc::clone(&rules), guarded));
        let traced = traced.fallback(|| async { Problem::not_found() });
        untraced.merge(traced.layer(from_fn_with_state(rules, traced_and_guarded)))
    }
}

/// The rules of a router, and how many requests it may still take.
struct InForce {
    rules: Rules,
    turns: Semaphore,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Answers in the media type of its route, and every error is a problem.
    Api,
    /// Chooses its own media type; an error that it describes in JSON (readiness) stays.
    Document,
}

impl Rules {
    /// The checks that need no handler, in the order of the API's contract: size first.
    fn admit(&self, request: Request, kind: Kind) -> Result<Request, Problem> {
        self.limits.check_head(&request)?;
        let route = request.extensions().get::<MatchedPath>().map(MatchedPath::as_str);
        let limit = route.and_then(|route| self.body_limits.get(route));
        let limit = limit.filter(|(method, _)| method == request.method());
        let limit = limit.map_or(self.limits.body_bytes, |(_, bytes)| *bytes);
        let produced = route.map(|route| self.produces.get(route).copied().unwrap_or(JSON));
        let request = body::guard(request, limit, self.limits.body_timeout)?;
        match produced {
            Some(media_type)
                if kind == Kind::Api && !conditions::accepts(request.headers(), &[media_type]) =>
            {
                Err(Problem::not_acceptable())
            }
            _ => Ok(request),
        }
    }
}

async fn traced_and_guarded(
    State(rules): State<Arc<InForce>>,
    mut request: Request,
    next: Next,
) -> Response {
    let span = ServerSpan::start(&mut request);
    let response = answer(&rules, request, next, Kind::Api);
    let response = span.enter(response).instrument(span.log_span()).await;
    span.end(&response);
    response
}

async fn guarded(State(rules): State<Arc<InForce>>, request: Request, next: Next) -> Response {
    answer(&rules, request, next, Kind::Document).await
}

async fn answer(rules: &InForce, request: Request, next: Next, kind: Kind) -> Response {
    let request = match rules.rules.admit(request, kind) {
        Ok(request) => request,
        Err(problem) => return problem.into_response(),
    };
    if kind == Kind::Api && request.extensions().get::<TooLate>().is_some() {
        return Problem::unavailable(anyhow::anyhow!("shutting down")).into_response();
    }
    // Probes and documents are answered however busy the API is.
    let turn = (kind == Kind::Api).then(|| rules.turns.try_acquire()).transpose();
    let Ok(_turn) = turn else {
        return Problem::too_many_requests(BUSY_PAUSE).into_response();
    };
    match AssertUnwindSafe(next.run(request)).catch_unwind().await {
        Ok(response) => as_problem(response, kind),
        Err(panic) => {
            let cause = anyhow::anyhow!("the handler panicked: {}", panic_text(&*panic));
            Problem::internal(cause).into_response()
        }
    }
}

/// The router and axum's own extractors answer in plain text, and quote the input in it.
fn as_problem(response: Response, kind: Kind) -> Response {
    let status = response.status();
    let is_error = status.is_client_error() || status.is_server_error();
    let media_type = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let described = media_type.is_some_and(|media_type| {
        media_type.starts_with(problem::MEDIA_TYPE)
            || kind == Kind::Document && media_type.starts_with(JSON)
    });
    if !is_error || described {
        return response;
    }
    let mut problem = Problem::of_status(status).into_response();
    keep_headers(response.headers(), problem.headers_mut());
    problem
}

/// `Allow`, `Retry-After` and the like still hold; what describes the old body does not.
fn keep_headers(old: &HeaderMap, new: &mut HeaderMap) {
    for (name, value) in old {
        if ![CONTENT_TYPE, CONTENT_LENGTH, TRANSFER_ENCODING].contains(name) {
            new.insert(name, value.clone());
        }
    }
}

/// What a panic said, where it said it in words.
pub(crate) fn panic_text(panic: &(dyn std::any::Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message")
}
