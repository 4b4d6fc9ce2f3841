//! Which entries a list wants.

use std::collections::BTreeSet;

use secplane_identity::{SpiffeId, TrustDomain};

use super::{Entry, Selector, SortedSet};

/// All of it must hold; what is `None` does not matter.
#[derive(Debug, Clone, Default)]
pub struct EntryFilter {
    /// This SPIFFE ID.
    pub spiffe_id: Option<SpiffeId>,
    /// This parent.
    pub parent_id: Option<SpiffeId>,
    /// Selectors in this relation.
    pub selectors: Option<(Match, BTreeSet<Selector>)>,
    /// Federated trust domains in this relation.
    pub federates_with: Option<(Match, BTreeSet<TrustDomain>)>,
    /// This hint.
    pub hint: Option<String>,
    /// Downstream or not.
    pub downstream: Option<bool>,
}

/// How a given set and the set of an entry relate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Match {
    /// They are the same.
    Exact,
    /// The entry's is within the given one.
    Subset,
    /// The entry's holds the given one.
    Superset,
    /// They share a member.
    Any,
}

impl Match {
    fn holds<T: Ord>(self, given: &BTreeSet<T>, of_entry: &SortedSet<T>) -> bool {
        match self {
            Self::Exact => given.iter().eq(of_entry),
            // An entry without any is in every set, but nobody who asks for some means it.
            Self::Subset => !of_entry.is_empty() && of_entry.is_subset(given),
            Self::Superset => of_entry.is_superset(given),
            Self::Any => of_entry.iter().any(|member| given.contains(member)),
        }
    }
}

impl EntryFilter {
    pub(super) fn is_empty(&self) -> bool {
        let Self { spiffe_id, parent_id, selectors, federates_with, hint, downstream } = self;
        spiffe_id.is_none()
            && parent_id.is_none()
            && selectors.is_none()
            && federates_with.is_none()
            && hint.is_none()
            && downstream.is_none()
    }

    pub(super) fn passes(&self, entry: &Entry) -> bool {
        let fields = entry.fields();
        self.spiffe_id.as_ref().is_none_or(|id| *id == fields.spiffe_id)
            && self.parent_id.as_ref().is_none_or(|id| *id == fields.parent_id)
            && self.selectors.as_ref().is_none_or(|(how, given)| how.holds(given, &fields.selectors))
            && self
                .federates_with
                .as_ref()
                .is_none_or(|(how, given)| how.holds(given, &fields.federates_with))
            && self.hint.as_ref().is_none_or(|hint| *hint == fields.hint)
            && self.downstream.is_none_or(|downstream| downstream == fields.downstream)
    }
}
