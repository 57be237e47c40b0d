//! A parsed document against a type: every fault with its place and its code.
//!
//! serde's errors are sentences; an API needs pointers and codes. So this is a deserializer of its own
//! over [`Node`]s, whose error type keeps what serde knows about the fault. It refuses fields that the
//! type does not have, without asking each type to say so, and texts with control characters.

use std::borrow::Cow;
use std::cell::RefCell;
use std::fmt;

use serde::de::value::MapAccessDeserializer;
use serde::de::{
    DeserializeOwned, DeserializeSeed, Deserializer, Error as _, Expected, IntoDeserializer,
    MapAccess, SeqAccess, Unexpected, Visitor,
};
use serde::forward_to_deserialize_any;

use super::strict::Node;
use crate::problem::{FieldError, code};

/// Reads `node` as a `T`. With `loose`, texts also stand for numbers and truth values, as in a query.
pub(super) fn read<T: DeserializeOwned>(node: &Node, loose: bool) -> Result<T, Vec<FieldError>> {
    let faults = RefCell::new(Vec::new());
    let place = Place::Root;
    let value = T::deserialize(Reader { node, place: &place, loose, faults: &faults });
    let mut faults = faults.into_inner();
    match value {
        Ok(value) if faults.is_empty() => Ok(value),
        Ok(_) => Err(faults),
        Err(fault) => {
            faults.push(fault.into_field_error());
            Err(faults)
        }
    }
}

/// Where in the document; a chain of references into the stack, so that good documents pay nothing.
enum Place<'a> {
    Root,
    Key(&'a Place<'a>, &'a str),
    Item(&'a Place<'a>, usize),
    /// An entry whose name the client chose: it is not repeated in an answer.
    Unnamed(&'a Place<'a>),
}

impl Place<'_> {
    fn pointer(&self) -> String {
        match self {
            Self::Root => String::new(),
            Self::Key(parent, key) => format!("{}/{}", parent.pointer(), escaped(key)),
            Self::Item(parent, index) => format!("{}/{index}", parent.pointer()),
            Self::Unnamed(parent) => parent.pointer(),
        }
    }
}

/// RFC 6901, section 3.
fn escaped(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}

/// The first fault that ended the reading.
#[derive(Debug)]
struct Fault {
    code: Cow<'static, str>,
    field: Option<&'static str>,
    pointer: Option<String>,
}

impl Fault {
    fn of(code: &'static str) -> Self {
        Self { code: Cow::Borrowed(code), field: None, pointer: None }
    }

    fn at(mut self, place: &Place<'_>) -> Self {
        self.pointer.get_or_insert_with(|| match self.field {
            Some(field) => Place::Key(place, field).pointer(),
            None => place.pointer(),
        });
        self
    }

    fn into_field_error(self) -> FieldError {
        FieldError::new(self.pointer.unwrap_or_default(), self.code)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.code)
    }
}

impl std::error::Error for Fault {}

impl serde::de::Error for Fault {
    /// A type's own refusal. A message that is a code (`length`) is taken as the code.
    fn custom<T: fmt::Display>(message: T) -> Self {
        let message = message.to_string();
        let is_code = (1..=32).contains(&message.len())
            && message.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
        let code = if is_code { Cow::Owned(message) } else { Cow::Borrowed(code::FORMAT) };
        Self { code, field: None, pointer: None }
    }

    fn invalid_type(_: Unexpected<'_>, _: &dyn Expected) -> Self {
        Self::of(code::TYPE)
    }

    fn invalid_value(found: Unexpected<'_>, _: &dyn Expected) -> Self {
        match found {
            Unexpected::Unsigned(_) | Unexpected::Signed(_) | Unexpected::Float(_) => {
                Self::of(code::RANGE)
            }
            _ => Self::of(code::FORMAT),
        }
    }

    fn invalid_length(_: usize, _: &dyn Expected) -> Self {
        Self::of(code::LENGTH)
    }

    fn unknown_variant(_: &str, _: &'static [&'static str]) -> Self {
        Self::of(code::FORMAT)
    }

    fn unknown_field(_: &str, _: &'static [&'static str]) -> Self {
        Self::of(code::UNKNOWN_FIELD)
    }

    fn missing_field(field: &'static str) -> Self {
        Self { field: Some(field), ..Self::of(code::REQUIRED) }
    }

    fn duplicate_field(field: &'static str) -> Self {
        Self { field: Some(field), ..Self::of(code::DUPLICATE) }
    }
}

#[derive(Clone, Copy)]
struct Reader<'a> {
    node: &'a Node,
    place: &'a Place<'a>,
    loose: bool,
    faults: &'a RefCell<Vec<FieldError>>,
}

impl<'a> Reader<'a> {
    fn note(&self, code: &'static str) {
        let fault = FieldError::new(self.place.pointer(), code);
        let mut faults = self.faults.borrow_mut();
        if !faults.contains(&fault) {
            faults.push(fault);
        }
    }

    /// The text of a number, also of one that a query spells as text.
    fn number(&self) -> Option<&'a str> {
        match self.node {
            Node::Number(text) => Some(text),
            Node::Text(text) if self.loose => Some(text),
            _ => None,
        }
    }

    fn visit_integer<'de, V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        let text = self.number().ok_or_else(|| Fault::of(code::TYPE))?;
        let digits = text.strip_prefix('-').unwrap_or(text);
        if digits.is_empty() || !digits.bytes().all(|digit| digit.is_ascii_digit()) {
            return Err(Fault::of(code::TYPE));
        }
        match (text.parse::<u64>(), text.parse::<i64>()) {
            (Ok(number), _) => visitor.visit_u64(number),
            (_, Ok(number)) => visitor.visit_i64(number),
            _ => Err(Fault::of(code::RANGE)),
        }
    }

    fn visit_float<'de, V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        let text = self.number().ok_or_else(|| Fault::of(code::TYPE))?;
        match text.parse::<f64>() {
            Ok(number) if number.is_finite() => visitor.visit_f64(number),
            Ok(_) => Err(Fault::of(code::RANGE)),
            Err(_) => Err(Fault::of(code::TYPE)),
        }
    }

    fn visit_text<'de, V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        let Node::Text(text) = self.node else { return Err(Fault::of(code::TYPE)) };
        if text.chars().any(char::is_control) {
            self.note(code::CONTROL_CHARACTER);
        }
        visitor.visit_str(text)
    }

    fn visit_bool<'de, V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self.node {
            Node::Bool(value) => visitor.visit_bool(*value),
            Node::Text(text) if self.loose => match text.parse() {
                Ok(value) => visitor.visit_bool(value),
                Err(_) => Err(Fault::of(code::TYPE)),
            },
            _ => Err(Fault::of(code::TYPE)),
        }
    }

    fn visit_object<'de, V: Visitor<'de>>(
        self,
        fields: Option<&'static [&'static str]>,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        let Node::Object(members) = self.node else { return Err(Fault::of(code::TYPE)) };
        visitor.visit_map(Members { reader: self, fields, left: members.iter(), value: None })
    }

    fn visit_any<'de, V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self.node {
            Node::Null => visitor.visit_unit(),
            Node::Bool(value) => visitor.visit_bool(*value),
            Node::Number(text) if text.contains(['.', 'e', 'E']) => self.visit_float(visitor),
            Node::Number(_) => self.visit_integer(visitor),
            Node::Text(_) => self.visit_text(visitor),
            Node::List(items) => visitor.visit_seq(Items { reader: self, left: items, index: 0 }),
            Node::Object(_) => self.visit_object(None, visitor),
        }
    }

    fn visit_variant<'de, V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self.node {
            Node::Text(name) => visitor.visit_enum(name.as_str().into_deserializer()),
            Node::Object(members) if members.len() == 1 => {
                let left = members.iter();
                let members = Members { reader: self, fields: None, left, value: None };
                visitor.visit_enum(MapAccessDeserializer::new(members))
            }
            _ => Err(Fault::of(code::TYPE)),
        }
    }
}

macro_rules! read_by {
    ($read:ident: $($method:ident)+) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
            self.$read(visitor).map_err(|fault| fault.at(self.place))
        }
    )+};
}

impl<'de> Deserializer<'de> for Reader<'_> {
    type Error = Fault;

    read_by!(visit_any: deserialize_any);
    read_by!(visit_bool: deserialize_bool);
    read_by!(visit_text: deserialize_str deserialize_string deserialize_char);
    read_by!(visit_float: deserialize_f32 deserialize_f64);
    read_by!(visit_integer:
        deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64
        deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64);

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self.node {
            Node::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        visitor.visit_newtype_struct(self).map_err(|fault| fault.at(self.place))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        self.visit_object(Some(fields), visitor).map_err(|fault| fault.at(self.place))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        self.visit_variant(visitor).map_err(|fault| fault.at(self.place))
    }

    forward_to_deserialize_any! {
        i128 u128 bytes byte_buf unit unit_struct seq tuple tuple_struct map identifier ignored_any
    }
}

struct Items<'a> {
    reader: Reader<'a>,
    left: &'a [Node],
    index: usize,
}

impl<'de> SeqAccess<'de> for Items<'_> {
    type Error = Fault;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Fault> {
        let Some((node, left)) = self.left.split_first() else { return Ok(None) };
        let place = Place::Item(self.reader.place, self.index);
        (self.left, self.index) = (left, self.index + 1);
        let item = seed.deserialize(Reader { node, place: &place, ..self.reader });
        // A type that refuses a value after it was read has not been given its place yet.
        item.map(Some).map_err(|fault| fault.at(&place))
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.left.len())
    }
}

struct Members<'a> {
    reader: Reader<'a>,
    /// The fields of the type; `None` for a map, where any key may stand.
    fields: Option<&'static [&'static str]>,
    left: std::slice::Iter<'a, (String, Node)>,
    value: Option<&'a (String, Node)>,
}

impl<'de> MapAccess<'de> for Members<'_> {
    type Error = Fault;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Fault> {
        for member in self.left.by_ref() {
            let key = member.0.as_str();
            if self.fields.is_some_and(|fields| !fields.contains(&key)) {
                self.reader.note(code::UNKNOWN_FIELD);
                continue;
            }
            if key.chars().any(char::is_control) {
                self.reader.note(code::CONTROL_CHARACTER);
            }
            self.value = Some(member);
            return seed.deserialize(key.into_deserializer()).map(Some);
        }
        Ok(None)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Fault> {
        let Some((key, node)) = self.value.take() else {
            return Err(Fault::custom("a value was asked for before its key"));
        };
        let place = match self.fields {
            Some(_) => Place::Key(self.reader.place, key),
            None => Place::Unnamed(self.reader.place),
        };
        seed.deserialize(Reader { node, place: &place, ..self.reader })
            .map_err(|fault| fault.at(&place))
    }
}
