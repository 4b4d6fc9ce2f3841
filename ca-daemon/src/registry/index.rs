//! The entries in memory, found by ID, by parent, by SPIFFE ID, by selector and by likeness.
//!
//! Each entry is held once; an index costs a pointer or two an entry, and its keys are shared with the entry or are
//! hashes, so that a million entries fit into a small machine.

use std::{
    collections::{BTreeSet, HashMap, HashSet, hash_map::RandomState},
    hash::BuildHasher,
    sync::Arc,
};

use secplane_identity::SpiffeId;

use super::{
    Entry, EntryFilter, EntryId, RegistryError, Selector,
    group::{self, ById, Group},
    likeness::Likeness,
};

#[derive(Default)]
pub(super) struct Index {
    by_id: BTreeSet<ById>,
    by_parent: HashMap<SpiffeId, Group>,
    by_spiffe_id: HashMap<SpiffeId, Group>,
    by_likeness: HashMap<Likeness, Arc<Entry>>,
    /// Every entry under one of its selectors (and its parent), by their hash. Whoever has all selectors of an entry
    /// has this one too; two that share a hash are told apart by looking at the entry.
    by_selector: HashMap<u64, Group>,
    hashing: RandomState,
    /// How many entries of a parent ask for the hash of an executable.
    wanting_hash: HashMap<SpiffeId, usize>,
    /// The IDs of rows in the database that are not ours.
    refused: BTreeSet<String>,
    /// Entries that are being written: no second one may take their place meanwhile.
    reserved_ids: HashSet<EntryId>,
    reserved_likenesses: HashSet<Likeness>,
}

/// A place that is kept for an entry while it is written.
pub(super) struct Place {
    id: EntryId,
    likeness: Option<Likeness>,
}

impl Place {
    /// The entry that it is kept for.
    pub(super) fn id(&self) -> &EntryId {
        &self.id
    }
}

/// Why there is no place for an entry.
pub(super) enum NoPlace {
    /// Another change of it is under way; what comes of it decides.
    Underway,
    /// It is refused.
    Refused(RegistryError),
}

impl<E: Into<RegistryError>> From<E> for NoPlace {
    fn from(error: E) -> Self {
        Self::Refused(error.into())
    }
}

impl Index {
    /// Keeps the place of an entry that is about to be written.
    pub(super) fn reserve(&mut self, entry: &Entry) -> Result<Place, NoPlace> {
        let likeness = Likeness::of(entry);
        if let Some(similar) = self.by_likeness.get(&likeness) {
            return Err(RegistryError::Similar(Arc::clone(similar)).into());
        }
        if self.by_id.contains(entry.id()) {
            return Err(RegistryError::IdTaken(entry.id().clone()).into());
        }
        self.take(entry.id(), Some(likeness))
    }

    /// Keeps the place of an entry that is about to replace the one of its ID.
    pub(super) fn reserve_update(&mut self, entry: &Entry) -> Result<Place, NoPlace> {
        let likeness = Likeness::of(entry);
        if let Some(similar) = self.by_likeness.get(&likeness).filter(|similar| similar.id() != entry.id()) {
            return Err(RegistryError::Similar(Arc::clone(similar)).into());
        }
        self.take(entry.id(), Some(likeness))
    }

    /// Keeps everybody else's hands off an ID.
    pub(super) fn reserve_id(&mut self, id: &EntryId) -> Result<Place, NoPlace> {
        self.take(id, None)
    }

    fn take(&mut self, id: &EntryId, likeness: Option<Likeness>) -> Result<Place, NoPlace> {
        let taken = likeness.is_some_and(|likeness| self.reserved_likenesses.contains(&likeness));
        if taken || self.reserved_ids.contains(id) {
            return Err(NoPlace::Underway);
        }
        self.reserved_ids.insert(id.clone());
        self.reserved_likenesses.extend(likeness);
        Ok(Place { id: id.clone(), likeness })
    }

    /// Gives a place free again.
    pub(super) fn release(&mut self, place: &Place) {
        self.reserved_ids.remove(&place.id);
        if let Some(likeness) = &place.likeness {
            self.reserved_likenesses.remove(likeness);
        }
    }

    /// An entry that holds its parent by the ID that the entries beside it hold.
    pub(super) fn with_shared_parent(&self, mut entry: Entry) -> Arc<Entry> {
        let parent = &entry.fields().parent_id;
        let known = self.by_parent.get_key_value(parent).or_else(|| self.by_spiffe_id.get_key_value(parent));
        if let Some(known) = known.map(|(known, _)| known.clone()) {
            entry.hold_parent(known);
        }
        Arc::new(entry)
    }

    /// Remembers that the database holds a row of this ID that is not ours.
    pub(super) fn refuse(&mut self, id: String) {
        self.refused.insert(id);
    }

    /// The IDs of rows that are not ours.
    pub(super) fn refused(&self) -> &BTreeSet<String> {
        &self.refused
    }

    /// Adds an entry, or replaces the one of its ID.
    pub(super) fn insert(&mut self, entry: Arc<Entry>) {
        self.remove(entry.id());
        let likeness = Likeness::of(&entry);
        self.add(entry, likeness);
    }

    /// Adds an entry of a new ID.
    pub(super) fn add(&mut self, entry: Arc<Entry>, likeness: Likeness) {
        let fields = entry.fields();
        group::add(&mut self.by_parent, fields.parent_id.clone(), &entry);
        group::add(&mut self.by_spiffe_id, fields.spiffe_id.clone(), &entry);
        // The rarest of its selectors: it is looked at for the fewest workloads.
        let keys = fields.selectors.iter().map(|selector| self.selector_key(&fields.parent_id, selector));
        if let Some(key) = keys.min_by_key(|key| self.by_selector.get(key).map_or(0, Group::len)) {
            group::add(&mut self.by_selector, key, &entry);
        }
        if wants_hash(&entry) {
            *self.wanting_hash.entry(fields.parent_id.clone()).or_default() += 1;
        }
        self.by_likeness.insert(likeness, Arc::clone(&entry));
        self.by_id.insert(ById(entry));
    }

    pub(super) fn remove(&mut self, id: &EntryId) -> Option<Arc<Entry>> {
        self.refused.remove(id.as_str());
        let ById(entry) = self.by_id.take(id)?;
        let fields = entry.fields();
        group::take(&mut self.by_parent, &fields.parent_id, id);
        group::take(&mut self.by_spiffe_id, &fields.spiffe_id, id);
        for selector in &fields.selectors {
            let key = self.selector_key(&fields.parent_id, selector);
            if group::take(&mut self.by_selector, &key, id) {
                break;
            }
        }
        if wants_hash(&entry)
            && let Some(count) = self.wanting_hash.get_mut(&fields.parent_id)
        {
            *count -= 1;
            if *count == 0 {
                self.wanting_hash.remove(&fields.parent_id);
            }
        }
        self.by_likeness.remove(&Likeness::of(&entry));
        Some(entry)
    }

    pub(super) fn get(&self, id: &EntryId) -> Option<Arc<Entry>> {
        self.by_id.get(id).map(|ById(entry)| Arc::clone(entry))
    }

    pub(super) fn len(&self) -> usize {
        self.by_id.len()
    }

    /// The entries after an ID, in the order of their IDs.
    pub(super) fn after(&self, id: Option<&EntryId>) -> impl Iterator<Item = &Arc<Entry>> {
        group::after(&self.by_id, id)
    }

    /// The entries after an ID, in the order of their IDs, among which are all that pass a filter.
    pub(super) fn candidates<'a>(
        &'a self,
        filter: &EntryFilter,
        after: Option<&EntryId>,
    ) -> Box<dyn Iterator<Item = &'a Arc<Entry>> + 'a> {
        let group = match (&filter.spiffe_id, &filter.parent_id) {
            (Some(id), _) => self.by_spiffe_id.get(id),
            (None, Some(parent)) => self.by_parent.get(parent),
            (None, None) => return Box::new(group::after(&self.by_id, after)),
        };
        group.map_or_else(|| Box::new(std::iter::empty()) as _, |group| group.after(after))
    }

    /// The entries below a parent.
    pub(super) fn below(&self, parent: &SpiffeId) -> impl Iterator<Item = &Arc<Entry>> {
        self.by_parent.get(parent).into_iter().flat_map(|group| group.after(None))
    }

    /// The entries that give a SPIFFE ID.
    pub(super) fn of_id(&self, id: &SpiffeId) -> impl Iterator<Item = &Arc<Entry>> {
        self.by_spiffe_id.get(id).into_iter().flat_map(|group| group.after(None))
    }

    /// The entries below a parent all of whose selectors are given. It looks at no more than those that share one.
    pub(super) fn matching(
        &self,
        parent: &SpiffeId,
        selectors: &BTreeSet<Selector>,
    ) -> impl Iterator<Item = &Arc<Entry>> {
        let keys: HashSet<_> = selectors.iter().map(|selector| self.selector_key(parent, selector)).collect();
        keys.into_iter()
            .filter_map(|key| self.by_selector.get(&key))
            .flat_map(|group| group.after(None))
            .filter(|entry| entry.fields().parent_id == *parent)
            .filter(|entry| entry.fields().selectors.is_subset(selectors))
    }

    /// Whether an entry below a parent asks for the hash of an executable.
    pub(super) fn wants_hash(&self, parent: &SpiffeId) -> bool {
        self.wanting_hash.contains_key(parent)
    }

    /// Whether no index holds anything.
    #[cfg(test)]
    pub(super) fn is_bare(&self) -> bool {
        self.by_id.is_empty()
            && self.by_parent.is_empty()
            && self.by_spiffe_id.is_empty()
            && self.by_likeness.is_empty()
            && self.by_selector.is_empty()
            && self.wanting_hash.is_empty()
            && self.reserved_ids.is_empty()
            && self.reserved_likenesses.is_empty()
    }

    fn selector_key(&self, parent: &SpiffeId, selector: &Selector) -> u64 {
        self.hashing.hash_one((parent.as_str(), selector))
    }
}

fn wants_hash(entry: &Entry) -> bool {
    entry.fields().selectors.iter().any(|s| s.kind() == "unix" && s.value().starts_with("sha256:"))
}
