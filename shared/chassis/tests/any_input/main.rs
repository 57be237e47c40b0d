//! Whatever a client sends: the readers of bodies, queries, keys and cursors never panic, take what
//! everybody reads alike and nothing else, and give nothing back of what they refuse.
#![allow(unreachable_pub, clippy::unwrap_used, clippy::panic)]

mod documents;
mod heads;

use std::collections::BTreeMap;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use axum::body::Body;
use axum::extract::{FromRequest as _, Request};
use chassis::http::Json;
use chassis::problem::Problem;
use documents::{damaged, damages, has_control_characters, same, spelt, text, value};
use proptest::prelude::*;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use uuid::Uuid;

/// What is there at once is read at once.
fn at_once<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(done) => done,
        Poll::Pending => panic!("it waits"),
    }
}

fn read<T: DeserializeOwned>(bytes: impl Into<Body>) -> Result<T, Problem> {
    let request = Request::post("/").header("content-type", "application/json");
    let Json(body) = at_once(Json::<T>::from_request(request.body(bytes.into()).unwrap(), &()))?;
    Ok(body)
}

/// The only two answers to a body that is not taken.
fn code(problem: &Problem) -> &'static str {
    match (problem.status().as_u16(), problem.code()) {
        (400, "malformed_json") => assert!(problem.errors().is_empty()),
        (422, "validation_failed") => assert!(!problem.errors().is_empty(), "no field is named"),
        other => panic!("{other:?}"),
    }
    problem.code()
}

/// Letters and digits that stand in no text of ours, so that they give themselves away.
fn mark() -> impl Strategy<Value = String> {
    "[QXZJ]{5,20}"
}

fn assert_no_echo(problem: &Problem, marks: &[&str]) {
    let body = String::from_utf8(problem.body()).unwrap();
    for mark in marks {
        for piece in mark.as_bytes().windows(4) {
            let piece = std::str::from_utf8(piece).unwrap();
            assert!(!body.contains(piece), "{piece} of {mark} comes back: {body}");
        }
    }
}

#[derive(Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
struct Order {
    customer_id: Uuid,
    email: String,
    lines: Vec<Line>,
    method: Option<Method>,
    total: Option<i64>,
    gift: bool,
    labels: Option<BTreeMap<String, u8>>,
}

#[derive(Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
struct Line {
    sku: String,
    quantity: u16,
}

#[derive(Debug, Deserialize, PartialEq)]
#[serde(rename_all = "snake_case")]
enum Method {
    Card,
    Points(u32),
}

fn order() -> impl Strategy<Value = Value> {
    let line = (text(), any::<u16>()).prop_map(|(sku, n)| json!({"sku": sku, "quantity": n}));
    let lines = prop::collection::vec(line, 0..4);
    let method = prop::sample::select(vec![json!("card"), json!({"points": 7}), json!(null)]);
    (any::<u128>(), text(), lines, method, any::<Option<i64>>(), any::<bool>()).prop_map(
        |(id, email, lines, method, total, gift)| {
            json!({"customer_id": Uuid::from_u128(id), "email": email, "lines": lines,
                "method": method, "total": total, "gift": gift})
        },
    )
}

/// Ways to make of a document one that two readers could understand differently.
fn tricks(document: &str, key: &str) -> Vec<Vec<u8>> {
    let escaped: String = key.chars().map(|letter| format!("\\u{:04x}", letter as u32)).collect();
    let texts = [
        format!("\u{feff}{document}"),
        format!("{document} 1"),
        format!("{document} {document}"),
        format!("{{\"{key}\":{document},\"{key}\":{document}}}"),
        format!("{{\"{key}\":1,\"x\":{document},\"{escaped}\":1}}"),
        format!("[{document},\"\\ud800\"]"),
        format!("[\"\\udc00\\ud800\",{document}]"),
        format!("{{\"\\ud800\":{document}}}"),
        format!("[{document},NaN]"),
        format!("[-Infinity,{document}]"),
        format!("[{document},\"\u{1}\"]"),
        format!("[{document},]"),
        format!("[{document}"),
        format!("[{document},01]"),
        format!("{{\"{key}\":{document},}}"),
        format!("{{{key}:{document}}}"),
        format!("[{document}/**/]"),
    ];
    let not_utf_8 = [&b"["[..], document.as_bytes(), b",\"\xff\"]"].concat();
    let surrogate = [&b"["[..], document.as_bytes(), b",\"\xed\xa0\x80\"]"].concat();
    texts.into_iter().map(String::into_bytes).chain([not_utf_8, surrogate]).collect()
}

/// `levels` objects and arrays around nothing.
fn nested(levels: usize, kinds: &[bool]) -> String {
    let kinds: Vec<bool> = kinds.iter().copied().cycle().take(levels).collect();
    let open = kinds.iter().map(|object| if *object { "{\"a\":" } else { "[" });
    let close = kinds.iter().rev().map(|object| if *object { "}" } else { "]" });
    open.chain(["1"]).chain(close).collect()
}

proptest! {
    #[test]
    fn a_good_document_is_read_in_any_spelling(
        value in value(), style in prop::collection::vec(any::<u8>(), 1..40),
    ) {
        let text = spelt(&value, &style);
        let read = read::<Value>(text.clone());
        prop_assert!(read.is_ok_and(|read| same(&read, &value)), "{}", text);
    }

    #[test]
    fn what_readers_understand_differently_is_malformed_however_deep_it_lies(
        value in value(), key in "[a-z]{1,5}", depth in 0_usize..20, object in any::<bool>(),
    ) {
        let document = spelt(&value, &[1]);
        for trick in tricks(&document, &key) {
            let (open, close) = if object { ("{\"o\":", "}") } else { ("[", "]") };
            let (open, close) = (open.repeat(depth), close.repeat(depth));
            let around = [open.as_bytes(), &trick, close.as_bytes()].concat();
            let refused = read::<Value>(around.clone()).map_err(|problem| code(&problem));
            let text = String::from_utf8_lossy(&around).into_owned();
            prop_assert_eq!(refused, Err("malformed_json"), "{}", text);
        }
    }

    #[test]
    fn a_control_character_is_found_in_every_text_and_key(
        value in value(), before in text(), behind in text(), depth in 0_usize..10,
        bad in "[\\x00-\\x1f\\x7f-\\x9f]",
    ) {
        let text = format!("{before}{bad}{behind}");
        for mut document in [json!([value, text]), json!({"x": value, text.as_str(): 1})] {
            for _ in 0..depth {
                document = json!({ "o": [document] });
            }
            let problem = read::<Value>(document.to_string()).unwrap_err();
            prop_assert_eq!(code(&problem), "validation_failed");
            prop_assert_eq!(problem.errors()[0].code(), "control_character");
        }
    }

    #[test]
    fn thirty_two_levels_are_read_and_no_more(
        levels in prop_oneof![5 => 0_usize..64, 5 => 30_usize..35, 1 => 60_000_usize..64_000],
        kinds in prop::collection::vec(any::<bool>(), 1..9),
    ) {
        let refused = read::<Value>(nested(levels, &kinds)).map_err(|problem| code(&problem));
        let expected = if levels <= 32 { Ok(()) } else { Err("malformed_json") };
        prop_assert_eq!(refused.map(drop), expected);
    }

    #[test]
    fn of_any_bytes_only_what_serde_json_takes_is_taken(
        bytes in prop_oneof![
            "[\\[\\]{}:,\"0-9a-f\\\\ut.eE+ -]{0,60}".prop_map(String::into_bytes),
            prop::collection::vec(any::<u8>(), 0..300),
            (value(), damages()).prop_map(|(value, damages)| damaged(&spelt(&value, &[1]), &damages)),
        ],
    ) {
        match read::<Value>(bytes.clone()) {
            Ok(taken) => {
                let known = serde_json::from_slice::<Value>(&bytes).unwrap();
                prop_assert!(same(&taken, &known), "{} {}", taken, known);
                prop_assert!(!has_control_characters(&taken));
            }
            Err(problem) => _ = code(&problem),
        }
    }

    #[test]
    fn a_damaged_order_is_what_serde_makes_of_it_or_refused(
        order in order(), style in prop::collection::vec(any::<u8>(), 1..40), damages in damages(),
    ) {
        let bytes = damaged(&spelt(&order, &style), &damages);
        let known = serde_json::from_slice::<Order>(&bytes).ok();
        let control = serde_json::from_slice::<Value>(&bytes).is_ok_and(|v| has_control_characters(&v));
        let text = String::from_utf8_lossy(&bytes).into_owned();
        match (read::<Order>(bytes), known) {
            (Ok(taken), Some(known)) => {
                prop_assert!(!control, "a control character is taken: {}", text);
                prop_assert_eq!(taken, known);
            }
            // serde_json holds this integer for a float.
            (Ok(_), None) => prop_assert!(text.contains("-0"), "{}", text),
            (Err(problem), known) => {
                let code = code(&problem);
                let may_be = known.is_none() || (control && code == "validation_failed");
                prop_assert!(may_be, "{}: {}", code, text);
            }
        }
    }

    #[test]
    fn nothing_of_a_refused_body_comes_back(
        order in order(), damages in damages(), marks in prop::collection::vec(mark(), 6),
        digits in "[1-9][0-9]{20,40}", field in 0_usize..7,
    ) {
        let [key, sku, email, method, label, behind] = &marks[..] else { panic!("six") };
        let mut bad = order;
        bad["lines"] = json!([{"sku": sku, "quantity": email}, {sku: digits, "quantity": 70_000}]);
        bad["method"] = json!(method);
        bad["email"] = json!(format!("{email}\r\n{email}"));
        bad["labels"] = json!({label: 256});
        // The first fault ends the reading of the rest, so that each has its turn to be the first.
        let names = ["customer_id", "email", "lines", "method", "total", "gift", "labels"];
        let first = json!({names[field]: bad[names[field]].clone(), key: email});
        let number = format!("{{\"total\":{digits},\"{key}\":[]}}");
        let documents = [bad.to_string(), first.to_string(), number, json!([email]).to_string()];
        for text in documents.iter().map(|text| format!("{text} ")) {
            for body in [damaged(&text, &damages), format!("{text}{behind}").into_bytes()] {
                if let Err(problem) = read::<Order>(body) {
                    code(&problem);
                    let marks: Vec<&str> = marks.iter().map(String::as_str).collect();
                    assert_no_echo(&problem, &marks);
                    let body = String::from_utf8(problem.body()).unwrap();
                    prop_assert!(!body.contains(&digits[..13]), "{}", body);
                }
            }
        }
    }
}
