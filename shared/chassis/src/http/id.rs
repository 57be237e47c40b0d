//! Ids as clients send them.

use std::borrow::Cow;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Deserializer};
use uuid::Uuid;
use uuid::fmt::Hyphenated;

/// An id out of a path, a query or a body: a UUID in its form of 36 characters, in either case.
///
/// A [`Uuid`] reads braces, `urn:uuid:` and bare digits, too. An id with several spellings is several
/// ids to every cache, log and search that compares texts, so what comes from outside has one.
///
/// ```
/// use chassis::http::Id;
///
/// assert!("0198c0de-0000-7000-8000-000000000001".parse::<Id>().is_ok());
/// assert!("0198c0de000070008000000000000001".parse::<Id>().is_err());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Id(pub Uuid);

impl FromStr for Id {
    type Err = uuid::Error;

    fn from_str(text: &str) -> Result<Self, uuid::Error> {
        text.parse::<Hyphenated>().map(|id| Self(id.into_uuid()))
    }
}

impl<'de> Deserialize<'de> for Id {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Hyphenated::deserialize(from).map(|id| Self(id.into_uuid()))
    }
}

/// That of a UUID, which is hyphenated by RFC 9562.
impl JsonSchema for Id {
    fn inline_schema() -> bool {
        Uuid::inline_schema()
    }

    fn schema_name() -> Cow<'static, str> {
        Uuid::schema_name()
    }

    fn schema_id() -> Cow<'static, str> {
        Uuid::schema_id()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        Uuid::json_schema(generator)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_has_one_form_in_either_case() {
        let id = Uuid::from_u128(0x0198_c0de_0000_7000_8000_0000_0000_abcd);
        let upper = id.hyphenated().to_string().to_uppercase();
        assert_eq!((id.to_string().parse(), upper.parse()), (Ok(Id(id)), Ok(Id(id))));
        let others = [id.braced().to_string(), id.urn().to_string(), id.simple().to_string()];
        let padded = [format!(" {id}"), format!("{id} "), String::new()];
        for other in others.iter().chain(&padded) {
            assert!(other.parse::<Id>().is_err(), "{other}");
            assert!(serde_json::from_value::<Id>(other.as_str().into()).is_err(), "{other}");
        }
    }
}
