//! Whose tests do not end, where those of several are run together. Only that version is put off: a busy neighbour is no
//! fault of another's.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Policies,
    merge::together,
    parts::Parts,
    resource::Version,
    testing::{is_overrun, is_untested, overrun},
};
use crate::{policy::ResourceKey, policy_tests::TestSummary, refusal::Refusal, tiers::TierKind};

impl Policies {
    /// What tests say against versions of which one is new. When they do not end because of it, it is not tried again for a
    /// while, whatever becomes of the others.
    pub(super) fn failures_with(
        &mut self,
        kind: TierKind,
        new: &Version,
        versions: &BTreeMap<ResourceKey, Version>,
    ) -> Vec<Refusal> {
        if let Some(refusals) = self.postponed.refusals(&new.stored.hash, self.now) {
            return refusals;
        }
        let all = together(kind, versions.values());
        // Its own first: what never ends by itself is not run with those of others as well.
        let own = self.failed_tests(kind, &all.with_tests_of(&new.stored.policy.key));
        if own.iter().any(is_overrun) {
            self.postponed.put_off(new.stored.hash, own.clone(), self.now);
        }
        if !own.is_empty() {
            return own;
        }
        let refusals = self.failed_tests(kind, &all);
        if refusals.iter().any(is_overrun) {
            self.failures_apart(kind, new, versions, &all)
        } else {
            refusals
        }
    }

    /// The same of tests that end by themselves and not together: each resource's are run apart from the others', about
    /// all that they are about.
    fn failures_apart(
        &mut self,
        kind: TierKind,
        new: &Version,
        versions: &BTreeMap<ResourceKey, Version>,
        all: &Parts,
    ) -> Vec<Refusal> {
        let owners: BTreeSet<ResourceKey> = all.tests.iter().filter_map(|test| test.owner.clone()).collect();
        let mut refusals = Vec::new();
        // Of the lines that were evaluated, at least as many as by those of one resource.
        let mut summary = TestSummary { passed: 0, covered_percent: 0 };
        for owner in &owners {
            let of_owner = all.with_tests_of(owner);
            let found = self.failed_tests(kind, &of_owner);
            if found.iter().any(is_overrun) {
                return self.blamed(kind, new, owner, versions, found);
            }
            if found.iter().any(is_untested) {
                return found;
            }
            refusals.extend(found);
            if let Some(passed) = self.passed_tests(kind, &of_owner) {
                summary.passed += passed.summary.passed;
                summary.covered_percent = summary.covered_percent.max(passed.summary.covered_percent);
            }
        }
        if refusals.is_empty() {
            self.remember_passed(kind, all, summary);
        }
        refusals
    }

    /// What is refused of a new version with which the tests of another do not end. Where they do not without it either,
    /// it cannot be published untested, but it need not wait any longer than they do.
    fn blamed(
        &mut self,
        kind: TierKind,
        new: &Version,
        owner: &ResourceKey,
        versions: &BTreeMap<ResourceKey, Version>,
        found: Vec<Refusal>,
    ) -> Vec<Refusal> {
        let name = &new.stored.policy.key;
        let mut before = versions.clone();
        match self.resources.get(name).and_then(|resource| resource.last_in(new.tier())) {
            Some(good) => drop(before.insert(name.clone(), good.clone())),
            None => drop(before.remove(name)),
        }
        let without = self.failed_tests(kind, &together(kind, before.values()).with_tests_of(owner));
        if without.iter().any(is_overrun) {
            return vec![overrun(owner)];
        }
        if without.iter().any(is_untested) {
            return without;
        }
        self.postponed.put_off(new.stored.hash, found.clone(), self.now);
        found
    }
}
