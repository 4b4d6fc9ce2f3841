//! Where in a card something stands: `skills[0].tags`.

use std::fmt::{self, Write};

/// How much of one member's name is shown, in characters.
const MAX_NAME: usize = 64;
/// How long the text of a place becomes, in characters.
const MAX_TEXT: usize = 300;

/// The way from the card to one of its values. It borrows its names and becomes text only when somebody is told of it:
/// a card may have a hundred thousand values below a member with a very long name.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Place<'a> {
    /// The card itself.
    Card,
    /// A member of the object at a place.
    Member(&'a Place<'a>, &'a str),
    /// An element of the list at a place, counted from zero.
    Element(&'a Place<'a>, usize),
}

impl Place<'_> {
    /// The place as text; empty for the card itself. What is very long is cut.
    pub(crate) fn text(&self) -> String {
        cut(&self.to_string(), MAX_TEXT)
    }

    fn is_card(&self) -> bool {
        matches!(self, Self::Card)
    }
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Card => Ok(()),
            Self::Member(owner, name) => {
                owner.fmt(f)?;
                write_name(f, name, owner.is_card())
            }
            Self::Element(list, position) => {
                list.fmt(f)?;
                write!(f, "[{position}]")
            }
        }
    }
}

/// The place of a member of what stands at `at`, as text.
pub(crate) fn path(at: &str, name: &str) -> String {
    let mut path = at.to_owned();
    // Writing to a String does not fail.
    let _ = write_name(&mut path, name, at.is_empty());
    path
}

/// A name that is no plain word is quoted.
fn write_name(out: &mut impl Write, name: &str, is_first: bool) -> fmt::Result {
    let is_plain =
        !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'));
    let name = cut(name, MAX_NAME);
    match (is_plain, is_first) {
        (true, true) => out.write_str(&name),
        (true, false) => write!(out, ".{name}"),
        (false, _) => write!(out, "[{name:?}]"),
    }
}

/// The text, or as much of it as is shown.
pub(crate) fn cut(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}…", &text[..end]),
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::{Place::*, *};

    #[rstest]
    #[case(Card, "")]
    #[case(Member(&Card, "name"), "name")]
    #[case(Member(&Element(&Member(&Card, "skills"), 3), "tags"), "skills[3].tags")]
    #[case(Member(&Member(&Card, "a"), "b c"), "a[\"b c\"]")]
    #[case(Member(&Card, ""), "[\"\"]")]
    fn names_places(#[case] place: Place<'_>, #[case] expected: &str) {
        assert_eq!(place.text(), expected);
        if let Member(owner, name) = place {
            assert_eq!(path(&owner.text(), name), expected);
        }
    }

    #[test]
    fn cuts_what_is_long() {
        let long = "é".repeat(1000);
        assert_eq!(Member(&Card, &long).text().chars().count(), MAX_NAME + 5);
        let nested = (0..64).map(|_| "name").fold(String::new(), |at, name| path(&at, name));
        assert_eq!(nested.len(), 64 * 5 - 1);
        let (one, name) = (Member(&Card, "a"), "b".repeat(60));
        let two = Member(&one, &name);
        let three = Member(&two, &name);
        let four = Member(&three, &name);
        let five = Member(&four, &name);
        let six = Member(&five, &name);
        assert_eq!(six.text().chars().count(), MAX_TEXT + 1);
    }
}
