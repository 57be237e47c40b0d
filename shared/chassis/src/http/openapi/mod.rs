//! The API's description of itself: OpenAPI 3.1, made of the types that handlers take and give.
//!
//! A route of an [`ApiRouter`](super::ApiRouter) is described by its extractors (body, parameters, and
//! what they refuse) and by a function that says the rest with [`Describe`]. What every route may
//! answer, whatever it does, is added here.

mod describe;
mod inputs;

use std::borrow::Cow;

use aide::axum::ApiRouter;
use aide::openapi::{
    Components, Info, Operation as Operated, Parameter, PathItem, ReferenceOr, Response,
    StatusCode as Code,
};
use aide::swagger::Swagger;
use axum::Router;
use axum::response::Html;
use axum::routing::get;
use bytes::Bytes;
use http::StatusCode;
use http::header::CONTENT_TYPE;

pub use aide::openapi::OpenApi;
pub use aide::transform::TransformOperation as Operation;
pub use describe::Describe;

use self::describe::{problem_response, text_header};
use self::inputs::KEY_HEADER;
use super::json::JSON;
use crate::problem::Problem;

/// Where the document is served.
pub(super) const DOCUMENT: &str = "/openapi.json";
/// Where it is served for people.
pub(super) const DOCS: &str = "/docs";
const VERSION: &str = "3.1.0";

/// What the document says of the API as a whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct About {
    /// What the API is called.
    pub title: &'static str,
    /// What it is for, in Markdown.
    pub description: &'static str,
}

/// What any route may answer.
fn common() -> [Problem; 6] {
    [
        Problem::not_acceptable(),
        Problem::request_timeout(),
        Problem::uri_too_long(),
        Problem::too_many_requests(super::limits::BUSY_PAUSE),
        Problem::headers_too_large(),
        Problem::unavailable(anyhow::anyhow!("an example")),
    ]
}

/// The document of `routes`, and the routes without it.
pub(super) fn finish<S>(routes: ApiRouter<S>, about: About) -> (Router<S>, OpenApi)
where
    S: Clone + Send + Sync + 'static,
{
    let problems = common();
    let responses = aide::generate::in_context(|ctx| {
        problems.each_ref().map(|problem| (problem, problem_response(ctx, [problem])))
    });
    let mut document = OpenApi {
        openapi: Cow::Borrowed(VERSION),
        info: Info {
            title: about.title.to_owned(),
            description: Some(about.description.to_owned()),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            ..Info::default()
        },
        ..OpenApi::default()
    };
    let router = routes.finish_api(&mut document);
    let components = document.components.get_or_insert_with(Components::default);
    for (problem, response) in responses {
        components.responses.insert(problem.code().to_owned(), ReferenceOr::Item(response));
    }
    components.schemas.sort_unstable_keys();
    for operation in operations(&mut document) {
        complete(operation, &problems);
    }
    (router, document)
}

fn operations(document: &mut OpenApi) -> impl Iterator<Item = &mut Operated> {
    let paths = document.paths.iter_mut().flat_map(|paths| paths.paths.values_mut());
    let items = paths.filter_map(|item| match item {
        ReferenceOr::Item(item) => Some(item),
        ReferenceOr::Reference { .. } => None,
    });
    items.flat_map(|PathItem { get, put, post, delete, .. }| [get, put, post, delete]).flatten()
}

fn complete(operation: &mut Operated, problems: &[Problem]) {
    let keyed = operation.parameters.iter().any(|parameter| match parameter {
        ReferenceOr::Item(Parameter::Header { parameter_data, .. }) => {
            parameter_data.name == KEY_HEADER
        }
        _ => false,
    });
    let responses = &mut operation.responses.get_or_insert_default().responses;
    if keyed {
        for (status, response) in responses.iter_mut() {
            replayable(status, response);
        }
    }
    for problem in problems {
        let reference = format!("#/components/responses/{}", problem.code());
        let reference = ReferenceOr::Reference { reference, summary: None, description: None };
        responses.entry(Code::Code(problem.status().as_u16())).or_insert(reference);
    }
    responses.sort_unstable_keys();
}

/// A success, or a refusal that is stored, may come a second time.
fn replayable(status: &Code, response: &mut ReferenceOr<Response>) {
    let stored = matches!(status, Code::Code(200..=299 | 409 | 422));
    if let ReferenceOr::Item(response) = response
        && stored
    {
        let replayed = text_header("`true` when this is the stored answer of an earlier request.");
        response.headers.insert("Idempotency-Replayed".to_owned(), ReferenceOr::Item(replayed));
    }
}

/// The document as it is sent.
pub(super) fn rendered(document: &OpenApi) -> Bytes {
    let rendered = serde_json::to_vec(document);
    rendered
        .inspect_err(|error| tracing::error!(%error, "no OpenAPI document"))
        .unwrap_or_default()
        .into()
}

/// `GET /openapi.json` and `GET /docs`, which needs nothing from any other server.
pub(super) fn published(document: &OpenApi) -> Router {
    let title = document.info.title.clone();
    let document = rendered(document);
    Router::new()
        .route(
            DOCUMENT,
            get(async move || (StatusCode::OK, [(CONTENT_TYPE, JSON)], document.clone())),
        )
        // Made when it is asked for: a page of 1.5 MB that hardly anybody reads is not kept.
        .route(DOCS, get(async move || Html(page(&title))))
}

fn page(title: &str) -> String {
    let page = Swagger::new(DOCUMENT).with_title(title).html();
    let page = page.replacen("<body>", &format!("<body>{}", include_str!("keys.html")), 1);
    // Under a name that others could reach, it would send the document to a validator of its own.
    page.replacen("\"deepLinking\": true,", "\"deepLinking\": true, \"validatorUrl\": null,", 1)
}
