//! Rows that this authority did not write, as they were last read: they count for nothing, and are counted.

use std::{
    borrow::Borrow,
    collections::BTreeSet,
    sync::{Mutex, MutexGuard, PoisonError},
};

/// The keys of such rows of one table.
#[derive(Default)]
pub(super) struct Refused<K>(Mutex<BTreeSet<K>>);

impl<K: Ord> Refused<K> {
    pub(super) fn add(&self, key: K) {
        self.keys().insert(key);
    }

    /// The row is gone, or ours again.
    pub(super) fn remove<Q: Ord + ?Sized>(&self, key: &Q)
    where
        K: Borrow<Q>,
    {
        self.keys().remove(key);
    }

    /// Before all rows are read.
    pub(super) fn clear(&self) {
        self.keys().clear();
    }

    pub(super) fn contains<Q: Ord + ?Sized>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
    {
        self.keys().contains(key)
    }

    pub(super) fn count(&self) -> usize {
        self.keys().len()
    }

    fn keys(&self) -> MutexGuard<'_, BTreeSet<K>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
