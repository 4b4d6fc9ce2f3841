//! A small set that costs what its members cost.

use std::{collections::BTreeSet, ops::Deref};

/// The members in their order, each once. An empty set costs no heap, one of a member no more than the member: a
/// tree would cost half a kilobyte from the first member on, and there are as many of these as there are entries.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SortedSet<T>(Box<[T]>);

impl<T: Ord> SortedSet<T> {
    /// Whether a value is among the members.
    #[must_use]
    pub fn contains(&self, value: &T) -> bool {
        self.0.binary_search(value).is_ok()
    }

    /// Whether every member is in `other`.
    #[must_use]
    pub fn is_subset(&self, other: &BTreeSet<T>) -> bool {
        self.len() <= other.len() && self.iter().all(|member| other.contains(member))
    }

    /// Whether every member of `other` is here.
    #[must_use]
    pub fn is_superset(&self, other: &BTreeSet<T>) -> bool {
        other.len() <= self.len() && other.iter().all(|member| self.contains(member))
    }
}

impl<T> Default for SortedSet<T> {
    fn default() -> Self {
        Self(Box::default())
    }
}

impl<T> Deref for SortedSet<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.0
    }
}

impl<T: Ord> FromIterator<T> for SortedSet<T> {
    fn from_iter<I: IntoIterator<Item = T>>(members: I) -> Self {
        let mut members: Vec<_> = members.into_iter().collect();
        members.sort_unstable();
        members.dedup();
        Self(members.into_boxed_slice())
    }
}

impl<T: Ord> From<BTreeSet<T>> for SortedSet<T> {
    fn from(members: BTreeSet<T>) -> Self {
        Self(members.into_iter().collect())
    }
}

impl<T: Ord, const N: usize> From<[T; N]> for SortedSet<T> {
    fn from(members: [T; N]) -> Self {
        members.into_iter().collect()
    }
}

impl<'a, T> IntoIterator for &'a SortedSet<T> {
    type Item = &'a T;
    type IntoIter = std::slice::Iter<'a, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn behaves_as_a_set(members in prop::collection::vec(0u8..12, 0..8), other in prop::collection::btree_set(0u8..12, 0..8)) {
            let set: SortedSet<_> = members.iter().copied().collect();
            let tree: BTreeSet<_> = members.into_iter().collect();
            prop_assert!(set.iter().eq(tree.iter()));
            prop_assert_eq!(set.is_subset(&other), tree.is_subset(&other));
            prop_assert_eq!(set.is_superset(&other), tree.is_superset(&other));
            for value in 0..12 {
                prop_assert_eq!(set.contains(&value), tree.contains(&value));
            }
        }
    }
}
