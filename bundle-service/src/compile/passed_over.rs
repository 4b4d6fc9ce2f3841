//! Newest versions that an administrator's choices keep out of a tier.

use std::collections::{BTreeMap, BTreeSet};

use super::{Policies, misfits::unjudged, resource::Version, testing::is_out_of_time};
use crate::{policy::ResourceKey, tiers::TierKey};

impl Policies {
    /// Judges the newest versions that an administrator's choices keep out of a tier: their authors are to know
    /// whether they could be in it.
    pub(super) fn judge_passed_over(
        &mut self,
        key: &TierKey,
        members: &BTreeSet<ResourceKey>,
        standing: &BTreeMap<ResourceKey, Version>,
    ) {
        let waits = |name: &&ResourceKey| {
            let resource = self.resources.get(*name);
            resource.is_some_and(|resource| resource.refusals.iter().any(is_out_of_time))
        };
        let (waiting, others): (Vec<&ResourceKey>, Vec<&ResourceKey>) = members.iter().partition(waits);
        for name in waiting.into_iter().chain(others) {
            let pinned = self.resources.get(name).filter(|resource| resource.pin.is_some());
            let newest = pinned.and_then(|resource| resource.newest.as_ref());
            let Some(newest) = newest.filter(|newest| newest.tier() == key).cloned() else { continue };
            let mut tried = standing.clone();
            tried.insert(name.clone(), newest.clone());
            let Some(mut refusals) = self.conflicts_within(key, &tried.values().collect::<Vec<_>>()) else {
                self.pass_over_unjudged(name);
                continue;
            };
            let passed = refusals.is_empty();
            if passed {
                refusals = self.failures_with(key.kind(), &newest, &tried);
            }
            if !refusals.is_empty() {
                // A test that fails without it as well is not its fault.
                let anyway = self.failures_of(key.kind(), standing.values());
                refusals.retain(|refusal| !anyway.contains(refusal));
            }
            if let Some(resource) = self.resources.get_mut(name) {
                if passed {
                    resource.look_at_newest();
                }
                resource.refusals = refusals.into_iter().map(|refusal| refusal.of(name)).collect();
            }
        }
    }

    /// Leaves it to the next turn to judge a newest version that is passed over. What was judged before, and is only judged
    /// again, stays so.
    fn pass_over_unjudged(&mut self, name: &ResourceKey) {
        let Some(resource) = self.resources.get_mut(name) else { return };
        if !self.retrying || resource.refusals.iter().any(is_out_of_time) {
            resource.refusals = vec![unjudged().of(name)];
            self.unrun = true;
        }
    }
}
