//! Values in the address: path and query.

use axum::extract::path::ErrorKind;
use axum::extract::rejection::PathRejection;
use axum::extract::{FromRequestParts, Path as AxumPath, Query as AxumQuery};
use http::request::Parts;
use serde::de::DeserializeOwned;

use super::schema;
use super::strict::Node;
use crate::problem::{FieldError, Problem, code};

/// Values of the path's placeholders. What does not parse, such as an [`Id`](super::Id) of another
/// form, is `400 invalid_id`.
#[derive(Clone, Copy, Debug)]
pub struct Path<T>(pub T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Path<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let path = AxumPath::<T>::from_request_parts(parts, state).await;
        path.map(|AxumPath(value)| Self(value)).map_err(|rejection| refusal(&rejection))
    }
}

/// What is no text at all can be no name either: only an id has a form that it could miss.
fn refusal(rejection: &PathRejection) -> Problem {
    let PathRejection::FailedToDeserializePathParams(error) = rejection else {
        return Problem::invalid_id();
    };
    match error.kind() {
        ErrorKind::InvalidUtf8InPathParam { key } if !is_id(key) => Problem::not_found(),
        _ => Problem::invalid_id(),
    }
}

fn is_id(name: &str) -> bool {
    name == "id" || name.ends_with("_id")
}

/// Query parameters, as strict as a body: unknown, repeated and malformed ones are `422
/// validation_failed` with the pointer `/name`. A parameter called `id` or `..._id` that has no id's
/// form is `400 invalid_id`, and so is a `cursor` with control characters `400 invalid_cursor`: it is
/// opaque, and none of ours.
#[derive(Clone, Copy, Debug)]
pub struct Query<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let pairs = AxumQuery::<Vec<(String, String)>>::try_from_uri(&parts.uri);
        let AxumQuery(pairs) = pairs.map_err(|_| Problem::validation_failed([]))?;
        decode(pairs).map(Self)
    }
}

fn decode<T: DeserializeOwned>(pairs: Vec<(String, String)>) -> Result<T, Problem> {
    let members = pairs.into_iter().map(|(name, value)| (name, Node::Text(value)));
    schema::read(&Node::Object(members.collect()), true).map_err(|faults| {
        if faults.iter().any(is_malformed_id) {
            Problem::invalid_id()
        } else if faults.iter().any(is_foreign_cursor) {
            Problem::invalid_cursor()
        } else {
            Problem::validation_failed(faults)
        }
    })
}

fn is_malformed_id(fault: &FieldError) -> bool {
    fault.code() == code::FORMAT && is_id(fault.pointer().trim_start_matches('/'))
}

fn is_foreign_cursor(fault: &FieldError) -> bool {
    fault.code() == code::CONTROL_CHARACTER && fault.pointer() == "/cursor"
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::http::{Cursor, Id};
    use serde::Deserialize;

    #[derive(Debug, Default, Deserialize, PartialEq)]
    #[serde(default)]
    struct Filter {
        customer_id: Option<Id>,
        status: Option<Status>,
        limit: Option<u16>,
        all: bool,
        cursor: Option<Cursor>,
    }

    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(rename_all = "lowercase")]
    enum Status {
        Pending,
    }

    fn query(pairs: &[(&str, &str)]) -> Result<Filter, Problem> {
        decode(pairs.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect())
    }

    #[test]
    fn texts_become_the_types_that_the_query_has() {
        let read = query(&[("limit", "50"), ("status", "pending"), ("all", "true")]).unwrap();
        let status = Some(Status::Pending);
        assert_eq!(read, Filter { limit: Some(50), status, all: true, ..Filter::default() });
        assert_eq!(query(&[]).unwrap(), Filter::default());
    }

    #[test]
    fn a_bad_parameter_is_named_and_a_bad_id_is_an_invalid_id() {
        let first = |pairs: &[(&str, &str)]| {
            let problem = query(pairs).unwrap_err();
            let fault = problem.errors().first().cloned();
            fault.unwrap_or_else(|| FieldError::new("", problem.code()))
        };
        assert_eq!(first(&[("limit", "x")]), FieldError::new("/limit", code::TYPE));
        assert_eq!(first(&[("limit", "")]), FieldError::new("/limit", code::TYPE));
        assert_eq!(first(&[("limit", "99999")]), FieldError::new("/limit", code::RANGE));
        assert_eq!(
            first(&[("limit", "1"), ("limit", "1")]),
            FieldError::new("/limit", code::DUPLICATE)
        );
        assert_eq!(first(&[("status", "gone")]), FieldError::new("/status", code::FORMAT));
        assert_eq!(first(&[("colour", "red")]), FieldError::new("", code::UNKNOWN_FIELD));
        for id in ["7", "0198c0de000070008000000000000001"] {
            assert_eq!(first(&[("customer_id", id)]), FieldError::new("", "invalid_id"));
        }
    }

    #[test]
    fn a_cursor_with_control_characters_is_a_foreign_one_like_any_other() {
        let code = |pairs: &[(&str, &str)]| query(pairs).unwrap_err().code();
        assert_eq!(code(&[("cursor", "\0")]), "invalid_cursor");
        assert_eq!(code(&[("cursor", "\r\n"), ("limit", "x")]), "invalid_cursor");
        assert_eq!(code(&[("cursor", "\0"), ("customer_id", "7")]), "invalid_id");
        assert_eq!(code(&[("cursor", "a"), ("cursor", "a")]), "validation_failed");
    }
}
