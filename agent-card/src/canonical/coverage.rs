//! Which members of a card a signature over one form says nothing about.

use serde::Serialize;
use serde_json::Value;

use super::schema::path;

/// A member that whoever serves the card can change without breaking the signature.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct UncoveredMember {
    /// Where it stands: `skills[0].tags`.
    pub member: String,
    /// Whether it says nothing: empty, `null` or `false` through and through.
    pub is_empty: bool,
}

/// What of `card` is absent from `signed` or stands there differently.
pub(super) fn missing(card: &Value, signed: &Value) -> Vec<UncoveredMember> {
    let mut found = Vec::new();
    compare(card, signed, "", &mut found);
    found
}

fn compare(card: &Value, signed: &Value, at: &str, found: &mut Vec<UncoveredMember>) {
    match (card, signed) {
        (Value::Object(members), Value::Object(kept)) => {
            for (name, value) in members {
                match kept.get(name) {
                    Some(kept) => compare(value, kept, &path(at, name), found),
                    None => found.push(uncovered(value, path(at, name))),
                }
            }
        }
        (Value::Array(elements), Value::Array(kept)) => compare_lists(elements, kept, at, found),
        (value, kept) if value == kept => {}
        (value, _) => found.push(uncovered(value, at.to_owned())),
    }
}

/// A form may drop empty elements; the others keep their order.
fn compare_lists(elements: &[Value], kept: &[Value], at: &str, found: &mut Vec<UncoveredMember>) {
    let drops_empty = elements.len() != kept.len();
    let mut remaining = kept.iter().peekable();
    for (position, element) in elements.iter().enumerate() {
        let here = format!("{at}[{position}]");
        if drops_empty && says_nothing(element) && remaining.peek() != Some(&element) {
            found.push(uncovered(element, here));
            continue;
        }
        match remaining.next() {
            Some(kept) => compare(element, kept, &here, found),
            None => found.push(uncovered(element, here)),
        }
    }
}

fn uncovered(value: &Value, member: String) -> UncoveredMember {
    UncoveredMember { member, is_empty: says_nothing(value) }
}

fn says_nothing(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::String(text) => text.is_empty(),
        Value::Array(elements) => elements.iter().all(says_nothing),
        Value::Object(members) => members.values().all(says_nothing),
        Value::Bool(true) | Value::Number(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use super::*;

    #[rstest]
    #[case::nothing(json!({"a": [1, {"b": 2}]}), json!({"a": [1, {"b": 2}]}), &[])]
    #[case::member(json!({"a": 1, "b": 2}), json!({"a": 1}), &[("b", false)])]
    #[case::empty_member(json!({"a": 1, "b": {"c": [""]}}), json!({"a": 1}), &[("b", true)])]
    #[case::deep(json!({"a": [{"b": {"c": "x"}}]}), json!({"a": [{"b": {}}]}), &[("a[0].b.c", false)])]
    #[case::empty_element(json!({"a": ["", "x"]}), json!({"a": ["x"]}), &[("a[0]", true)])]
    #[case::lost_element(json!({"a": ["x", "y"]}), json!({"a": ["x"]}), &[("a[1]", false)])]
    #[case::kept_false(json!({"a": [false, "", 1]}), json!({"a": [false, 1]}), &[("a[1]", true)])]
    #[case::other_value(json!({"a": 1}), json!({"a": 2}), &[("a", false)])]
    #[case::odd_name(json!({"a b": 1}), json!({}), &[("[\"a b\"]", false)])]
    fn names_what_is_uncovered(
        #[case] card: Value,
        #[case] signed: Value,
        #[case] expected: &[(&str, bool)],
    ) {
        let found = missing(&card, &signed);
        let found: Vec<_> = found.iter().map(|m| (m.member.as_str(), m.is_empty)).collect();
        assert_eq!(found, expected);
    }
}
