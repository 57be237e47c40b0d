//! JSON documents: good ones in any spelling, and what happens to them on the way.

use std::fmt::Write as _;

use proptest::prelude::*;
use serde_json::{Map, Value};

/// Values that JSON readers agree on. Floats are dyadic, so that every parser gets the same.
pub fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<i32>().prop_map(|n| Value::from(f64::from(n) / 64.0)),
        text().prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 40, 5, |inner| {
        let list = prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from);
        let object = prop::collection::vec((text(), inner), 0..5)
            .prop_map(|members| Value::Object(members.into_iter().collect::<Map<_, _>>()));
        prop_oneof![list, object]
    })
}

/// Texts without control characters, which the API does not take.
pub fn text() -> impl Strategy<Value = String> {
    "[ -~]{0,6}|\\PC{0,4}|[\"\\\\/{}\\[\\]:,]{1,4}|[😀𝄞é]{1,3}"
}

/// The document in one of its spellings: `style` chooses white space and escapes.
pub fn spelt(value: &Value, style: &[u8]) -> String {
    let mut choices = style.iter().copied().cycle();
    let mut out = String::new();
    write(value, &mut out, &mut || choices.next().unwrap_or_default());
    out
}

fn write(value: &Value, out: &mut String, choose: &mut impl FnMut() -> u8) {
    let space =
        |out: &mut String, choice: u8| out.push_str(["", "", " ", "\n\t\r"][choice as usize % 4]);
    space(out, choose());
    match value {
        Value::String(text) => write_text(text, out, choose),
        Value::Array(items) => {
            out.push('[');
            for (n, item) in items.iter().enumerate() {
                out.push_str(if n > 0 { "," } else { "" });
                write(item, out, choose);
            }
            out.push(']');
        }
        Value::Object(members) => {
            out.push('{');
            for (n, (key, item)) in members.iter().enumerate() {
                out.push_str(if n > 0 { "," } else { "" });
                space(out, choose());
                write_text(key, out, choose);
                space(out, choose());
                out.push(':');
                write(item, out, choose);
            }
            out.push('}');
        }
        plain => _ = write!(out, "{plain}"),
    }
    space(out, choose());
}

fn write_text(text: &str, out: &mut String, choose: &mut impl FnMut() -> u8) {
    out.push('"');
    for letter in text.chars() {
        match letter {
            _ if choose().is_multiple_of(4) => {
                for unit in letter.encode_utf16(&mut [0; 2]) {
                    _ = write!(out, "\\u{unit:04x}");
                }
            }
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            other => out.push(other),
        }
    }
    out.push('"');
}

/// Whether two values are the same document. JSON has one kind of number, and `-0` is 0.
pub fn same(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(a, b)| same(a, b))
        }
        (Value::Object(one), Value::Object(other)) => {
            one.len() == other.len()
                && one.iter().all(|(key, a)| other.get(key).is_some_and(|b| same(a, b)))
        }
        // serde_json may be off by the last bit of a float, and reads integers beyond 64 bits as such.
        (Value::Number(one), Value::Number(other)) => {
            one == other || {
                let (one, other) = (one.as_f64().unwrap(), other.as_f64().unwrap());
                (one - other).abs() <= f64::EPSILON * one.abs()
            }
        }
        _ => one == other,
    }
}

/// Whether a control character stands in one of its texts.
pub fn has_control_characters(value: &Value) -> bool {
    let bad = |text: &str| text.contains(char::is_control);
    match value {
        Value::String(text) => bad(text),
        Value::Array(items) => items.iter().any(has_control_characters),
        Value::Object(members) => {
            members.iter().any(|(key, value)| bad(key) || has_control_characters(value))
        }
        _ => false,
    }
}

/// One thing that may happen to bytes. Places are taken modulo the length.
#[derive(Debug, Clone)]
pub enum Damage {
    Replace(usize, u8),
    Insert(usize, &'static [u8]),
    Cut(usize, usize),
    Repeat(usize, usize),
}

pub fn damages() -> impl Strategy<Value = Vec<Damage>> {
    let piece = prop::sample::select(vec![
        &b"\""[..],
        b",",
        b":",
        b"{",
        b"}",
        b"[",
        b"]",
        b"0",
        b"-",
        b".5",
        b"e9",
        b"\\",
        b"\\u0000",
        b"\\u000d",
        b"\\ud83d",
        b"\\u0041",
        b"null",
        b"true",
        b"NaN",
        b"\xff",
        b"\xc3\xa9",
        b" ",
        b"\x00",
        b"\x7f",
        b"99999999999999999999",
        b"\"quantity\":1,",
        b"\"x\":{},",
        b"\xef\xbb\xbf",
    ]);
    let (at, length) = (|| 0_usize..10_000, || 1_usize..40);
    let damage = prop_oneof![
        3 => (at(), prop_oneof![any::<u8>(), b' '..=b'~']).prop_map(|(at, by)| Damage::Replace(at, by)),
        3 => (at(), piece).prop_map(|(at, piece)| Damage::Insert(at, piece)),
        1 => (at(), length()).prop_map(|(at, length)| Damage::Cut(at, length)),
        1 => (at(), length()).prop_map(|(at, length)| Damage::Repeat(at, length)),
    ];
    prop::collection::vec(damage, 0..4)
}

pub fn damaged(document: &str, damages: &[Damage]) -> Vec<u8> {
    let mut bytes = document.as_bytes().to_vec();
    for damage in damages {
        let place = |at: usize| at % (bytes.len() + 1);
        match damage {
            Damage::Replace(at, by) => {
                let at = place(*at);
                if let Some(byte) = bytes.get_mut(at) {
                    *byte = *by;
                }
            }
            Damage::Insert(at, piece) => {
                let at = place(*at);
                bytes.splice(at..at, piece.iter().copied());
            }
            Damage::Cut(at, length) => {
                let at = place(*at);
                bytes.drain(at..bytes.len().min(at + length));
            }
            Damage::Repeat(at, length) => {
                let at = place(*at);
                let again = bytes[at..bytes.len().min(at + length)].to_vec();
                bytes.splice(at..at, again);
            }
        }
    }
    bytes
}
