//! The entries in memory, found by ID, by parent, by SPIFFE ID and by likeness.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    ops::Bound,
    sync::Arc,
};

use secplane_identity::SpiffeId;

use super::{Entry, EntryId, RegistryError, Selector};

/// What makes two entries similar: there is at most one entry for each.
type Likeness = (SpiffeId, SpiffeId, BTreeSet<Selector>);

#[derive(Default)]
pub(super) struct Index {
    by_id: BTreeMap<EntryId, Arc<Entry>>,
    by_parent: HashMap<SpiffeId, BTreeSet<EntryId>>,
    by_spiffe_id: HashMap<SpiffeId, BTreeSet<EntryId>>,
    by_likeness: HashMap<Likeness, EntryId>,
    /// Entries that are being written: no second one may take their place meanwhile.
    reserved_ids: HashSet<EntryId>,
    reserved_likenesses: HashSet<Likeness>,
}

fn likeness(entry: &Entry) -> Likeness {
    let fields = entry.fields();
    (fields.spiffe_id.clone(), fields.parent_id.clone(), fields.selectors.clone())
}

impl Index {
    /// Keeps the place of an entry that is about to be written.
    pub(super) fn reserve(&mut self, entry: &Arc<Entry>) -> Result<(), RegistryError> {
        let likeness = likeness(entry);
        if let Some(similar) = self.by_likeness.get(&likeness).and_then(|id| self.by_id.get(id)) {
            return Err(RegistryError::Similar(Arc::clone(similar)));
        }
        if self.by_id.contains_key(entry.id()) {
            return Err(RegistryError::IdTaken(entry.id().clone()));
        }
        self.take(entry.id(), likeness)
    }

    /// Keeps the place of an entry that is about to replace `old`.
    pub(super) fn reserve_update(
        &mut self,
        old: &Arc<Entry>,
        entry: &Arc<Entry>,
    ) -> Result<(), RegistryError> {
        match self.by_id.get(old.id()) {
            None => return Err(RegistryError::NotFound(old.id().clone())),
            // Somebody else changed it since `entry` was made of `old`.
            Some(current) if !Arc::ptr_eq(current, old) => return Err(RegistryError::Busy),
            Some(_) => {}
        }
        let likeness = likeness(entry);
        if let Some(similar) = self.by_likeness.get(&likeness).filter(|id| *id != entry.id())
            && let Some(similar) = self.by_id.get(similar)
        {
            return Err(RegistryError::Similar(Arc::clone(similar)));
        }
        self.take(entry.id(), likeness)
    }

    fn take(&mut self, id: &EntryId, likeness: Likeness) -> Result<(), RegistryError> {
        if self.reserved_ids.contains(id) || self.reserved_likenesses.contains(&likeness) {
            return Err(RegistryError::Busy);
        }
        self.reserved_ids.insert(id.clone());
        self.reserved_likenesses.insert(likeness);
        Ok(())
    }

    /// Gives a place free again.
    pub(super) fn release(&mut self, entry: &Entry) {
        self.reserved_ids.remove(entry.id());
        self.reserved_likenesses.remove(&likeness(entry));
    }

    pub(super) fn insert(&mut self, entry: Arc<Entry>) {
        let id = entry.id().clone();
        let fields = entry.fields();
        self.by_parent.entry(fields.parent_id.clone()).or_default().insert(id.clone());
        self.by_spiffe_id.entry(fields.spiffe_id.clone()).or_default().insert(id.clone());
        self.by_likeness.insert(likeness(&entry), id.clone());
        self.by_id.insert(id, entry);
    }

    pub(super) fn remove(&mut self, id: &EntryId) {
        let Some(entry) = self.by_id.remove(id) else { return };
        let fields = entry.fields();
        remove_from(&mut self.by_parent, &fields.parent_id, id);
        remove_from(&mut self.by_spiffe_id, &fields.spiffe_id, id);
        self.by_likeness.remove(&likeness(&entry));
    }

    pub(super) fn get(&self, id: &EntryId) -> Option<Arc<Entry>> {
        self.by_id.get(id).cloned()
    }

    pub(super) fn len(&self) -> usize {
        self.by_id.len()
    }

    /// The entries after an ID, in the order of their IDs.
    pub(super) fn after(&self, id: Option<&EntryId>) -> impl Iterator<Item = &Arc<Entry>> {
        let from = id.map_or(Bound::Unbounded, Bound::Excluded);
        self.by_id.range::<EntryId, _>((from, Bound::Unbounded)).map(|(_, entry)| entry)
    }

    pub(super) fn below(&self, parent: &SpiffeId) -> impl Iterator<Item = &Arc<Entry>> {
        self.by_parent.get(parent).into_iter().flatten().filter_map(|id| self.by_id.get(id))
    }

    pub(super) fn of_id(&self, id: &SpiffeId) -> impl Iterator<Item = &Arc<Entry>> {
        self.by_spiffe_id.get(id).into_iter().flatten().filter_map(|id| self.by_id.get(id))
    }
}

fn remove_from(map: &mut HashMap<SpiffeId, BTreeSet<EntryId>>, key: &SpiffeId, id: &EntryId) {
    if let Some(ids) = map.get_mut(key) {
        ids.remove(id);
        if ids.is_empty() {
            map.remove(key);
        }
    }
}
