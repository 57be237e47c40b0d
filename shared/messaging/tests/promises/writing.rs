//! What its readers would refuse is refused when it is written, and takes nothing else along.

use std::collections::BTreeMap;

use envelope::{EncodeError, Event, MAX_BODY, Subject};
use serde::{Deserialize, Serialize, Serializer};
use serde_json::value::RawValue;
use testkit::eventually;

use crate::house::{Booked, House, Lit, SOON, Switch};

/// An event with any name and any data.
#[derive(Deserialize)]
struct Odd {
    #[serde(skip)]
    subject: String,
    data: Box<RawValue>,
}

impl Odd {
    fn new(subject: impl Into<String>, data: impl Into<String>) -> Self {
        Self { subject: subject.into(), data: RawValue::from_string(data.into()).unwrap() }
    }
}

impl Serialize for Odd {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        BTreeMap::from([("data", &self.data)]).serialize(to)
    }
}

impl Event for Odd {
    const TYPE: &'static str = "lamp.odd.v1";

    fn subject(&self) -> Subject {
        Subject::new("lamp", &self.subject)
    }
}

/// JSON has no infinity: it is written as null, which is no number.
#[derive(Serialize, Deserialize)]
struct Bright {
    lumen: f64,
}

impl Event for Bright {
    const TYPE: &'static str = "lamp.shone.v1";

    fn subject(&self) -> Subject {
        Subject::new("lamp", "hall")
    }
}

fn refused(error: &EncodeError) -> &'static str {
    match error {
        EncodeError::Serialize(_) => "serialize",
        EncodeError::Unreadable(_) => "schema_invalid",
        EncodeError::NotOurs(_) => "not_authorised",
        EncodeError::Oversize { .. } => "oversize",
        EncodeError::Refused(envelope::DecodeError::Malformed(_)) => "malformed",
        EncodeError::Refused(_) => "envelope_invalid",
    }
}

#[tokio::test]
async fn what_no_reader_would_take_is_not_written_and_all_else_is() {
    let house = House::new().await;
    let lamp = house.lamp().await;
    lamp.provision().await;
    let (ledger, runs) = house.running_ledger(&Switch::new()).await;
    let deep = |levels: usize| format!("{}1{}", "[".repeat(levels), "]".repeat(levels));
    // Envelope, data and the list: the innermost is on level 32.
    let (deepest, too_deep) = (deep(30), deep(31));
    let large = format!("{:?}", "x".repeat(MAX_BODY));
    let mut tx = lamp.begin().await;
    for (odd, version, code) in [
        (Odd::new("hall", &*too_deep), 1, "malformed"),
        (Odd::new("hall", r#"{"a":1,"a":2}"#), 1, "malformed"),
        (Odd::new("hall", r#""\ud800""#), 1, "malformed"),
        (Odd::new("hall", large), 1, "oversize"),
        (Odd::new("hall", "1"), 0, "envelope_invalid"),
        (Odd::new("hall", "1"), 1 << 31, "envelope_invalid"),
        (Odd::new("hall\n", "1"), 1, "envelope_invalid"),
        (Odd::new("h".repeat(251), "1"), 1, "envelope_invalid"),
    ] {
        let error = tx.publish(&odd, version).unwrap_err();
        assert_eq!(refused(&error), code, "{} {version}: {error}", odd.subject);
    }
    let error = tx.publish(&Bright { lumen: f64::INFINITY }, 1).unwrap_err();
    assert_eq!(refused(&error), "schema_invalid", "{error}");
    let error = tx.publish(&Booked { lamp: "hall".into(), n: 1 }, 1).unwrap_err();
    assert_eq!(refused(&error), "not_authorised", "{error}");

    tx.publish(&Lit::new("hall", 1), 1).unwrap();
    tx.publish(&Odd::new("attic", &*deepest), i32::MAX as u32).unwrap();
    tx.commit().await.unwrap();
    assert_eq!(lamp.pending().await.len(), 2);
    let _runs = lamp.run();
    eventually(SOON, || async { ledger.count("entry").await == 1 }).await;
    house.finish(&ledger, vec![runs]).await;
    assert!(ledger.dead_letters().await.is_empty());
}
