//! Which field of a request is at fault, and how.

use std::borrow::Cow;

use schemars::JsonSchema;
use serde::Serialize;

use super::Problem;

/// Codes of `errors[].code` that hold for any API; a service adds its own, such as `unknown_sku`.
pub mod code {
    /// The field is missing.
    pub const REQUIRED: &str = "required";
    /// A field that the API does not have; the pointer names the object it stood in.
    pub const UNKNOWN_FIELD: &str = "unknown_field";
    /// The value has another JSON type.
    pub const TYPE: &str = "type";
    /// A number is too small or too large.
    pub const RANGE: &str = "range";
    /// A text or a list is too short or too long.
    pub const LENGTH: &str = "length";
    /// A text does not have the form that it must have.
    pub const FORMAT: &str = "format";
    /// A value that may stand once stands twice.
    pub const DUPLICATE: &str = "duplicate";
    /// A text holds a control character, U+0000 and line breaks included.
    pub const CONTROL_CHARACTER: &str = "control_character";
}

/// One field at fault.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct FieldError {
    /// A JSON Pointer into the body, or `/name` for a query parameter.
    pointer: String,
    /// What is wrong with it, for programs.
    code: Cow<'static, str>,
}

impl FieldError {
    /// `pointer` is a JSON Pointer (RFC 6901) into the body, or `/name` for a query parameter. It
    /// must name places that the API has, never a name that the client made up.
    pub fn new(pointer: impl Into<String>, code: impl Into<Cow<'static, str>>) -> Self {
        Self { pointer: pointer.into(), code: code.into() }
    }

    /// Where.
    pub fn pointer(&self) -> &str {
        &self.pointer
    }

    /// What.
    pub fn code(&self) -> &str {
        &self.code
    }
}

/// Collects everything that is wrong with a request before it is refused.
///
/// ```
/// use chassis::problem::{FieldErrors, code};
///
/// let mut faults = FieldErrors::default();
/// faults.check(1 <= 0, "/lines/0/quantity", code::RANGE);
/// faults.check("a@b".contains('@'), "/customer_email", code::FORMAT);
/// let problem = faults.into_result(()).unwrap_err();
/// assert_eq!(problem.errors().len(), 1);
/// ```
#[derive(Clone, Debug, Default)]
pub struct FieldErrors(Vec<FieldError>);

impl FieldErrors {
    /// Notes a fault.
    pub fn add(&mut self, pointer: impl Into<String>, code: impl Into<Cow<'static, str>>) {
        self.0.push(FieldError::new(pointer, code));
    }

    /// Notes a fault unless `good`.
    pub fn check(
        &mut self,
        good: bool,
        pointer: impl Into<String>,
        code: impl Into<Cow<'static, str>>,
    ) {
        if !good {
            self.add(pointer, code);
        }
    }

    /// True when nothing was noted.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// `value` when nothing was noted.
    ///
    /// # Errors
    /// `422 validation_failed` with every fault.
    pub fn into_result<T>(self, value: T) -> Result<T, Problem> {
        if self.0.is_empty() { Ok(value) } else { Err(Problem::validation_failed(self.0)) }
    }
}
