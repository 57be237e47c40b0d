//! What our extractors take and refuse, and what our answers are.

use std::borrow::Cow;

use aide::generate::GenContext;
use aide::openapi::{
    MediaType, Operation, Parameter, ParameterData, ParameterSchemaOrContent, RequestBody,
    Response, StatusCode as Code,
};
use aide::operation::{ParamLocation, add_parameters, parameters_from_schema, set_body};
use aide::{OperationInput, OperationOutput};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use super::describe::{header_parameter, refuse, response, schema};
use crate::http::json::JSON;
use crate::http::page::{LONGEST, USUAL};
use crate::http::{
    Cursor, Json, KeyedCsv, KeyedJson, Limit, Path, Query, RequestContext, Stopping, StoredAnswer,
};
use crate::problem::{FieldError, Problem, code};

/// The header that carries a client's key.
pub(super) const KEY_HEADER: &str = "Idempotency-Key";

fn takes_body(ctx: &mut GenContext, operation: &mut Operation, media_type: &str, body: Schema) {
    let media = MediaType { schema: Some(schema(body)), ..MediaType::default() };
    let content = [(media_type.to_owned(), media)].into_iter().collect();
    set_body(ctx, operation, RequestBody { content, required: true, ..RequestBody::default() });
    for problem in [Problem::payload_too_large(), Problem::unsupported_media_type()] {
        refuse(ctx, operation, &problem);
    }
}

fn takes_json<T: JsonSchema>(ctx: &mut GenContext, operation: &mut Operation) {
    let body = ctx.schema.subschema_for::<T>();
    takes_body(ctx, operation, JSON, body);
    refuse(ctx, operation, &Problem::malformed_json());
    refuse(ctx, operation, &an_invalid_field());
}

fn an_invalid_field() -> Problem {
    Problem::validation_failed([FieldError::new("/name", code::LENGTH)])
}

fn takes_key(ctx: &mut GenContext, operation: &mut Operation) {
    let what = "Your own key for this request; the same key again gives the same answer. Kept for \
                24 hours. [More](/docs#idempotency-key)";
    let form = json_schema!({
        "type": "string",
        "pattern": r#"^([A-Za-z0-9_-]{16,255}|"[A-Za-z0-9_-]{16,255}")$"#,
    });
    add_parameters(ctx, operation, [header_parameter(KEY_HEADER, what, true, form)]);
    for problem in [
        Problem::idempotency_key_missing(),
        Problem::idempotency_key_malformed(),
        Problem::request_in_progress(),
        Problem::idempotency_key_reused(),
    ] {
        refuse(ctx, operation, &problem);
    }
}

impl<T: JsonSchema> OperationInput for Json<T> {
    fn operation_input(ctx: &mut GenContext, operation: &mut Operation) {
        takes_json::<T>(ctx, operation);
    }
}

impl<T: JsonSchema> OperationInput for KeyedJson<T> {
    fn operation_input(ctx: &mut GenContext, operation: &mut Operation) {
        takes_key(ctx, operation);
        takes_json::<T>(ctx, operation);
    }
}

impl OperationInput for KeyedCsv {
    fn operation_input(ctx: &mut GenContext, operation: &mut Operation) {
        takes_key(ctx, operation);
        takes_body(ctx, operation, "text/csv", json_schema!({ "type": "string" }));
    }
}

impl<T: JsonSchema> OperationInput for Path<T> {
    fn operation_input(ctx: &mut GenContext, operation: &mut Operation) {
        takes_parameters::<T>(ctx, operation, ParamLocation::Path);
    }
}

impl<T: JsonSchema> OperationInput for Query<T> {
    fn operation_input(ctx: &mut GenContext, operation: &mut Operation) {
        let parameters = takes_parameters::<T>(ctx, operation, ParamLocation::Query);
        refuse(ctx, operation, &an_invalid_field());
        if parameters.iter().any(|name| name == "cursor") {
            refuse(ctx, operation, &Problem::invalid_cursor());
        }
    }
}

/// Their names. An id among them can be an invalid one.
fn takes_parameters<T: JsonSchema>(
    ctx: &mut GenContext,
    operation: &mut Operation,
    location: ParamLocation,
) -> Vec<String> {
    let of_all = ctx.schema.subschema_for::<T>();
    let parameters = parameters_from_schema(ctx, of_all, location);
    if parameters.iter().any(is_uuid) {
        refuse(ctx, operation, &Problem::invalid_id());
    }
    let names = parameters.iter().map(|parameter| data(parameter).name.clone()).collect();
    add_parameters(ctx, operation, parameters);
    names
}

fn data(parameter: &Parameter) -> &ParameterData {
    parameter.parameter_data_ref()
}

fn is_uuid(parameter: &Parameter) -> bool {
    let ParameterSchemaOrContent::Schema(schema) = &data(parameter).format else { return false };
    schema.json_schema.get("format").is_some_and(|format| format == "uuid")
}

impl OperationInput for RequestContext {}
impl OperationInput for Stopping {}

impl<T: JsonSchema> OperationOutput for Json<T> {
    type Inner = T;

    fn operation_response(ctx: &mut GenContext, _: &mut Operation) -> Option<Response> {
        let body = ctx.schema.subschema_for::<T>();
        let description = ctx.resolve_schema(&body).get("description");
        let description = description.and_then(|text| text.as_str()).unwrap_or_default().to_owned();
        Some(response(&description, JSON, body))
    }

    fn inferred_responses(
        ctx: &mut GenContext,
        operation: &mut Operation,
    ) -> Vec<(Option<Code>, Response)> {
        Self::operation_response(ctx, operation)
            .map(|response| (Some(Code::Code(200)), response))
            .into_iter()
            .collect()
    }
}

/// Which problems a handler answers with, its type does not say.
impl OperationOutput for Problem {
    type Inner = ();
}

impl OperationOutput for StoredAnswer {
    type Inner = ();
}

impl JsonSchema for Limit {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Limit".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "integer",
            "minimum": 1,
            "maximum": LONGEST,
            "default": USUAL,
            "description": "Entries per page.",
        })
    }
}

impl JsonSchema for Cursor {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Cursor".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "pattern": "^[A-Za-z0-9_-]+$",
            "description": "The `next_cursor` of the page before; opaque.",
        })
    }
}
