//! The agents in memory: found by ID at once, listed in the order of their IDs.

use std::{
    collections::{BTreeSet, HashMap},
    ops::Bound,
    sync::Arc,
};

use secplane_identity::SpiffeId;

use super::Agent;

/// An agent and the MAC of its row: whoever changes the row names it, so that of two changes at once, here or on
/// another replica, one is refused.
#[derive(Clone)]
pub(super) struct Kept {
    pub(super) agent: Arc<Agent>,
    pub(super) mac: Vec<u8>,
}

#[derive(Default)]
pub(super) struct Index {
    by_id: HashMap<SpiffeId, Kept>,
    in_order: BTreeSet<SpiffeId>,
}

impl Index {
    pub(super) fn get(&self, id: &SpiffeId) -> Option<&Kept> {
        self.by_id.get(id)
    }

    /// Takes in an agent after it was changed here, unless a later change of it is known already.
    pub(super) fn put_later(&mut self, kept: Kept) {
        let known = self.by_id.get(&kept.agent.id);
        if known.is_none_or(|known| known.agent.revision < kept.agent.revision) {
            self.put(kept);
        }
    }

    /// Takes in an agent as it stands in the database.
    pub(super) fn put(&mut self, kept: Kept) {
        let id = &kept.agent.id;
        if !self.by_id.contains_key(id) {
            self.in_order.insert(id.clone());
        }
        self.by_id.insert(id.clone(), kept);
    }

    pub(super) fn remove(&mut self, id: &SpiffeId) {
        self.by_id.remove(id);
        self.in_order.remove(id);
    }

    /// The agents after an ID, in the order of their IDs.
    pub(super) fn after(&self, id: Option<&SpiffeId>) -> impl Iterator<Item = &Arc<Agent>> {
        let from = id.map_or(Bound::Unbounded, Bound::Excluded);
        self.in_order
            .range::<SpiffeId, _>((from, Bound::Unbounded))
            .filter_map(|id| self.by_id.get(id))
            .map(|kept| &kept.agent)
    }

    pub(super) fn len(&self) -> usize {
        self.by_id.len()
    }
}
