//! Trying again what was refused because its tests did not end, or did not run, or because nobody looked whether it fits:
//! nobody has to change anything for it.
//!
//! Namespaces take turns, whether they have one tier or a thousand: others wait no longer for who has many.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    policies::{Policies, Touched, touch},
    testing::{is_overrun, is_untested},
};
use crate::{policy::ResourceKey, tiers::TierKey};

/// The tiers of a namespace of which something may be tried again.
#[derive(Debug, Default)]
struct Waiting {
    /// Of which something was not tried at all.
    untried: BTreeSet<TierKey>,
    /// Of which everything that waits did not end when it was tried.
    overran: BTreeSet<TierKey>,
}

impl Policies {
    /// The tiers of the namespace whose turn it is, of which something may be tested again at this time; none when there
    /// is no such namespace. Those come first that have not been tried: what does not end is not to keep them from it.
    /// A namespace that has had its share of the time has no turn.
    #[must_use]
    pub fn to_try_again(&self) -> BTreeSet<TierKey> {
        let mut waiting: BTreeMap<Option<&str>, Waiting> = BTreeMap::new();
        for (tier, members) in &self.members {
            let refused = members.iter().filter_map(|name| self.waits_untried(tier, name)).max();
            let unrun = self.untested.contains(tier) && !self.are_tests_put_off(tier);
            let unrun = unrun.then_some(true);
            let Some(untried) = refused.max(unrun) else { continue };
            if self.allowance_of(tier.namespace()).is_spent() {
                continue;
            }
            let of_namespace = waiting.entry(tier.namespace()).or_default();
            let tiers = if untried { &mut of_namespace.untried } else { &mut of_namespace.overran };
            tiers.insert(tier.clone());
        }
        let last = self.tried_again.as_ref().map(Option::as_deref);
        let next =
            waiting.keys().find(|namespace| Some(**namespace) > last).or(waiting.keys().next()).copied();
        let next = next.and_then(|namespace| waiting.remove(&namespace)).unwrap_or_default();
        if next.untried.is_empty() { next.overran } else { next.untried }
    }

    /// Whether a resource waits in a tier to be tried again, and if so, whether it has not been tried yet.
    pub(super) fn waits_untried(&self, tier: &TierKey, name: &ResourceKey) -> Option<bool> {
        let resource = self.resources.get(name).filter(|resource| !resource.accepted)?;
        let untested = resource.wanted_refusals().iter().find(|refusal| is_untested(refusal))?;
        let version = resource.wanted_in(tier)?;
        let may_be_tried = self.postponed.refusals(&version.stored.hash, self.now).is_none();
        may_be_tried.then(|| !is_overrun(untested))
    }

    /// Rebuilds the tiers of a namespace with what may be tested again. Returns the tiers that it touched.
    pub fn try_again(&mut self, tiers: &BTreeSet<TierKey>) -> BTreeSet<TierKey> {
        let mut touched = Touched::new();
        for tier in tiers {
            let cause = format!("the tests of {tier} were run again");
            touch(&mut touched, std::iter::once(tier.clone()), &cause);
        }
        self.tried_again = tiers.first().map(|tier| tier.namespace().map(str::to_owned));
        self.retrying = true;
        let touched = self.rebuild_all(touched);
        self.retrying = false;
        touched
    }
}
