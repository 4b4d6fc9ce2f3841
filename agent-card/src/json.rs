//! Reading JSON so that everybody who reads the same bytes sees the same document.
//!
//! A duplicated member reads as its first value in one parser and as its last in another, and an integer beyond
//! the reach of a double reads as a different number in each: a signature over either would say nothing. Such
//! documents are refused, as are documents nested deeper than any verifier follows.

use std::{cell::RefCell, fmt};

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use crate::canonical::cut;

/// How much of a name is repeated, in characters.
const MAX_SHOWN: usize = 80;
/// The deepest nesting of lists and objects that is read, the outermost counting as one.
pub const MAX_DEPTH: usize = 64;

/// Reads one JSON document of I-JSON's kind (RFC 7493), which is what JCS is defined for.
pub(crate) fn read_strictly(bytes: &[u8]) -> Result<Value, JsonError> {
    let text = std::str::from_utf8(bytes).map_err(|e| JsonError::NotUtf8(e.valid_up_to()))?;
    let fault = RefCell::new(None);
    let mut reader = serde_json::Deserializer::from_str(text);
    let outcome = AnyValue { depth: 0, fault: &fault }
        .deserialize(&mut reader)
        .and_then(|value| reader.end().map(|()| value));
    let value = outcome.map_err(|e| fault.take().unwrap_or_else(|| JsonError::Syntax(e.to_string())))?;
    check_numbers(text)?;
    Ok(value)
}

/// Any value, its members checked to be distinct. The first broken rule is left in `fault`, because a serde error
/// is only text.
#[derive(Clone, Copy)]
struct AnyValue<'a> {
    depth: usize,
    fault: &'a RefCell<Option<JsonError>>,
}

impl AnyValue<'_> {
    fn enter<E: serde::de::Error>(self) -> Result<Self, E> {
        if self.depth == MAX_DEPTH {
            return Err(self.refuse(JsonError::TooDeep));
        }
        Ok(Self { depth: self.depth + 1, ..self })
    }

    fn refuse<E: serde::de::Error>(self, fault: JsonError) -> E {
        let error = E::custom(&fault);
        self.fault.replace(Some(fault));
        error
    }
}

impl<'de> DeserializeSeed<'de> for AnyValue<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for AnyValue<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Value, E> {
        serde_json::Number::from_f64(value)
            .map(Value::Number)
            .ok_or_else(|| E::custom("a number is out of range"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Value, A::Error> {
        let inside = self.enter()?;
        let mut list = Vec::new();
        while let Some(element) = elements.next_element_seed(inside)? {
            list.push(element);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let inside = self.enter()?;
        let mut object = Map::new();
        while let Some(name) = members.next_key::<String>()? {
            if object.contains_key(&name) {
                return Err(self.refuse(JsonError::DuplicateMember(cut(&name, MAX_SHOWN))));
            }
            let value = members.next_value_seed(inside)?;
            object.insert(name, value);
        }
        Ok(Value::Object(object))
    }
}

/// Refuses numbers that a double does not hold. `text` is known to be well-formed JSON, so outside strings a run of
/// these characters that begins with a digit or a minus is one number.
fn check_numbers(text: &str) -> Result<(), JsonError> {
    let bytes = text.as_bytes();
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => at = end_of_string(bytes, at),
            b'-' | b'0'..=b'9' => {
                let length = bytes[at..]
                    .iter()
                    .take_while(|b| matches!(b, b'-' | b'+' | b'.' | b'e' | b'E' | b'0'..=b'9'))
                    .count();
                check_number(&text[at..at + length])?;
                at += length;
            }
            _ => at += 1,
        }
    }
    Ok(())
}

/// The position after the string that opens at `at`.
fn end_of_string(bytes: &[u8], at: usize) -> usize {
    let mut at = at + 1;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => return at + 1,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    at
}

/// A fraction may be rounded to the nearest double, as RFC 8785's own example does. An integer may not, because its
/// digits are what people mean, unless it is written as RFC 8785 itself writes that double. Nor may a number vanish
/// into zero.
fn check_number(token: &str) -> Result<(), JsonError> {
    let inexact = || JsonError::InexactNumber(cut(token, 40));
    let value: f64 = token.parse().map_err(|_| inexact())?;
    let is_integer = !token.contains(['.', 'e', 'E']);
    let digits_are_lost = is_integer && format!("{value:.0}") != token && !is_as_written_by_jcs(value, token);
    let mantissa = token.split(['e', 'E']).next().unwrap_or(token);
    let vanished = value == 0.0 && mantissa.contains(|c| matches!(c, '1'..='9'));
    if !value.is_finite() || digits_are_lost || vanished {
        return Err(inexact());
    }
    Ok(())
}

/// Whether the token is the shortest text of the double, which is what RFC 8785 and JavaScript write of it.
fn is_as_written_by_jcs(value: f64, token: &str) -> bool {
    serde_json_canonicalizer::to_vec(&value).is_ok_and(|written| written == token.as_bytes())
}

/// Why bytes are not a JSON document that can be signed or verified.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JsonError {
    /// Not UTF-8.
    #[error("it is not UTF-8 from byte {0} on")]
    NotUtf8(usize),
    /// Not JSON.
    #[error("it is not JSON: {0}")]
    Syntax(String),
    /// A member appears twice in one object.
    #[error("the member {0:?} appears twice in one object; readers disagree about which one counts")]
    DuplicateMember(String),
    /// Nested deeper than [`MAX_DEPTH`].
    #[error("it is nested deeper than {MAX_DEPTH} levels")]
    TooDeep,
    /// A number that RFC 8785 cannot write as it stands.
    #[error("the number {0} is not exact as a double (RFC 8785, section 3.2.2.3); write it as a string")]
    InexactNumber(String),
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;
    use serde_json::json;

    use super::*;

    #[test]
    fn reads_what_serde_json_reads() {
        let text = r#" {"a":[1,-2,3.5,1e3,true,false,null,"x\"\\\u00e9"],"b":{"a":{}}} "#;
        let expected: Value = serde_json::from_str(text).unwrap();
        assert_eq!(read_strictly(text.as_bytes()), Ok(expected));
    }

    #[rstest]
    #[case::at_the_top(r#"{"a":1,"b":2,"a":1}"#)]
    #[case::inside(r#"{"b":[{"a":1,"a":2}]}"#)]
    #[case::by_escape("{\"a\":1,\"\\u0061\":2}")]
    fn rejects_a_duplicated_member(#[case] text: &str) {
        assert_eq!(read_strictly(text.as_bytes()), Err(JsonError::DuplicateMember("a".into())));
    }

    #[test]
    fn reads_to_the_greatest_depth_and_no_deeper() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(read_strictly(nested(MAX_DEPTH).as_bytes()).is_ok());
        assert_eq!(read_strictly(nested(MAX_DEPTH + 1).as_bytes()), Err(JsonError::TooDeep));
        assert_eq!(read_strictly("[".repeat(500_000).as_bytes()), Err(JsonError::TooDeep));
        let objects = format!("{}1{}", "{\"a\":".repeat(MAX_DEPTH + 1), "}".repeat(MAX_DEPTH + 1));
        assert_eq!(read_strictly(objects.as_bytes()), Err(JsonError::TooDeep));
    }

    #[rstest]
    #[case("0")]
    #[case("-0")]
    #[case("9007199254740991")]
    #[case("9007199254740992")]
    #[case("9007199254740994")]
    #[case("-9007199254740992")]
    #[case("1000000000000000000000")]
    #[case("295147905179352830000")]
    #[case("999999999999999700000")]
    #[case("333333333.33333329")]
    #[case("0.1")]
    #[case("0e-5")]
    #[case("5e-324")]
    fn accepts_numbers_that_a_double_holds(#[case] number: &str) {
        assert!(read_strictly(number.as_bytes()).is_ok());
    }

    #[rstest]
    #[case("9007199254740993")]
    #[case("-9007199254740993")]
    #[case("18446744073709551615")]
    #[case("295147905179352830001")]
    #[case("123456789012345678901234567890")]
    #[case("1e-400")]
    #[case("-0.000001e-350")]
    fn rejects_numbers_that_a_double_does_not_hold(#[case] number: &str) {
        let text = format!(r#"{{"a":["12345678901234567890 \" 1", {number}]}}"#);
        assert_eq!(read_strictly(text.as_bytes()), Err(JsonError::InexactNumber(number.into())));
    }

    #[rstest]
    #[case::empty(b"" as &[u8])]
    #[case::two_documents(b"{}{}")]
    #[case::trailing_comma(b"{\"a\":1,}")]
    #[case::byte_order_mark(b"\xef\xbb\xbf{}")]
    #[case::lone_surrogate(b"\"\\ud800\"")]
    #[case::overflow(b"1e400")]
    fn rejects_what_is_not_json(#[case] bytes: &[u8]) {
        assert!(matches!(read_strictly(bytes), Err(JsonError::Syntax(_))));
    }

    #[test]
    fn rejects_what_is_not_utf8() {
        assert_eq!(read_strictly(b"\"a\xff\""), Err(JsonError::NotUtf8(2)));
    }

    #[test]
    fn leaves_digits_in_strings_alone() {
        assert_eq!(
            read_strictly(br#"{"9007199254740993":"9007199254740993\\"}"#),
            Ok(json!({"9007199254740993": "9007199254740993\\"}))
        );
    }

    proptest! {
        #[test]
        fn never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = read_strictly(&bytes);
        }

        #[test]
        fn never_panics_on_json_like_text(text in r#"[\[\]{}:,"\\0-9eE.+\-a ntfu]{0,60}"#) {
            let _ = read_strictly(text.as_bytes());
        }

        #[test]
        fn accepts_every_safe_integer(number in -9_007_199_254_740_991_i64..=9_007_199_254_740_991) {
            prop_assert_eq!(read_strictly(number.to_string().as_bytes()), Ok(json!(number)));
        }
    }
}
