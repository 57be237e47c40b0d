//! The table of bad input, as far as the log can be asked wrongly.
#![allow(clippy::unwrap_used)]

mod common;

use audit::domain::chain::Entry;
use chassis::http::Cursor;
use chassis::telemetry::{self, TelemetryConfig};
use common::{Archive, event};
use testkit::bad_input::{Bad, MARK, bad_heads, get, other_spellings, refused};
use uuid::Uuid;

const ORDER: Uuid = Uuid::from_u64_pair(9, 9);

/// An archive that knows one order.
async fn archive() -> Archive {
    telemetry::init("audit", &TelemetryConfig::default()).unwrap();
    let here = Archive::open().await;
    let subject = format!("order/{ORDER}");
    assert!(here.record(&Entry { correlation_id: ORDER, subject: &subject, ..event(1) }).await);
    here
}

fn queries() -> Vec<Bad> {
    let (fields, control) = (
        "Unknown field, missing field, wrong type, qty <= 0 or > 1000, > 100 lines, amount not \
         integer minor units, integer overflow",
        "U+0000, CR/LF or control character in any string",
    );
    let mut all = Vec::new();
    for (row, query, pointer, code) in [
        (fields, "limit=0", "/limit", "range"),
        (fields, "limit=201", "/limit", "range"),
        (fields, "limit=-1", "/limit", "range"),
        (fields, "limit=99999999999999999999", "/limit", "range"),
        (fields, "limit=1.0", "/limit", "type"),
        (fields, "limit=", "/limit", "type"),
        (fields, "limit=1&limit=1", "/limit", "duplicate"),
        (fields, "since=Zq7xJwv", "/since", "format"),
        (fields, "since=", "/since", "format"),
        (fields, "since=-200000-01-01T00:00:00Z", "/since", "range"),
        (fields, "since=%2B200000-01-01T00:00:00Z", "/since", "range"),
        (fields, "Zq7xJwv=Zq7xJwv", "", "unknown_field"),
        (control, "type=Zq7xJwv%00", "/type", "control_character"),
        (control, "source=Zq7xJwv%0d%0a", "/source", "control_character"),
    ] {
        all.push(Bad::field(row, get(&format!("/events?{query}")), pointer, code));
    }
    let cursor = |key: &str| serde_json::to_value(Cursor::behind(key)).unwrap();
    let encoded = ["1", "1.", "1.0", "-1.1", "+1.1", "01.1", "9223372036854775807.1"].map(cursor);
    let encoded = encoded.iter().filter_map(|cursor| cursor.as_str());
    for text in ["", MARK, "MQ==", "%C3%A9", "%ff", "%00", "MQ%0d%0a", "%1b&limit=0"]
        .into_iter()
        .chain(encoded)
    {
        let row = "`cursor` is opaque, and a bad one is `400 invalid_cursor`";
        all.push(Bad::new(row, get(&format!("/events?cursor={text}")), 400, "invalid_cursor"));
    }
    all
}

#[tokio::test]
async fn a_log_that_is_asked_wrongly() {
    let here = archive().await;
    let (timeline, events) = (format!("/orders/{ORDER}/timeline"), "/events?limit=1");
    let mut all = bad_heads(&timeline, "application/json");
    all.extend(bad_heads(events, "application/json"));
    let cut = ORDER.to_string().split_off(1);
    let others = other_spellings(&ORDER.to_string());
    let others = others.iter().map(String::as_str);
    for id in [MARK, "%00", "%0d%0aa", "%ff", &cut].into_iter().chain(others) {
        let request = get(&format!("/orders/{id}/timeline"));
        all.push(Bad::new("Id not a UUID", request, 400, "invalid_id"));
    }
    for id in [Uuid::nil(), Uuid::max()] {
        let request = get(&format!("/orders/{id}/timeline"));
        all.push(Bad::new("Id unknown, or owned by someone else", request, 404, "not_found"));
    }
    all.extend(queries());
    refused(&here.router, all).await;

    here.pool.close().await;
    let row = "DB down, pool timeout, outbox over cap, shutting down";
    let away = |path: &str| Bad::new(row, get(path), 503, "unavailable").header("retry-after", "5");
    refused(&here.router, vec![away(&timeline), away(events)]).await;
}
