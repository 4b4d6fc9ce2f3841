//! Where the documents of a tier lie: a tree of the steps to them. Whether something meets one of them is found by going
//! its own path once, however many documents there are.

use std::collections::BTreeMap;

/// What lies where, each with nothing above and nothing below it.
#[derive(Debug)]
pub(super) struct Places<'a, T>(Node<'a, T>);

#[derive(Debug)]
struct Node<'a, T> {
    here: Option<T>,
    /// What came first of all that lies here or below.
    first: Option<T>,
    below: BTreeMap<&'a str, Node<'a, T>>,
}

impl<T> Default for Node<'_, T> {
    fn default() -> Self {
        Self { here: None, first: None, below: BTreeMap::new() }
    }
}

impl<'a, T: Copy> Places<'a, T> {
    pub(super) fn new() -> Self {
        Self(Node::default())
    }

    /// What lies at a place, above it or below it, and how many steps it took to find out.
    pub(super) fn meets<'p>(&self, place: impl Iterator<Item = &'p str>) -> (Option<T>, u64) {
        let (mut at, mut effort) = (&self.0, 1);
        for step in place {
            if at.here.is_some() {
                break;
            }
            let Some(next) = at.below.get(step) else { return (None, effort) };
            at = next;
            effort += 1;
        }
        (at.first, effort)
    }

    /// Puts something where nothing is.
    pub(super) fn insert(&mut self, place: impl Iterator<Item = &'a str>, what: T) {
        let mut at = &mut self.0;
        at.first = at.first.or(Some(what));
        for step in place {
            at = at.below.entry(step).or_default();
            at.first = at.first.or(Some(what));
        }
        at.here = Some(what);
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::there("a/b", Some(1))]
    #[case::below_it("a/b/c/d", Some(1))]
    #[case::above_one("a/b/c", Some(1))]
    #[case::above_two("a", Some(1))]
    #[case::above_all("", Some(1))]
    #[case::another("x", Some(3))]
    #[case::beside("a/d", None)]
    #[case::longer("ab", None)]
    fn finds_what_lies_there_above_or_below(#[case] place: &str, #[case] found: Option<u32>) {
        let mut places = Places::new();
        for (place, number) in [("a/b", 1), ("a/c", 2), ("x/y", 3)] {
            places.insert(place.split('/'), number);
        }
        assert_eq!(places.meets(place.split('/').filter(|step| !step.is_empty())).0, found);
    }
}
