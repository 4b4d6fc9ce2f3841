//! Which members of a card a signature over one form says nothing about.

use serde::Serialize;
use serde_json::Value;

use super::place::Place::{self, Card, Element, Member};

/// A member that whoever serves the card can change without breaking the signature.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct UncoveredMember {
    /// Where it stands: `skills[0].tags`.
    pub member: String,
    /// Whether it says nothing: empty, `null` or `false` through and through.
    pub is_empty: bool,
}

/// What one document has and another has not.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Missing {
    /// By name, those that say something first; not all, when there are very many.
    pub(crate) members: Vec<UncoveredMember>,
    /// How many say something.
    pub(crate) with_content: usize,
    /// How many say nothing.
    pub(crate) empty: usize,
}

/// What of `card` is absent from `signed` or stands there differently; at most `most` members by name.
pub(super) fn missing(card: &Value, signed: &Value, most: usize) -> Missing {
    let mut search = Search { most, found: Missing::default(), empty: Vec::new() };
    search.compare(card, signed, &Card);
    let mut found = search.found;
    found.members.extend(search.empty.into_iter().take(most - found.members.len()));
    found
}

struct Search {
    most: usize,
    /// So far; its members all say something.
    found: Missing,
    /// Those that say nothing.
    empty: Vec<UncoveredMember>,
}

impl Search {
    fn compare(&mut self, card: &Value, signed: &Value, at: &Place<'_>) {
        match (card, signed) {
            (Value::Object(members), Value::Object(kept)) => {
                for (name, value) in members {
                    let here = Member(at, name);
                    match kept.get(name) {
                        Some(kept) => self.compare(value, kept, &here),
                        None => self.add(value, &here),
                    }
                }
            }
            (Value::Array(elements), Value::Array(kept)) => self.compare_lists(elements, kept, at),
            (value, kept) if value == kept => {}
            (value, _) => self.add(value, at),
        }
    }

    /// A form may drop empty elements; the others keep their order.
    fn compare_lists(&mut self, elements: &[Value], kept: &[Value], at: &Place<'_>) {
        let drops_empty = elements.len() != kept.len();
        let mut remaining = kept.iter().peekable();
        for (position, element) in elements.iter().enumerate() {
            let here = Element(at, position);
            if drops_empty && says_nothing(element) && remaining.peek() != Some(&element) {
                self.add(element, &here);
                continue;
            }
            match remaining.next() {
                Some(kept) => self.compare(element, kept, &here),
                None => self.add(element, &here),
            }
        }
    }

    fn add(&mut self, value: &Value, at: &Place<'_>) {
        let is_empty = says_nothing(value);
        let (count, members) = if is_empty {
            (&mut self.found.empty, &mut self.empty)
        } else {
            (&mut self.found.with_content, &mut self.found.members)
        };
        *count += 1;
        if members.len() < self.most {
            members.push(UncoveredMember { member: at.text(), is_empty });
        }
    }
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
    #[case::content_first(json!({"a": "", "b": 1, "c": ""}), json!({}), &[("b", false), ("a", true), ("c", true)])]
    fn names_what_is_uncovered(
        #[case] card: Value,
        #[case] signed: Value,
        #[case] expected: &[(&str, bool)],
    ) {
        let found = missing(&card, &signed, 10);
        let members: Vec<_> = found.members.iter().map(|m| (m.member.as_str(), m.is_empty)).collect();
        assert_eq!(members, expected);
        assert_eq!(found.with_content + found.empty, expected.len());
    }

    #[test]
    fn counts_more_than_it_names() {
        let card: Value = (0..100).map(|n| if n % 4 == 0 { json!(n + 1) } else { json!("") }).collect();
        let found = missing(&card, &json!([]), 30);
        assert_eq!((found.with_content, found.empty), (25, 75));
        assert_eq!(found.members.len(), 30);
        assert!(found.members[..25].iter().all(|member| !member.is_empty));
    }
}
