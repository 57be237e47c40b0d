//! Whatever stands in the body of `POST /orders`: every fault is named where it is, and what is taken
//! can be sold, stored and mailed.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::BTreeSet;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use axum::body::Body;
use axum::extract::{FromRequest as _, Request};
use chassis::http::Json;
use chassis::problem::Problem;
use chrono::TimeDelta;
use order::application::place_order::PlaceOrder;
use order::presentation::requests::NewOrder;
use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::{Value, json};
use uuid::Uuid;

const FINISH_WITHIN: TimeDelta = TimeDelta::minutes(15);

/// As the route reads it; the body is there at once.
fn read(body: impl Into<Body>) -> Result<PlaceOrder, Problem> {
    let request = Request::post("/orders").header("content-type", "application/json");
    let request = request.body(body.into()).unwrap();
    let reading = pin!(Json::<NewOrder>::from_request(request, &()));
    match reading.poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(read) => read?.0.into_command(Uuid::nil(), FINISH_WITHIN),
        Poll::Pending => panic!("it waits"),
    }
}

fn faults(problem: &Problem) -> BTreeSet<(String, String)> {
    let faults = problem.errors().iter();
    faults.map(|fault| (fault.pointer().to_owned(), fault.code().to_owned())).collect()
}

/// A value, and the codes of what is wrong with it.
type Judged<T> = (T, &'static [&'static str]);

fn email() -> impl Strategy<Value = Judged<String>> {
    prop_oneof![
        8 => "[a-z0-9!#$%&'*/=?^_`{|}~-]{1,9}([.+][a-z0-9]{1,4})?@[a-z0-9]{1,6}([.-][a-z]{2,4})?"
            .prop_map(|text| (text, &[][..])),
        1 => "[a-z .]{1,8}|[a-z]{1,4}@|@[a-z]{1,4}|[a-z ]{1,3} @b\\.c|a@[a-z]{1,3}\\.|<a@b\\.c>|a@-b\\.c|a@b\\.c-|é@b\\.c"
            .prop_map(|text| (text, &["format"][..])),
        1 => Just((String::new(), &["length", "format"][..])),
        1 => (126_usize..200).prop_map(|n| (format!("a@{}c", "b.".repeat(n)), &["length"][..])),
        1 => (65_usize..99).prop_map(|n| (format!("{}@b.c", "a".repeat(n)), &["format"][..])),
    ]
}

fn method() -> impl Strategy<Value = Judged<String>> {
    let long = (65_usize..200).prop_map(|n| ("p".repeat(n), &["length"][..]));
    prop_oneof![
        8 => "[ -~]{1,64}|é{1,32}".prop_map(|text| (text, &[][..])),
        1 => long,
        1 => Just((String::new(), &["length"][..])),
    ]
}

fn sku() -> impl Strategy<Value = Judged<String>> {
    let long = (65_usize..99).prop_map(|n| ("s".repeat(n), &["format"][..]));
    prop_oneof![
        20 => "[A-Za-z0-9._-]{1,64}".prop_map(|text| (text, &[][..])),
        // Few, so that some stand twice.
        6 => "[ab]".prop_map(|text| (text, &[][..])),
        2 => "|[a-z]{0,3}[ /é%:]".prop_map(|text| (text, &["format"][..])),
        1 => long,
    ]
}

fn quantity() -> impl Strategy<Value = Judged<i64>> {
    let bad = prop_oneof![-5_i64..=0, 1_001_i64..2_000, Just(i64::MIN), Just(i64::MAX)];
    let wrap = (1_i64..9).prop_map(|n| n + (1 << 32));
    prop_oneof![
        9 => (1_i64..=1_000).prop_map(|n| (n, &[][..])),
        // Would be good if it were cut to 32 bits.
        1 => prop_oneof![bad, wrap].prop_map(|n| (n, &["range"][..])),
    ]
}

fn lines() -> impl Strategy<Value = Vec<(Judged<String>, Judged<i64>)>> {
    let line = || (sku(), quantity());
    prop_oneof![
        9 => prop::collection::vec(line(), 0..6),
        1 => prop::collection::vec(line(), 98..104),
    ]
}

type Total = Option<(Judged<i64>, Judged<&'static str>)>;

fn total() -> impl Strategy<Value = Total> {
    let amount = prop_oneof![
        4 => (0..=i64::MAX).prop_map(|n| (n, &[][..])),
        1 => prop_oneof![i64::MIN..0, Just(-1)].prop_map(|n| (n, &["range"][..])),
    ];
    let currency = prop_oneof![
        4 => prop::sample::select(vec!["GBP", "EUR", "JPY"]).prop_map(|code| (code, &[][..])),
        1 => prop::sample::select(vec!["gbp", "XXX", "XAU", "", "GB", "GBPP", "ÄÖ", "ABC"])
            .prop_map(|code| (code, &["currency"][..])),
    ];
    prop::option::of((amount, currency))
}

/// What is wrong with a request, by the rules of the API.
fn expected(
    email: &Judged<String>,
    method: &Judged<String>,
    lines: &[(Judged<String>, Judged<i64>)],
    total: &Total,
) -> BTreeSet<(String, String)> {
    let mut wrong = BTreeSet::new();
    let mut add = |pointer: String, codes: &[&str]| {
        wrong.extend(codes.iter().map(|code| (pointer.clone(), (*code).to_owned())));
    };
    add("/customer_email".into(), email.1);
    add("/payment_method".into(), method.1);
    if lines.is_empty() || lines.len() > 100 {
        add("/lines".into(), &["length"]);
    }
    for (n, ((sku, sku_codes), (_, quantity_codes))) in lines.iter().enumerate() {
        add(format!("/lines/{n}/sku"), sku_codes);
        add(format!("/lines/{n}/quantity"), quantity_codes);
        if lines[..n].iter().any(|(earlier, _)| earlier.0 == *sku) {
            add(format!("/lines/{n}/sku"), &["duplicate"]);
        }
    }
    if let Some(((_, amount_codes), (_, currency_codes))) = total {
        add("/expected_total/amount_minor".into(), amount_codes);
        add("/expected_total/currency".into(), currency_codes);
    }
    wrong
}

fn good() -> Value {
    json!({"customer_id": Uuid::nil(), "customer_email": "a@example.com",
        "lines": [{"sku": "A-1", "quantity": 1}, {"sku": "B.2", "quantity": 1000}],
        "payment_method": "pm_ok", "expected_total": {"amount_minor": 1, "currency": "GBP"}})
}

/// What the rest of the shop relies on.
fn assert_sound(command: &PlaceOrder) {
    let printable = |text: &str| !text.contains(char::is_control);
    let email = &command.customer_email;
    assert!(email.len() <= 254 && email.contains('@') && email.is_ascii());
    assert!(printable(email) && !email.contains([' ', ',', ';', '<', '>', '"', '(', ')']));
    let method = &command.payment_method;
    assert!(printable(method) && (1..=64).contains(&method.len()));
    assert!((1..=100).contains(&command.lines.len()));
    let skus: BTreeSet<&str> = command.lines.iter().map(|(sku, _)| sku.as_str()).collect();
    assert_eq!(skus.len(), command.lines.len());
    for (sku, quantity) in &command.lines {
        assert!((1..=64).contains(&sku.len()) && (1..=1_000).contains(quantity));
        assert!(sku.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c)));
    }
    if let Some(total) = &command.expected_total {
        let capitals = total.currency.bytes().all(|byte| byte.is_ascii_uppercase());
        assert!(total.amount_minor >= 0 && total.currency.len() == 3 && capitals);
    }
}

proptest! {
    #[test]
    fn every_fault_is_named_where_it_is_and_nothing_else(
        id in any::<u128>(), email in email(), method in method(), lines in lines(), total in total(),
    ) {
        let body_lines: Vec<Value> = lines.iter()
            .map(|(sku, quantity)| json!({"sku": sku.0, "quantity": quantity.0})).collect();
        let money = total.map(|(n, code)| json!({"amount_minor": n.0, "currency": code.0}));
        let body = json!({"customer_id": Uuid::from_u128(id), "customer_email": email.0,
            "lines": body_lines, "payment_method": method.0, "expected_total": money});
        let wrong = expected(&email, &method, &lines, &total);
        match read(body.to_string()) {
            Ok(command) => {
                prop_assert_eq!(wrong, BTreeSet::new());
                assert_sound(&command);
                prop_assert_eq!(command.customer_id, Uuid::from_u128(id));
                prop_assert_eq!((command.customer_email, command.payment_method), (email.0, method.0));
                let taken = command.lines.into_iter().map(|(sku, n)| (sku, i64::from(n)));
                let sent = lines.into_iter().map(|(sku, quantity)| (sku.0, quantity.0));
                prop_assert!(taken.eq(sent));
                let taken = command.expected_total.map(|m| (m.amount_minor, m.currency));
                prop_assert_eq!(taken, total.map(|(n, code)| (n.0, code.0.to_owned())));
            }
            Err(problem) => {
                prop_assert_eq!((problem.status().as_u16(), problem.code()), (422, "validation_failed"));
                prop_assert_eq!(faults(&problem), wrong);
            }
        }
    }

    #[test]
    fn a_control_character_is_found_in_every_text(
        at in any::<Index>(), field in 0_usize..4,
        bad in prop::sample::select(vec!['\0', '\r', '\n', '\t', '\u{1b}', '\u{7f}', '\u{85}', '\u{9f}']),
    ) {
        let pointer = ["/customer_email", "/payment_method", "/lines/1/sku", "/expected_total/currency"];
        let mut body = good();
        let text = body.pointer_mut(pointer[field]).unwrap();
        let mut letters: Vec<char> = text.as_str().unwrap().chars().collect();
        letters.insert(at.index(letters.len() + 1), bad);
        *text = json!(letters.into_iter().collect::<String>());
        let found = faults(&read(body.to_string()).unwrap_err());
        let expected = (pointer[field].to_owned(), "control_character".to_owned());
        prop_assert!(found.contains(&expected), "{:?}", found);
    }

    #[test]
    fn whatever_is_taken_is_sound(
        damages in prop::collection::vec((any::<Index>(), 0_usize..3, "\\PC{0,2}|[\"{}:,0-9@. -]{0,2}"), 0..3),
        noise in prop::collection::vec(any::<u8>(), 0..3), at in any::<Index>(),
    ) {
        let mut body: Vec<char> = good().to_string().chars().collect();
        for (at, cut, put) in damages {
            let at = at.index(body.len() + 1);
            let end = body.len().min(at + cut);
            body.splice(at..end, put.chars());
        }
        let mut bytes = body.into_iter().collect::<String>().into_bytes();
        let at = at.index(bytes.len() + 1);
        bytes.splice(at..at, noise);
        match read(bytes) {
            Ok(command) => assert_sound(&command),
            Err(problem) => {
                let said = (problem.status().as_u16(), problem.code());
                prop_assert!([(400, "malformed_json"), (422, "validation_failed")].contains(&said));
            }
        }
    }
}
