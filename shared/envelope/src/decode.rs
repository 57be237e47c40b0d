//! From bytes to an envelope, in the order of checks that the message table prescribes.

use crate::{Envelope, MAX_BODY, json};

/// Why a body is no envelope. Each variant has one reason code under which it is parked.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// Over the size limit; it was not parsed.
    #[error("body of {size} bytes is over the limit of {MAX_BODY}")]
    Oversize {
        /// Bytes of the body.
        size: usize,
    },
    /// Not one clean JSON document.
    #[error("body is not clean JSON: {0}")]
    Malformed(#[source] serde_json::Error),
    /// JSON, but not an envelope of ours.
    #[error("envelope is invalid: {0}")]
    Invalid(String),
}

impl Envelope {
    /// Reads an envelope: size, then JSON, then shape. Unknown attributes are ignored.
    ///
    /// # Errors
    /// One [`DecodeError`] per step.
    pub fn decode(body: &[u8]) -> Result<Self, DecodeError> {
        if body.len() > MAX_BODY {
            return Err(DecodeError::Oversize { size: body.len() });
        }
        json::check(body).map_err(DecodeError::Malformed)?;
        let envelope: Self =
            serde_json::from_slice(body).map_err(|e| DecodeError::Invalid(e.to_string()))?;
        envelope.check_attributes()?;
        Ok(envelope)
    }

    fn check_attributes(&self) -> Result<(), DecodeError> {
        let invalid = |what: &str| Err(DecodeError::Invalid(what.to_owned()));
        if self.specversion != "1.0" {
            return invalid("specversion is not 1.0");
        }
        if self.datacontenttype != "application/json" {
            return invalid("datacontenttype is not application/json");
        }
        if self.aggversion == 0 || i32::try_from(self.aggversion).is_err() {
            return invalid("aggversion is not between 1 and 2147483647");
        }
        for (name, value) in [
            ("source", self.source.as_str()),
            ("type", &self.event_type),
            ("subject", self.subject.as_str()),
            ("partitionkey", &self.partitionkey),
        ] {
            if value.is_empty() || value.len() > 255 || value.contains(char::is_control) {
                return invalid(&format!("{name} is empty, too long or not printable"));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn good() -> Value {
        json!({"specversion": "1.0", "id": "01920000-0000-7000-8000-000000000001",
            "source": "urn:shop:dev:order", "type": "shop.order.placed.v1",
            "subject": "order/1", "time": "2026-01-02T03:04:05.000006Z",
            "datacontenttype": "application/json", "dataschema": "urn:shop:schema:order.placed:1.0",
            "aggversion": 1, "partitionkey": "order/1",
            "correlationid": "01920000-0000-7000-8000-000000000001", "data": {"a": 1}})
    }

    fn decode(value: &Value) -> Result<Envelope, DecodeError> {
        Envelope::decode(value.to_string().as_bytes())
    }

    #[test]
    fn an_envelope_survives_the_round_trip_to_the_byte() {
        let bytes = serde_json::to_vec(&decode(&good()).unwrap()).unwrap();
        assert_eq!(serde_json::to_vec(&Envelope::decode(&bytes).unwrap()).unwrap(), bytes);
    }

    #[test]
    fn every_required_attribute_is_required() {
        for name in ["specversion", "id", "source", "type", "subject", "aggversion", "data"] {
            let mut value = good();
            value.as_object_mut().unwrap().remove(name);
            assert!(matches!(decode(&value), Err(DecodeError::Invalid(_))), "{name}");
        }
    }

    #[test]
    fn attributes_out_of_range_are_invalid_and_unknown_ones_are_ignored() {
        for (name, bad) in [
            ("specversion", json!("1.1")),
            ("aggversion", json!(0)),
            ("aggversion", json!(-1)),
            ("aggversion", json!("1")),
            ("subject", json!("")),
            ("source", json!("a\nb")),
            ("id", json!("x")),
        ] {
            let mut value = good();
            value[name] = bad;
            assert!(matches!(decode(&value), Err(DecodeError::Invalid(_))), "{name}");
        }
        let mut value = good();
        value["somethingnew"] = json!(1);
        assert!(decode(&value).is_ok());
    }

    #[test]
    fn size_is_judged_before_json() {
        assert!(matches!(
            Envelope::decode(&vec![b'x'; MAX_BODY + 1]),
            Err(DecodeError::Oversize { .. })
        ));
        assert!(matches!(Envelope::decode(b"{"), Err(DecodeError::Malformed(_))));
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_the_decoder_panic(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..400)) {
            let _ = Envelope::decode(&bytes);
        }

        #[test]
        fn no_single_damage_makes_the_decoder_panic(at in 0_usize..400, with: u8) {
            let mut bytes = good().to_string().into_bytes();
            let at = at % bytes.len();
            bytes[at] = with;
            let _ = Envelope::decode(&bytes);
        }
    }
}
