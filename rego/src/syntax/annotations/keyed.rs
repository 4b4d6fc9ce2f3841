//! The YAML of a `METADATA` block as OPA reads it: which words are true or false, and what is a key.
//!
//! OPA makes JSON of what is below the members of a block, and refuses a block where that has a map with a key that its
//! reader takes for a number, a boolean, a null or a time. A reader into a map of text would make text of such a key.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{DeserializeOwned, Error, MapAccess, SeqAccess, Visitor},
};
use serde_json::{Map, Value};

/// Reads a block with the words for truth that OPA's reader knows: others, such as `yes`, are text.
pub(super) fn read<T: DeserializeOwned>(yaml: &str) -> Result<T, String> {
    let options = serde_saphyr::options! { strict_booleans: true };
    serde_saphyr::from_str_with_options(yaml, options).map_err(|error| error.to_string())
}

/// True or false, and neither in quotes.
pub(super) struct Flag(pub(super) bool);

impl<'de> Deserialize<'de> for Flag {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // A reader that is asked for a boolean takes the text of one too.
        deserializer.deserialize_any(TrueOrFalse).map(Self)
    }
}

struct TrueOrFalse;

impl Visitor<'_> for TrueOrFalse {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("`true` or `false`, without quotes")
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<bool, E> {
        Ok(value)
    }
}

/// A value whose maps, as deep as they lie, have text for keys.
pub(super) struct Keyed(pub(super) Value);

impl<'de> Deserialize<'de> for Keyed {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyValue).map(Self)
    }
}

struct AnyValue;

impl<'de> Visitor<'de> for AnyValue {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(Keyed(item)) = items.next_element()? {
            list.push(item);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some((Key(key), Keyed(value))) = members.next_entry()? {
            map.insert(key, value);
        }
        Ok(Value::Object(map))
    }
}

struct Key(String);

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // By what it is, not as text: only so the reader tells a number from the text of one.
        deserializer.deserialize_any(TextKey).map(Self)
    }
}

struct TextKey;

impl Visitor<'_> for TextKey {
    type Value = String;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key that is text (put it in quotes)")
    }

    fn visit_str<E: Error>(self, key: &str) -> Result<String, E> {
        if is_number_or_time_to_opa(key) {
            return Err(E::custom(format!(
                "the key `{key}` is a number or a time to OPA: name it otherwise"
            )));
        }
        Ok(key.to_owned())
    }
}

/// Whether OPA's reader may take for a number or a time what ours takes for text: `010`, `1_000`, `2026-01-01`. Quotes
/// would make text of it for both, but they cannot be seen from here.
fn is_number_or_time_to_opa(key: &str) -> bool {
    let rest = key.trim_start_matches(['+', '-', '_', '.']);
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    let then = rest.as_bytes().get(digits);
    let is_time = digits == 4 && then == Some(&b'-');
    let is_grouped = key.contains('_') && key.bytes().all(is_of_a_number);
    let is_padded = digits > 1 && rest.starts_with('0') && key.bytes().all(is_of_a_number);
    digits > 0 && (is_time || is_grouped || is_padded)
}

/// Digits of any base, signs, exponents and what stands between.
fn is_of_a_number(byte: u8) -> bool {
    byte.is_ascii_hexdigit() || matches!(byte, b'+' | b'-' | b'_' | b'.' | b'x' | b'X' | b'o' | b'O')
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn is_read(key: &str) -> bool {
        read::<Keyed>(&format!("a:\n  - {key}: x\n")).is_ok()
    }

    #[rstest]
    #[case("404")]
    #[case("-1")]
    #[case("1.5")]
    #[case("+.5")]
    #[case("1e3")]
    #[case(".inf")]
    #[case("0x10")]
    #[case("0o10")]
    #[case("0b11")]
    #[case("010")]
    #[case("09")]
    #[case("00.5")]
    #[case("1_000")]
    #[case("1__0")]
    #[case("1_0.5")]
    #[case("-_1")]
    #[case("99999999999999999999999")]
    #[case("true")]
    #[case("FALSE")]
    #[case("~")]
    #[case("Null")]
    #[case("2026-01-01")]
    #[case("2026-1-1 10:00:00")]
    #[case("&anchor 404")]
    #[case("? 404\n    ")]
    fn refuses_a_key_that_is_no_text(#[case] key: &str) {
        assert!(!is_read(key));
    }

    #[rstest]
    #[case("not found")]
    #[case("\"404\"")]
    #[case("'true'")]
    #[case("!!str 404")]
    #[case("tRUE")]
    #[case("yes")]
    #[case("On")]
    #[case("n")]
    #[case("1.2.3")]
    #[case("1-2")]
    #[case("007-bond")]
    #[case("1_a_z")]
    #[case("a_1")]
    #[case("nan")]
    fn takes_a_key_that_is_text(#[case] key: &str) {
        assert!(is_read(key));
    }

    #[test]
    fn keeps_what_it_reads() {
        let Keyed(value) = read("a: [1, -1, 1.5, x, true, ~, \"1\"]\nb: {c: {}}").unwrap();
        let expected = serde_json::json!({"a": [1, -1, 1.5, "x", true, null, "1"], "b": {"c": {}}});
        assert_eq!(value, expected);
    }
}
