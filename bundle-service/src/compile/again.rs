//! Trying again what was refused because its tests did not end, or did not run: nobody has to change anything for it.

use std::collections::BTreeSet;

use super::{
    policies::{Policies, Touched, touch},
    testing::is_untested,
};
use crate::{policy::ResourceKey, tiers::TierKey};

impl Policies {
    /// A tier of which something may be tested again at this time. All that are so have their turn.
    #[must_use]
    pub fn to_try_again(&self) -> Option<TierKey> {
        let waits = |tier: &TierKey, name: &ResourceKey| {
            let resource = self.resources.get(name).filter(|resource| !resource.accepted);
            let untested = resource.filter(|resource| resource.wanted_refusals().iter().any(is_untested));
            let version = untested.and_then(|resource| resource.wanted_in(tier));
            version.is_some_and(|version| self.postponed.refusals(&version.stored.hash, self.now).is_none())
        };
        let waiting =
            self.members.iter().filter(|(tier, members)| members.iter().any(|name| waits(tier, name)));
        let waiting: Vec<&TierKey> = waiting.map(|(tier, _)| tier).collect();
        let next = waiting.iter().find(|tier| Some(**tier) > self.tried_again.as_ref());
        next.or(waiting.first()).map(|tier| (*tier).clone())
    }

    /// Rebuilds a tier with what may be tested again. Returns the tiers that it touched.
    pub fn try_again(&mut self, tier: &TierKey) -> BTreeSet<TierKey> {
        let mut touched = Touched::new();
        touch(&mut touched, std::iter::once(tier.clone()), &format!("the tests of {tier} were run again"));
        self.tried_again = Some(tier.clone());
        self.rebuild_all(touched)
    }
}
