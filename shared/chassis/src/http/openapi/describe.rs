//! What a route's description says beyond its types.

use aide::generate::{GenContext, in_context};
use aide::openapi::{
    Example, Header, HeaderStyle, MediaType, Operation, Parameter, ParameterData,
    ParameterSchemaOrContent, ReferenceOr, Response, SchemaObject, StatusCode as Code,
};
use aide::transform::TransformOperation;
use http::StatusCode;
use http::header::RETRY_AFTER;
use schemars::{JsonSchema, json_schema};

use crate::http::json::JSON;
use crate::problem::{self, Document, Problem};

/// As it is written in the document.
const RETRY_AFTER_NAME: &str = "Retry-After";

/// What a route says of itself, in the order of the reader's questions: what it does
/// (`id`, `summary`, `description`), what it answers, what it refuses.
///
/// ```
/// use chassis::http::openapi::{Describe as _, Operation};
/// use chassis::http::{Api, ApiRouter, Json, routing::get_with};
/// use chassis::problem::Problem;
/// use http::StatusCode;
///
/// #[derive(serde::Serialize, schemars::JsonSchema)]
/// struct Lamp {
///     lit: bool,
/// }
///
/// fn described(route: Operation<'_>) -> Operation<'_> {
///     route
///         .id("getLamp")
///         .summary("The lamp")
///         .answers::<Lamp>(StatusCode::OK, "As it is now.")
///         .refuses(&Problem::not_found())
/// }
///
/// let lamp = || async { Json(Lamp { lit: true }) };
/// let api = Api::new(ApiRouter::<()>::new().api_route("/lamp", get_with(lamp, described)));
/// let document = serde_json::to_value(api.document())?;
/// assert!(document["paths"]["/lamp"]["get"]["responses"]["404"].is_object());
/// # Ok::<(), serde_json::Error>(())
/// ```
pub trait Describe: Sized {
    /// A body that works, where its schema cannot show one.
    fn example(self, body: &str) -> Self;
    /// A JSON answer, and when it is given.
    fn answers<T: JsonSchema>(self, status: StatusCode, when: &str) -> Self;
    /// An answer in another media type, whose body is a text.
    fn answers_text(self, status: StatusCode, media_type: &str, when: &str) -> Self;
    /// An answer without a body.
    fn answers_nothing(self, status: StatusCode, when: &str) -> Self;
    /// Server-sent events called `name`, each with an id and a `T` in JSON, resumable by
    /// `Last-Event-ID`.
    fn streams<T: JsonSchema>(self, name: &str, when: &str) -> Self;
    /// A text header of the answer with `status`, which must have been named before.
    fn header(self, status: StatusCode, name: &str, what: &str) -> Self;
    /// The answer with `status`, which must have been named before, says when to come back.
    fn retry_after(self, status: StatusCode) -> Self;
    /// A refusal beyond those of the route's extractors.
    fn refuses(self, problem: &Problem) -> Self;
}

impl Describe for TransformOperation<'_> {
    fn example(mut self, text: &str) -> Self {
        if let Some(ReferenceOr::Item(body)) = &mut self.inner_mut().request_body {
            for media_type in body.content.values_mut() {
                media_type.example = Some(text.into());
            }
        }
        self
    }

    fn answers<T: JsonSchema>(mut self, status: StatusCode, when: &str) -> Self {
        let json_schema = in_context(|ctx| ctx.schema.subschema_for::<T>());
        set(self.inner_mut(), status, response(when, JSON, json_schema));
        self
    }

    fn answers_text(mut self, status: StatusCode, media_type: &str, when: &str) -> Self {
        let text = json_schema!({ "type": "string" });
        set(self.inner_mut(), status, response(when, media_type, text));
        self
    }

    fn answers_nothing(mut self, status: StatusCode, when: &str) -> Self {
        let nothing = Response { description: when.to_owned(), ..Response::default() };
        set(self.inner_mut(), status, nothing);
        self
    }

    /// OpenAPI 3.1 has no word for the items of a stream: the schema is that of one event.
    fn streams<T: JsonSchema>(mut self, name: &str, when: &str) -> Self {
        let data = in_context(|ctx| ctx.schema.subschema_for::<T>());
        let event = json_schema!({
            "type": "object",
            "description": "One event.",
            "properties": {
                "event": { "const": name },
                "id": { "type": "string" },
                "data": {
                    "type": "string",
                    "contentMediaType": JSON,
                    "contentSchema": data,
                },
            },
            "required": ["event", "id", "data"],
        });
        set(self.inner_mut(), StatusCode::OK, response(when, "text/event-stream", event));
        let what = "The id of the last event that was seen: only what came after it is sent. One \
                    that is not known gets everything again.";
        let text = json_schema!({ "type": "string" });
        let parameter = header_parameter("Last-Event-ID", what, false, text);
        self.inner_mut().parameters.push(ReferenceOr::Item(parameter));
        self
    }

    fn header(mut self, status: StatusCode, name: &str, what: &str) -> Self {
        put_header(self.inner_mut(), status, name, text_header(what));
        self
    }

    fn retry_after(mut self, status: StatusCode) -> Self {
        put_header(self.inner_mut(), status, RETRY_AFTER_NAME, pause_header());
        self
    }

    fn refuses(mut self, problem: &Problem) -> Self {
        in_context(|ctx| refuse(ctx, self.inner_mut(), problem));
        self
    }
}

/// Adds a refusal beside others of the same status.
pub(super) fn refuse(ctx: &mut GenContext, operation: &mut Operation, problem: &Problem) {
    let responses = &mut operation.responses.get_or_insert_default().responses;
    let there = responses
        .entry(Code::Code(problem.status().as_u16()))
        .or_insert_with(|| ReferenceOr::Item(problem_response(ctx, [])));
    if let ReferenceOr::Item(response) = there {
        add(response, problem);
    }
}

/// An answer that is one of `problems`, which share a status.
pub(super) fn problem_response<'a>(
    ctx: &mut GenContext,
    problems: impl IntoIterator<Item = &'a Problem>,
) -> Response {
    let json_schema = ctx.schema.subschema_for::<Document<'static>>();
    let mut response = response("", problem::MEDIA_TYPE, json_schema);
    for problem in problems {
        add(&mut response, problem);
    }
    response
}

fn add(response: &mut Response, problem: &Problem) {
    if let Some(media_type) = response.content.get_mut(problem::MEDIA_TYPE) {
        let summary = Some(problem.title().to_owned());
        let example = Example { summary, value: Some(problem.example()), ..Example::default() };
        media_type.examples.insert(problem.code().to_owned(), ReferenceOr::Item(example));
        let codes: Vec<String> =
            media_type.examples.keys().map(|code| format!("`{code}`")).collect();
        response.description = codes.join(", ");
    }
    if problem.headers().contains_key(RETRY_AFTER) {
        response.headers.insert(RETRY_AFTER_NAME.to_owned(), ReferenceOr::Item(pause_header()));
    }
}

fn put_header(operation: &mut Operation, status: StatusCode, name: &str, header: Header) {
    let responses = &mut operation.responses.get_or_insert_default().responses;
    if let Some(ReferenceOr::Item(response)) = responses.get_mut(&Code::Code(status.as_u16())) {
        response.headers.insert(name.to_owned(), ReferenceOr::Item(header));
    }
}

fn set(operation: &mut Operation, status: StatusCode, response: Response) {
    let responses = &mut operation.responses.get_or_insert_default().responses;
    responses.insert(Code::Code(status.as_u16()), ReferenceOr::Item(response));
}

pub(super) fn response(
    description: &str,
    media_type: &str,
    json_schema: schemars::Schema,
) -> Response {
    let media = MediaType { schema: Some(schema(json_schema)), ..MediaType::default() };
    Response {
        description: description.to_owned(),
        content: [(media_type.to_owned(), media)].into_iter().collect(),
        ..Response::default()
    }
}

pub(super) fn schema(json_schema: schemars::Schema) -> SchemaObject {
    SchemaObject { json_schema, example: None, external_docs: None }
}

/// A header of an answer with a text in it.
pub(super) fn text_header(what: &str) -> Header {
    header(what, json_schema!({ "type": "string" }))
}

fn pause_header() -> Header {
    let seconds = json_schema!({ "type": "integer", "minimum": 1 });
    header("Seconds to wait before the next try.", seconds)
}

fn header(what: &str, json_schema: schemars::Schema) -> Header {
    Header {
        description: Some(what.to_owned()),
        style: HeaderStyle::Simple,
        required: false,
        deprecated: None,
        format: ParameterSchemaOrContent::Schema(schema(json_schema)),
        example: None,
        examples: Default::default(),
        extensions: Default::default(),
    }
}

/// A header of a request.
pub(super) fn header_parameter(
    name: &str,
    what: &str,
    required: bool,
    json_schema: schemars::Schema,
) -> Parameter {
    Parameter::Header {
        parameter_data: ParameterData {
            name: name.to_owned(),
            description: Some(what.to_owned()),
            required,
            deprecated: None,
            format: ParameterSchemaOrContent::Schema(schema(json_schema)),
            example: None,
            examples: Default::default(),
            explode: None,
            extensions: Default::default(),
        },
        style: HeaderStyle::Simple,
    }
}
