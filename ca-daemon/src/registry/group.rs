//! The entries that share a parent, a SPIFFE ID or a selector.

use std::{
    borrow::Borrow,
    cmp::Ordering,
    collections::{BTreeSet, HashMap},
    hash::{BuildHasher, Hash},
    ops::Bound,
    sync::Arc,
};

use super::{Entry, EntryId};

/// An entry in the order of its ID. The ID is kept once, in the entry.
#[derive(Clone)]
pub(super) struct ById(pub(super) Arc<Entry>);

impl Borrow<EntryId> for ById {
    fn borrow(&self) -> &EntryId {
        self.0.id()
    }
}

impl PartialEq for ById {
    fn eq(&self, other: &Self) -> bool {
        self.0.id() == other.0.id()
    }
}

impl Eq for ById {}

impl PartialOrd for ById {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for ById {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.id().cmp(other.0.id())
    }
}

/// Entries in the order of their IDs, never none. Most groups have one member, which then costs no tree.
pub(super) enum Group {
    One(Arc<Entry>),
    #[expect(clippy::box_collection, reason = "there are millions of groups, and few of them are this one")]
    Many(Box<BTreeSet<ById>>),
}

impl Group {
    pub(super) fn len(&self) -> usize {
        match self {
            Self::One(_) => 1,
            Self::Many(entries) => entries.len(),
        }
    }

    /// The members after an ID.
    pub(super) fn after<'a>(&'a self, id: Option<&EntryId>) -> Box<dyn Iterator<Item = &'a Arc<Entry>> + 'a> {
        match self {
            Self::One(entry) => {
                Box::new(Some(entry).filter(|entry| id.is_none_or(|id| entry.id() > id)).into_iter())
            }
            Self::Many(entries) => Box::new(after(entries, id)),
        }
    }

    fn add(&mut self, entry: Arc<Entry>) {
        match self {
            Self::One(first) => {
                *self = Self::Many(Box::new([ById(Arc::clone(first)), ById(entry)].into()));
            }
            Self::Many(entries) => {
                entries.insert(ById(entry));
            }
        }
    }
}

/// The members of a tree after an ID.
pub(super) fn after<'a>(
    entries: &'a BTreeSet<ById>,
    id: Option<&EntryId>,
) -> impl Iterator<Item = &'a Arc<Entry>> + use<'a> {
    let from = id.map_or(Bound::Unbounded, Bound::Excluded);
    entries.range::<EntryId, _>((from, Bound::Unbounded)).map(|ById(entry)| entry)
}

/// Adds an entry to the group of a key.
pub(super) fn add<K: Eq + Hash, S: BuildHasher>(
    groups: &mut HashMap<K, Group, S>,
    key: K,
    entry: &Arc<Entry>,
) {
    use std::collections::hash_map::Entry::{Occupied, Vacant};
    match groups.entry(key) {
        Occupied(mut group) => group.get_mut().add(Arc::clone(entry)),
        Vacant(place) => {
            place.insert(Group::One(Arc::clone(entry)));
        }
    }
}

/// Takes an entry out of the group of a key; an empty group goes with it. Whether it was there.
pub(super) fn take<K: Eq + Hash, S: BuildHasher>(
    groups: &mut HashMap<K, Group, S>,
    key: &K,
    id: &EntryId,
) -> bool {
    match groups.get_mut(key) {
        None => false,
        Some(Group::One(entry)) if entry.id() == id => groups.remove(key).is_some(),
        Some(Group::One(_)) => false,
        Some(Group::Many(entries)) => {
            let taken = entries.remove(id);
            if entries.is_empty() {
                groups.remove(key);
            }
            taken
        }
    }
}
