//! JCS (RFC 8785), and what other ways to write a card share with it: sorted members, and numbers as doubles.
//!
//! RFC 8785 is what `serde_json` writes, but for the order of members and for numbers. So `serde_json` writes; the order
//! is given here, and numbers are left to `serde_json_canonicalizer`. That library could write the whole, at several
//! times the cost: it parses every name again and copies every value once for each object around it.

use std::{cmp::Ordering, io};

use serde::{
    Serialize, Serializer,
    ser::{SerializeMap, SerializeSeq},
};
use serde_json::{Value, ser::Formatter};

use super::FormError;

/// The canonical bytes of a document.
pub(crate) fn jcs(value: &Value) -> Result<Vec<u8>, FormError> {
    write(value, by_utf16, Jcs)
}

/// Writes a document with its members in an order.
pub(super) fn write(
    value: &Value,
    order: fn(&str, &str) -> Ordering,
    formatter: impl Formatter,
) -> Result<Vec<u8>, FormError> {
    let mut bytes = Vec::new();
    Sorted { value, order }
        .serialize(&mut serde_json::Serializer::with_formatter(&mut bytes, formatter))
        .map_err(|error| FormError::Unwritable(error.to_string()))?;
    Ok(bytes)
}

/// RFC 8785, section 3.2.3: by UTF-16 code units, which is another order than that of the characters.
fn by_utf16(one: &str, other: &str) -> Ordering {
    one.encode_utf16().cmp(other.encode_utf16())
}

/// RFC 8785, section 3.2.2.3: a number is a double, written as ECMAScript writes it.
pub(super) fn write_double<W: ?Sized + io::Write>(writer: &mut W, value: &impl Serialize) -> io::Result<()> {
    writer.write_all(&serde_json_canonicalizer::to_vec(value)?)
}

struct Sorted<'a> {
    value: &'a Value,
    order: fn(&str, &str) -> Ordering,
}

impl Serialize for Sorted<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let inside = |value| Sorted { value, order: self.order };
        match self.value {
            Value::Object(members) => {
                let mut sorted: Vec<_> = members.iter().collect();
                sorted.sort_unstable_by(|(one, _), (other, _)| (self.order)(one, other));
                let mut map = serializer.serialize_map(Some(sorted.len()))?;
                for (name, value) in sorted {
                    map.serialize_entry(name, &inside(value))?;
                }
                map.end()
            }
            Value::Array(elements) => {
                let mut list = serializer.serialize_seq(Some(elements.len()))?;
                for element in elements {
                    list.serialize_element(&inside(element))?;
                }
                list.end()
            }
            value => value.serialize(serializer),
        }
    }
}

struct Jcs;

impl Formatter for Jcs {
    fn write_i64<W: ?Sized + io::Write>(&mut self, writer: &mut W, value: i64) -> io::Result<()> {
        write_double(writer, &value)
    }

    fn write_u64<W: ?Sized + io::Write>(&mut self, writer: &mut W, value: u64) -> io::Result<()> {
        write_double(writer, &value)
    }

    fn write_f64<W: ?Sized + io::Write>(&mut self, writer: &mut W, value: f64) -> io::Result<()> {
        write_double(writer, &value)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_text() -> impl Strategy<Value = String> {
        // Around the places where UTF-8 and UTF-16 sort differently, and where something is escaped.
        prop_oneof![
            ".{0,6}",
            "[\\x00-\\x7f/\\\\\"]{0,6}",
            "[\u{d7ff}\u{e000}\u{fb33}\u{ffff}\u{10000}\u{10ffff}\u{2028}é]{0,4}",
        ]
    }

    fn any_document() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            any::<u64>().prop_map(|bits| Value::from(f64::from_bits(bits))),
            any_text().prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 48, 6, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
                proptest::collection::btree_map(any_text(), inner, 0..6)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn writes_what_the_library_writes(document in any_document()) {
            let written = jcs(&document).unwrap();
            prop_assert_eq!(written, serde_json_canonicalizer::to_vec(&document).unwrap());
        }
    }
}
