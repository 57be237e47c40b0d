//! JSON syntax, stricter than most parsers: what two readers could understand differently is refused.

use std::collections::HashSet;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

/// Levels of objects and arrays in one document.
const MAX_DEPTH: usize = 32;

/// One value of a document. Numbers keep their text: whether `1e309` fits is for the schema to say.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Node {
    Null,
    Bool(bool),
    Number(String),
    Text(String),
    List(Vec<Node>),
    Object(Vec<(String, Node)>),
}

/// The bytes are no JSON document that this API takes.
#[derive(Debug, thiserror::Error)]
pub(super) enum Malformed {
    #[error("not UTF-8")]
    Encoding(#[from] std::str::Utf8Error),
    #[error("not JSON")]
    Syntax(#[from] serde_json::Error),
    #[error("more than {MAX_DEPTH} levels")]
    Depth,
}

/// Parses one document: UTF-8, no byte order mark, no lone surrogate, nothing behind the value, no
/// key twice in an object, at most 32 levels.
pub(super) fn parse(bytes: &[u8]) -> Result<Node, Malformed> {
    // The scan for the outermost raw value does not recurse, so depth cannot exhaust the stack.
    node(serde_json::from_str(std::str::from_utf8(bytes)?)?, 0)
}

/// serde_json finds the ends of the raw values, one level at a time; each level is read once more per
/// level above it, which the depth bounds.
fn node(raw: &RawValue, depth: usize) -> Result<Node, Malformed> {
    let text = raw.get();
    let first = text.bytes().next().unwrap_or_default();
    if matches!(first, b'{' | b'[') && depth == MAX_DEPTH {
        return Err(Malformed::Depth);
    }
    Ok(match first {
        b'{' => {
            let Members(members) = serde_json::from_str(text)?;
            let members = members.into_iter();
            let members = members.map(|(key, value)| Ok((key, node(value, depth + 1)?)));
            Node::Object(members.collect::<Result<_, Malformed>>()?)
        }
        b'[' => {
            let items: Vec<&RawValue> = serde_json::from_str(text)?;
            let items = items.into_iter().map(|item| node(item, depth + 1));
            Node::List(items.collect::<Result<_, _>>()?)
        }
        b'"' => Node::Text(serde_json::from_str(text)?),
        b't' => Node::Bool(true),
        b'f' => Node::Bool(false),
        b'n' => Node::Null,
        _ => Node::Number(text.to_owned()),
    })
}

/// The members of one object, in order, each key once.
struct Members<'a>(Vec<(String, &'a RawValue)>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Unique;

        impl<'de> Visitor<'de> for Unique {
            type Value = Members<'de>;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("an object with unique keys")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let (mut seen, mut members) = (HashSet::new(), Vec::new());
                while let Some((key, value)) = map.next_entry::<String, &RawValue>()? {
                    if !seen.insert(key.clone()) {
                        return Err(serde::de::Error::custom("a key stands twice"));
                    }
                    members.push((key, value));
                }
                Ok(Members(members))
            }
        }

        deserializer.deserialize_map(Unique)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn documents_that_readers_understand_differently_are_refused() {
        for bad in [
            "",
            " ",
            "nul",
            "{",
            "[1,]",
            "{\"a\":1,}",
            "{'a':1}",
            "1 2",
            "{} {}",
            "NaN",
            "-Infinity",
            "01",
            "+1",
            ".5",
            "1.",
            "\u{feff}{}",
            "\"\u{1}\"",
            "\"\\ud800\"",
            "\"\\udc00\\ud800\"",
            "{\"\\ud800\":1}",
            "{\"a\":1,\"a\":1}",
            "{\"a\":1,\"\\u0061\":1}",
            "[{\"x\":{\"a\":1,\"a\":2}}]",
            "// c\n1",
        ] {
            assert!(parse(bad.as_bytes()).is_err(), "{bad}");
        }
        assert!(parse(b"\"\xff\"").is_err());
        assert!(parse(b"\"\xed\xa0\x80\"").is_err());
    }

    #[test]
    fn thirty_two_levels_are_allowed_and_no_more() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(parse(nested(32).as_bytes()).is_ok());
        assert!(parse(nested(33).as_bytes()).is_err());
        assert!(parse(nested(30_000).as_bytes()).is_err());
    }

    #[test]
    fn numbers_keep_their_text() {
        for number in ["0", "-0", "1.0", "1e309", "123456789012345678901234567890"] {
            assert_eq!(parse(number.as_bytes()).unwrap(), Node::Number(number.to_owned()));
        }
    }

    proptest! {
        #[test]
        fn any_bytes_give_an_answer_and_accept_no_more_than_serde_json(text in "[\\[\\]{}:,\"0-9a-z\\\\ue. +-]{0,40}") {
            if parse(text.as_bytes()).is_ok() {
                let known = serde_json::from_str::<serde_json::Value>(&text);
                let too_large = known.as_ref().is_err_and(|e| e.to_string().contains("out of range"));
                prop_assert!(known.is_ok() || too_large, "{}", text);
            }
        }

        #[test]
        fn raw_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(&bytes);
        }
    }
}
