//! What plain deserialising forgives and we do not: a key that stands twice, and bottomless nesting.

use std::collections::HashSet;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

/// Deepest nesting of objects and arrays that is read.
const MAX_DEPTH: usize = 32;

/// Reads `bytes` as one JSON document and refuses what two readers could understand differently.
///
/// # Errors
/// On bad UTF-8 or syntax, trailing bytes, a key that stands twice in one object, or more than 32
/// levels of nesting.
pub fn check(bytes: &[u8]) -> Result<(), serde_json::Error> {
    let text = std::str::from_utf8(bytes).map_err(serde_json::Error::custom)?;
    let mut reader = serde_json::Deserializer::from_str(text);
    Level(0).deserialize(&mut reader)?;
    reader.end()
}

#[derive(Clone, Copy)]
struct Level(usize);

impl Level {
    fn deeper<E: Error>(self) -> Result<Self, E> {
        if self.0 == MAX_DEPTH {
            return Err(E::custom("nested deeper than 32 levels"));
        }
        Ok(Self(self.0 + 1))
    }
}

impl<'de> DeserializeSeed<'de> for Level {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Level {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        let inner = self.deeper()?;
        while items.next_element_seed(inner)?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<(), A::Error> {
        let inner = self.deeper()?;
        let mut seen = HashSet::new();
        while let Some(key) = entries.next_key::<String>()? {
            if !seen.insert(key) {
                return Err(A::Error::custom("a key stands twice"));
            }
            entries.next_value_seed(inner)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::check;

    #[test]
    fn documents_that_two_readers_could_differ_on_are_refused() {
        let deep = |n: usize| format!("{}1{}", "[".repeat(n), "]".repeat(n));
        assert!(check(deep(32).as_bytes()).is_ok());
        assert!(check(deep(33).as_bytes()).is_err());
        assert!(check(br#"{"a":1,"a":2}"#).is_err());
        assert!(check(br#"[{"x":{"a":1,"a":1}}]"#).is_err());
        assert!(check(br#"{"a":1} x"#).is_err());
        assert!(check(b"\xff").is_err());
        assert!(check(b"\xef\xbb\xbf{}").is_err());
        assert!(check(b"NaN").is_err());
        assert!(check(br#""\ud800""#).is_err());
        assert!(check(br#"{"a":[1,-2,3.5,null,true,"x"]}"#).is_ok());
    }
}
