//! Which entries concern whom.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    sync::Arc,
    time::SystemTime,
};

use secplane_identity::SpiffeId;

use super::{Entry, EntryId, Registry, Selector, index::Index};

/// The path of the parent of node aliases: entries that give one more SPIFFE ID to every agent with their selectors.
const SERVER: &str = "/spire/server";

/// An attested node agent that asks for entries.
#[derive(Debug, Clone)]
pub struct Node<'a> {
    /// The agent's own SPIFFE ID.
    pub id: &'a SpiffeId,
    /// What its attestation said of the node.
    pub selectors: &'a BTreeSet<Selector>,
}

impl Registry {
    /// The unexpired entries below `parent` whose selectors a workload with `selectors` has, oldest first.
    #[must_use]
    pub fn of_workload(
        &self,
        parent: &SpiffeId,
        selectors: &BTreeSet<Selector>,
        now: SystemTime,
    ) -> Vec<Arc<Entry>> {
        let index = self.read_index();
        let mut entries: Vec<_> =
            index.matching(parent, selectors).filter(|entry| !entry.is_expired(now)).cloned().collect();
        entries.sort_by(|a, b| (a.created_at(), a.id()).cmp(&(b.created_at(), b.id())));
        entries
    }

    /// Whether any entry below `parent` has a selector `unix:sha256:…`, so that attestation can leave out what
    /// costs much and nobody asks for.
    #[must_use]
    pub fn wants_executable_hash(&self, parent: &SpiffeId) -> bool {
        self.read_index().wants_hash(parent)
    }

    /// Whether a SPIFFE ID has an unexpired entry that makes it an admin.
    #[must_use]
    pub fn is_admin(&self, id: &SpiffeId, now: SystemTime) -> bool {
        self.read_index().of_id(id).any(|entry| entry.fields().admin && !entry.is_expired(now))
    }

    /// Whether a SPIFFE ID has an unexpired entry that lets it have a CA certificate.
    #[must_use]
    pub fn is_downstream(&self, id: &SpiffeId, now: SystemTime) -> bool {
        self.read_index().of_id(id).any(|entry| entry.fields().downstream && !entry.is_expired(now))
    }

    /// The unexpired entries that an agent may act for, each once, in the order of their IDs: those below the agent,
    /// those below a SPIFFE ID that one of them gives, and so on; and likewise those of its aliases, which are
    /// entries below `/spire/server` whose selectors the node has.
    ///
    /// It looks at nothing but these entries and the aliases that share a selector with the node.
    #[must_use]
    pub fn authorized_for(&self, node: &Node<'_>, now: SystemTime) -> Vec<Arc<Entry>> {
        authorized_in(&self.read_index(), node, now)
    }

    /// One entry, if an agent may act for it; the answer of [`Registry::authorized_for`] for one entry at less cost.
    #[must_use]
    pub fn authorized_entry(&self, node: &Node<'_>, id: &EntryId, now: SystemTime) -> Option<Arc<Entry>> {
        authorized_entry_in(&self.read_index(), node, id, now)
    }
}

pub(super) fn authorized_in(index: &Index, node: &Node<'_>, now: SystemTime) -> Vec<Arc<Entry>> {
    let mut entries: HashMap<&EntryId, &Arc<Entry>> = HashMap::new();
    let mut parents = vec![node.id];
    let mut walked = HashSet::new();
    for alias in aliases(index, node, now) {
        entries.insert(alias.id(), alias);
        parents.push(&alias.fields().spiffe_id);
    }
    while let Some(parent) = parents.pop() {
        // Entries may name one another as parents in a circle.
        if !walked.insert(parent) {
            continue;
        }
        for entry in index.below(parent).filter(|entry| !entry.is_expired(now)) {
            entries.insert(entry.id(), entry);
            parents.push(&entry.fields().spiffe_id);
        }
    }
    let mut entries: Vec<_> = entries.into_values().cloned().collect();
    entries.sort_unstable_by(|a, b| a.id().cmp(b.id()));
    entries
}

/// From the entry towards the agent.
pub(super) fn authorized_entry_in(
    index: &Index,
    node: &Node<'_>,
    id: &EntryId,
    now: SystemTime,
) -> Option<Arc<Entry>> {
    let entry = index.get(id).filter(|entry| !entry.is_expired(now))?;
    let mut children = vec![&entry];
    let mut walked = HashSet::new();
    while let Some(child) = children.pop() {
        let parent = &child.fields().parent_id;
        if parent == node.id || is_alias(child, node) {
            return Some(Arc::clone(&entry));
        }
        if walked.insert(parent) {
            children.extend(index.of_id(parent).filter(|entry| !entry.is_expired(now)));
        }
    }
    None
}

fn aliases<'a>(index: &'a Index, node: &Node<'_>, now: SystemTime) -> Vec<&'a Arc<Entry>> {
    let Ok(server) = SpiffeId::from_parts(node.id.trust_domain(), SERVER) else { return Vec::new() };
    index.matching(&server, node.selectors).filter(|entry| !entry.is_expired(now)).collect()
}

fn is_alias(entry: &Entry, node: &Node<'_>) -> bool {
    let fields = entry.fields();
    fields.parent_id.path() == SERVER && fields.selectors.is_subset(node.selectors)
}
