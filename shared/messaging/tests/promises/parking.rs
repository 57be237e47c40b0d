//! Dead letters that say of themselves what no table takes.

use std::fmt::Write as _;
use std::io::Write;
use std::sync::{Arc, Mutex};

use messaging::reason::Code;
use serde_json::json;
use sha2::{Digest, Sha256};
use testkit::eventually;

use crate::house::{House, Lit, Mood, Raw, SOON, Service, Switch, header};

/// Text that no compression makes short enough for an index.
fn noise(length: usize) -> String {
    let mut text = String::new();
    for n in 0_u32.. {
        if text.len() >= length {
            break;
        }
        for byte in Sha256::digest(n.to_le_bytes()) {
            let _ = write!(text, "{byte:02x}");
        }
    }
    text.truncate(length);
    text
}

/// A message that nobody signed, straight into the dead letters.
fn unsigned(body: Vec<u8>) -> Raw {
    let mut raw = Raw::of(&Lit::new("hall", 1), 1);
    for name in ["sig", "kid", "sigver"] {
        raw.set_header(&header(name), None);
    }
    raw.set_header(&header("code"), Some("unsigned"));
    raw.set_header(&header("reason"), Some("nobody signed it"));
    raw.body = body;
    raw
}

async fn park(house: &House, ledger: &Service, raw: &Raw) {
    let before = ledger.dead_letters().await.len();
    house.wire().await.publish("dead-letters", "ledger.dlq", raw).await;
    eventually(SOON, || async { ledger.dead_letters().await.len() == before + 1 }).await;
}

#[tokio::test]
async fn claims_of_any_length_are_cut_and_hold_up_no_other_letter() {
    let house = House::new().await;
    let (ledger, _runs) = house.running_ledger(&Switch::new()).await;
    let long = noise(20_000);
    let mut raw = unsigned(json!({ "source": long }).to_string().into_bytes());
    for claim in ["code", "reason", "origin-queue"] {
        raw.set_header(&header(claim), Some(&long));
    }
    park(&house, &ledger, &raw).await;
    let letter = ledger.dead_letters().await.remove(0);
    assert_eq!(letter.source.as_deref(), Some(&long[..255]));
    assert_eq!((letter.queue.as_str(), letter.reason_code.as_str()), (&long[..255], &long[..255]));
    assert_eq!((letter.reason.as_str(), letter.body), (&long[..1_000], raw.body));
    park(&house, &ledger, &unsigned(b"{}".to_vec())).await;
}

#[tokio::test]
async fn a_source_is_read_from_what_may_be_an_envelope_and_from_nothing_else() {
    let house = House::new().await;
    let (ledger, _runs) = house.running_ledger(&Switch::new()).await;
    let filler = "x".repeat(envelope::MAX_BODY);
    for (body, source) in [
        (json!({ "source": "urn:a", "data": { "source": "urn:b" } }), Some("urn:a")),
        (json!({ "source": 7 }), None),
        (json!(["source"]), None),
        (json!({ "source": "urn:large", "filler": filler }), None),
    ] {
        park(&house, &ledger, &unsigned(body.to_string().into_bytes())).await;
        let stored = ledger.dead_letters().await.into_iter().map(|one| (one.body, one.source));
        let body = body.to_string().into_bytes();
        let (_, found) = stored.into_iter().find(|(stored, _)| *stored == body).unwrap();
        assert_eq!(found.as_deref(), source);
    }
}

#[tokio::test]
async fn a_letter_whose_names_the_database_does_not_take_is_stored_without_them() {
    let house = House::new().await;
    let (ledger, _runs) = house.running_ledger(&Switch::new()).await;
    let picky = "alter table messaging.dead_letter add check (source is null)";
    sqlx::query(picky).execute(&ledger.pg).await.unwrap();
    let raw = Raw::of(&Lit::with("hall", Mood::Permanent), 1);
    house.wire().await.publish("events", "lamp.lit.v1", &raw).await;
    eventually(SOON, || async { ledger.dead_letters().await.len() == 1 }).await;
    let letter = ledger.dead_letters().await.remove(0);
    assert_eq!((letter.source, letter.event_id, letter.event_type), (None, None, None));
    assert_eq!((letter.queue.as_str(), &letter.body), ("ledger.in", &raw.body));
    assert_eq!(letter.reason_code, Code::Rejected.as_str());
    let sig = header("sig");
    assert_eq!(letter.headers[&sig].as_str(), raw.header(&sig).as_deref());
    eventually(SOON, || async { house.vhost.depth("ledger.dlq").await == Some(0) }).await;
}

/// What is logged, in this thread.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn a_parker_that_cannot_work_is_told_of_and_keeps_the_service_at_work() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone());
    let _guard =
        tracing::subscriber::set_default(subscriber.with_max_level(tracing::Level::WARN).finish());
    let house = House::new().await;
    let ledger = house.ledger(&Switch::new()).await;
    ledger.provision().await;
    house.vhost.delete_queue("ledger.dlq").await;
    let _runs = ledger.run();
    eventually(SOON, || async {
        let said = String::from_utf8_lossy(&log.0.lock().unwrap()).into_owned();
        let told = said.lines().any(|line| {
            ["WARN", r#"part="parker""#, "no queue 'ledger.dlq'"]
                .iter()
                .all(|part| line.contains(part))
        });
        if told { Ok(()) } else { Err(said) }
    })
    .await;
    eventually(SOON, || async { ledger.kit.vitals().check() }).await;
}
