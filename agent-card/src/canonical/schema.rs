//! What a kind of verifier knows of a card, as tables, and reading a card by such a table.

use serde_json::{Map, Value};

use super::{
    FormError,
    place::Place::{self, Element, Member},
};

pub(crate) mod a2a;
pub(super) mod kagenti;

/// A structure of a card: its fields and no others are known.
#[derive(Debug)]
pub(crate) struct Message {
    pub(crate) fields: &'static [Field],
    /// At most one field of the message may be present: protobuf's `oneof`.
    pub(crate) is_choice: bool,
}

/// A field of a structure.
#[derive(Debug)]
pub(crate) struct Field {
    pub(crate) name: &'static str,
    pub(crate) presence: Presence,
    pub(crate) kind: Kind,
}

/// When a field counts as present (A2A 1.0, section 8.4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Presence {
    /// Always.
    Required,
    /// When it stands there.
    Optional,
    /// When it differs from its default.
    Implicit,
}

/// What a field holds.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Kind {
    Text,
    Flag,
    Texts,
    Message(&'static Message),
    Messages(&'static Message),
    TextMap,
    MessageMap(&'static Message),
    /// Free-form JSON with an object outside.
    Parameters,
}

impl Message {
    pub(crate) fn field(&self, name: &str) -> Option<&'static Field> {
        self.fields.iter().find(|field| field.name == name)
    }
}

/// What a reader makes of `null` as an element of a list or the value of a map.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NullElements {
    /// Protobuf's JSON mapping: an error.
    Refused,
    /// Go's `encoding/json`: the element's default, which is empty.
    Empty,
}

/// Keeps of an object what `message` knows, once the types are right. `null` fields are absent.
pub(super) fn known_members(
    message: &'static Message,
    value: &Value,
    nulls: NullElements,
    at: &Place<'_>,
) -> Result<Value, FormError> {
    let object = value.as_object().ok_or_else(|| wrong_type(at, value, "an object"))?;
    let mut known = Map::new();
    for field in message.fields {
        let Some(value) = object.get(field.name).filter(|value| !value.is_null()) else { continue };
        let known_value = known_value(field.kind, value, nulls, &Member(at, field.name))?;
        known.insert(field.name.to_owned(), known_value);
    }
    if message.is_choice && known.len() > 1 {
        return Err(FormError::SeveralAlternatives(at.text()));
    }
    Ok(Value::Object(known))
}

fn known_value(kind: Kind, value: &Value, nulls: NullElements, at: &Place<'_>) -> Result<Value, FormError> {
    match kind {
        Kind::Text => known_text(value, at),
        Kind::Flag if value.is_boolean() => Ok(value.clone()),
        Kind::Flag => Err(wrong_type(at, value, "true or false")),
        Kind::Parameters if value.is_object() => Ok(value.clone()),
        Kind::Parameters => Err(wrong_type(at, value, "an object")),
        Kind::Message(message) => known_members(message, value, nulls, at),
        Kind::Texts => list(value, at, nulls, known_text),
        Kind::Messages(message) => {
            list(value, at, nulls, |element, at| known_members(message, element, nulls, at))
        }
        Kind::TextMap => map(value, at, nulls, known_text),
        Kind::MessageMap(message) => {
            map(value, at, nulls, |element, at| known_members(message, element, nulls, at))
        }
    }
}

fn known_text(value: &Value, at: &Place<'_>) -> Result<Value, FormError> {
    if value.is_string() { Ok(value.clone()) } else { Err(wrong_type(at, value, "a string")) }
}

fn list(
    value: &Value,
    at: &Place<'_>,
    nulls: NullElements,
    read: impl Fn(&Value, &Place<'_>) -> Result<Value, FormError>,
) -> Result<Value, FormError> {
    let elements = value.as_array().ok_or_else(|| wrong_type(at, value, "a list"))?;
    let known = elements.iter().enumerate().map(|(position, element)| {
        if element.is_null() && nulls == NullElements::Empty {
            return Ok(Value::Null);
        }
        read(element, &Element(at, position))
    });
    Ok(Value::Array(known.collect::<Result<_, _>>()?))
}

fn map(
    value: &Value,
    at: &Place<'_>,
    nulls: NullElements,
    read: impl Fn(&Value, &Place<'_>) -> Result<Value, FormError>,
) -> Result<Value, FormError> {
    let members = value.as_object().ok_or_else(|| wrong_type(at, value, "an object"))?;
    let known = members.iter().map(|(name, element)| {
        if element.is_null() && nulls == NullElements::Empty {
            return Ok((name.clone(), Value::Null));
        }
        Ok((name.clone(), read(element, &Member(at, name))?))
    });
    Ok(Value::Object(known.collect::<Result<_, _>>()?))
}

pub(crate) fn wrong_type(at: &Place<'_>, value: &Value, expected: &'static str) -> FormError {
    FormError::WrongType { member: at.text(), found: type_of(value), expected }
}

/// What a value is, in words.
pub(crate) fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}
