//! `shop asyncapi`: the documents of the contracts.

use crate::{Exit, Output};

const ASYNCAPI: &str = include_str!("../../../docs/asyncapi.yaml");

/// Prints the AsyncAPI document of all events.
pub fn asyncapi(out: &Output) -> Exit {
    out.line(ASYNCAPI.trim_end());
    Exit::Done
}
