//! Which versions of a tier's resources stand together.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Policies,
    documents::conflicts,
    misfits::{is_unjudged, unjudged},
    parts::Parts,
    resource::{Fallback, Resource, Version},
    testing::{is_overrun, is_untested},
    tier::completed,
};
use crate::{
    policy::ResourceKey,
    refusal::Refusal,
    tiers::{TierKey, TierKind},
};

impl Policies {
    /// The versions that stand together in a tier, or why the tier denies. Other tiers whose members changed by that
    /// are added to `moved`.
    ///
    /// A resource that does not stand and never did is left out where the tier stood without it: what was in force
    /// stays in force. Where nothing was in force yet, what its author meant is unknown, and the tier denies.
    pub(super) fn merge(
        &mut self,
        key: &TierKey,
        members: &BTreeSet<ResourceKey>,
        moved: &mut BTreeSet<TierKey>,
    ) -> Result<BTreeMap<ResourceKey, Version>, String> {
        let stood = self.stands(key, members);
        let refused_before = self.refused_before(key, members);
        let fitting = self.fitting(key, members, &refused_before, moved);
        let is_new = |(name, version): &(&ResourceKey, &Version)| !self.has_stood(name, version);
        let new: Vec<ResourceKey> = fitting.iter().filter(is_new).map(|(name, _)| name.clone()).collect();
        let kept = self.kept(key, members, &fitting);
        let mut standing = self.passing(key, kept, fitting, moved);
        self.come_back_to(key, &refused_before, &new);
        let fallen_back = self.fall_back(key, members, stood, &mut standing);
        self.judge_passed_over(key, members, &standing);
        self.look_outside(key, members, &standing);
        fallen_back?;
        // Whatever came before: what an OPA would not take is not published.
        match self.conflicts_of(key, standing.values()).first() {
            Some(first) => Err(format!("the {} policies do not stand together: {first}", key.kind())),
            None => Ok(standing),
        }
    }

    /// Adds those whose wanted version does not stand in a tier: their last good one, or a denial.
    fn fall_back(
        &mut self,
        key: &TierKey,
        members: &BTreeSet<ResourceKey>,
        stood: bool,
        standing: &mut BTreeMap<ResourceKey, Version>,
    ) -> Result<(), String> {
        let (mut names, mut good, mut fault) = (Vec::new(), Vec::new(), None);
        for name in members {
            let Some(resource) = self.resources.get(name).filter(|_| !standing.contains_key(name)) else {
                continue;
            };
            match resource.fallback_in(key) {
                Fallback::Elsewhere => {}
                Fallback::Broken if stood => {}
                Fallback::Broken => {
                    fault = Some(resource.reason(name, key.kind()));
                    break;
                }
                Fallback::Lost => {
                    fault = Some(lost(name, key.kind()));
                    break;
                }
                Fallback::Good(version) => {
                    names.push(name);
                    good.push(version);
                }
            }
        }
        let fit = self.most_that_fit(key, standing, &good);
        let reason =
            |name: &ResourceKey| self.resources.get(name).map(|resource| resource.reason(name, key.kind()));
        let unfit = names.get(fit).and_then(|name| reason(name));
        standing.extend(names.into_iter().cloned().zip(good).take(fit));
        unfit.or(fault).map_or(Ok(()), Err)
    }

    /// The wanted versions that OPA would take together.
    fn fitting(
        &mut self,
        key: &TierKey,
        members: &BTreeSet<ResourceKey>,
        refused_before: &BTreeSet<ResourceKey>,
        moved: &mut BTreeSet<TierKey>,
    ) -> BTreeMap<ResourceKey, Version> {
        let wanted: BTreeMap<ResourceKey, Version> = members
            .iter()
            .filter(|name| !refused_before.contains(*name))
            .filter_map(|name| Some((name.clone(), self.resources.get(name)?.wanted_in(key)?.clone())))
            .collect();
        let wanted = self.with_room(key, members, wanted, moved);
        let wanted = self.without_postponed(key, wanted, moved);
        let kept = self.kept(key, members, &wanted);
        if self.fit_together(key, wanted.values().chain(kept.values())) {
            return wanted;
        }
        let ground = self.last_good(key, members);
        let ground = if self.fit_together(key, ground.values()) { ground } else { kept };
        self.without_misfits(key, &ground, wanted, moved)
    }

    /// Wanted versions, without those whose tests did not end and that are not tried again yet. What stood is no change
    /// that could be put off.
    fn without_postponed(
        &mut self,
        key: &TierKey,
        wanted: BTreeMap<ResourceKey, Version>,
        moved: &mut BTreeSet<TierKey>,
    ) -> BTreeMap<ResourceKey, Version> {
        let mut left = BTreeMap::new();
        for (name, version) in wanted {
            let refusals = self.postponed.refusals(&version.stored.hash, self.now);
            match refusals.filter(|_| !self.has_stood(&name, &version)) {
                Some(refusals) => self.refuse(&name, key, refusals, moved),
                None => drop(left.insert(name, version)),
            }
        }
        left
    }

    /// The last good versions that stay because their resources have nothing better. They were there first, so nobody
    /// takes their place because of a mistake of their authors. None where they do not stand together any more.
    fn kept(
        &mut self,
        key: &TierKey,
        members: &BTreeSet<ResourceKey>,
        wanted: &BTreeMap<ResourceKey, Version>,
    ) -> BTreeMap<ResourceKey, Version> {
        let all = self.last_good(key, members);
        let mut kept = all.clone();
        kept.retain(|name, _| !wanted.contains_key(name));
        // They may need one another, or what the others had or have.
        let stay = kept.is_empty()
            || self.fit_together(key, all.values())
            || self.fit_together(key, kept.values().chain(wanted.values()))
            || self.fit_together(key, kept.values());
        if stay { kept } else { BTreeMap::new() }
    }

    /// What last stood in a tier of its members.
    fn last_good(&self, key: &TierKey, members: &BTreeSet<ResourceKey>) -> BTreeMap<ResourceKey, Version> {
        let good = members.iter().filter_map(|name| match self.resources.get(name)?.fallback_in(key) {
            Fallback::Good(version) => Some((name.clone(), version)),
            Fallback::Elsewhere | Fallback::Broken | Fallback::Lost => None,
        });
        good.collect()
    }

    /// Of versions that fit together, those with which the tests hold, and with them the last good versions that stay:
    /// they are in force, so tests are about them and theirs count. When not all can stay, what was in force is the
    /// ground, and changes are tried on it one by one, until none of the rest can be made.
    fn passing(
        &mut self,
        key: &TierKey,
        kept: BTreeMap<ResourceKey, Version>,
        fitting: BTreeMap<ResourceKey, Version>,
        moved: &mut BTreeSet<TierKey>,
    ) -> BTreeMap<ResourceKey, Version> {
        let stay = kept.is_empty() || self.fit_together(key, kept.values().chain(fitting.values()));
        let (kept, dropped) = if stay { (kept, BTreeMap::new()) } else { (BTreeMap::new(), kept) };
        // In the order in which the tier will have them: what was tested is known again by it.
        let mut together = kept.clone();
        together.extend(fitting.clone());
        // What did not end the last time is tried last, and alone.
        let is_known_to_overrun = fitting.iter().any(|(name, version)| self.has_overrun(name, version));
        let failures = match is_known_to_overrun {
            true => Vec::new(),
            false => self.failures_of(key.kind(), together.values()),
        };
        let (unchanged, changed): (BTreeMap<_, _>, BTreeMap<_, _>) =
            match failures.is_empty() && !is_known_to_overrun {
                true => (fitting, BTreeMap::new()),
                false => fitting.into_iter().partition(|(name, version)| self.has_stood(name, version)),
            };
        for (name, version) in &unchanged {
            self.accept(name, version, moved);
        }
        let mut standing = kept;
        standing.extend(unchanged);
        if changed.is_empty() {
            // Nobody changed anything who could be refused: something went that a test was about, or tests did not run.
            self.tell(&standing, &failures);
            self.unrun |= failures.iter().any(is_untested);
            return standing;
        }
        let good = changed.keys().filter_map(|name| match self.resources.get(name)?.fallback_in(key) {
            Fallback::Good(good) => Some((name.clone(), good)),
            Fallback::Elsewhere | Fallback::Broken | Fallback::Lost => None,
        });
        let mut ground = standing.clone();
        ground.extend(good);
        // What may come back in the end, although it does not stay now.
        let mut may_return = dropped;
        may_return.extend(ground.clone());
        // What is above may have changed since they stood; then each is looked at by itself when nothing better came.
        if self.fit_together(key, ground.values()) {
            standing = ground;
        }
        let mut changed = self.in_turn(changed);
        loop {
            let before = changed.len();
            let mut left = Vec::new();
            for (name, version) in changed {
                let replaced = standing.insert(name.clone(), version.clone());
                let versions: Vec<&Version> = standing.values().collect();
                let mut refusals = self.conflicts_within(key, &versions).unwrap_or_else(|| vec![unjudged()]);
                if refusals.is_empty() {
                    let beside = self.with_returning(key, &standing, &may_return);
                    refusals = self.failures_with(key.kind(), &version, &beside);
                }
                if refusals.is_empty() {
                    self.accept(&name, &version, moved);
                    continue;
                }
                match replaced {
                    Some(good) => drop(standing.insert(name.clone(), good)),
                    None => drop(standing.remove(&name)),
                }
                left.push((name, version, refusals));
            }
            if left.is_empty() || left.len() == before {
                for (name, _, refusals) in left {
                    if refusals.iter().any(is_unjudged) {
                        self.leave_unjudged(&name, key, moved);
                    } else {
                        self.refuse(&name, key, refusals, moved);
                    }
                }
                return standing;
            }
            changed = left.into_iter().map(|(name, version, _)| (name, version)).collect();
        }
    }

    /// Versions with those last good ones that come back beside them as long as nothing better came of their resources: what
    /// is published is to have been tested together.
    fn with_returning(
        &mut self,
        key: &TierKey,
        standing: &BTreeMap<ResourceKey, Version>,
        may_return: &BTreeMap<ResourceKey, Version>,
    ) -> BTreeMap<ResourceKey, Version> {
        let absent = may_return.iter().filter(|(name, _)| !standing.contains_key(*name));
        let (names, good): (Vec<&ResourceKey>, Vec<Version>) =
            absent.map(|(name, version)| (name, version.clone())).unzip();
        let fit = self.most_that_fit(key, standing, &good);
        let mut beside = standing.clone();
        beside.extend(names.into_iter().cloned().zip(good).take(fit));
        beside
    }

    /// Whether a version is the one that last stood.
    pub(super) fn has_stood(&self, name: &ResourceKey, version: &Version) -> bool {
        let good = self.resources.get(name).and_then(|resource| resource.good.as_ref());
        good.is_some_and(|good| good.stored.hash == version.stored.hash)
    }

    /// Whether tests did not end with a version when it was last tried, so that it does not stand.
    fn has_overrun(&self, name: &ResourceKey, version: &Version) -> bool {
        let resource = self.resources.get(name).filter(|resource| !resource.accepted);
        resource.is_some_and(|resource| resource.wanted_refusals().iter().any(is_overrun))
            && !self.has_stood(name, version)
    }

    /// Sees to it that those that were left alone have a turn beside what comes into the tier: they may need it.
    fn come_back_to(&mut self, key: &TierKey, refused_before: &BTreeSet<ResourceKey>, new: &[ResourceKey]) {
        let has_come = |name: &ResourceKey| {
            self.resources.get(name).is_some_and(|resource: &Resource| resource.accepted)
        };
        let comes_back =
            !refused_before.is_empty() && (self.untested.contains(key) || new.iter().any(has_come));
        self.unrun |= comes_back;
    }

    /// What the tests that versions bring say against them.
    pub(super) fn failures_of<'a>(
        &mut self,
        kind: TierKind,
        versions: impl Iterator<Item = &'a Version>,
    ) -> Vec<Refusal> {
        self.failed_tests(kind, &together(kind, versions))
    }

    /// Tells resources what their tests say, although nothing of them is refused; and all that have tests, that these did
    /// not come to an end. Those of which something is refused have worse to look at.
    fn tell(&mut self, standing: &BTreeMap<ResourceKey, Version>, failures: &[Refusal]) {
        let tested = standing.iter().filter(|(_, version)| !version.parts.tests.is_empty());
        let tested: Vec<&ResourceKey> = tested.map(|(name, _)| name).collect();
        for failure in failures {
            let concerned = failure.resource.as_ref().map_or_else(|| tested.clone(), |name| vec![name]);
            for name in concerned {
                let resource = self.resources.get_mut(name).filter(|resource| resource.accepted);
                if let Some(resource) = resource {
                    resource.wanted_refusals_mut().push(failure.clone().of(name).warning());
                }
            }
        }
    }

    /// Whether a tier is in force by resources of its own, as it was before this change, or before the start.
    fn stands(&self, key: &TierKey, members: &BTreeSet<ResourceKey>) -> bool {
        let has_stood =
            |name| self.resources.get(name).is_some_and(|resource: &Resource| resource.good.is_some());
        self.published.get(key).is_some_and(|tier| tier.digest.is_some() && !tier.denied)
            && members.iter().any(has_stood)
    }

    /// Why an OPA would not take versions together, and below the tiers that their tier stands below; and why a bundle of
    /// theirs would not be served.
    pub(super) fn conflicts_of<'a>(
        &mut self,
        key: &TierKey,
        versions: impl Iterator<Item = &'a Version>,
    ) -> Vec<Refusal> {
        let mut versions = versions.peekable();
        let is_nothing = versions.peek().is_none();
        let parts = together(key.kind(), versions);
        let mut refusals = self.above(key).conflicts(self.settings.gate, &parts, &mut self.checked);
        refusals.extend(conflicts(key.kind(), &parts.documents, &parts.modules));
        // Without a version there is no tier, or the one that is shipped.
        if !is_nothing && !parts.is_empty() {
            refusals.extend(self.space(key).refusal(&parts));
        }
        refusals
    }

    /// Whether [`conflicts_of`](Self::conflicts_of) would find nothing, without looking for all of it.
    pub(super) fn fit_together<'a>(
        &mut self,
        key: &TierKey,
        versions: impl Iterator<Item = &'a Version>,
    ) -> bool {
        let mut versions = versions.peekable();
        let is_nothing = versions.peek().is_none();
        let parts = together(key.kind(), versions);
        conflicts(key.kind(), &parts.documents, &parts.modules).is_empty()
            && (is_nothing || parts.is_empty() || self.space(key).refusal(&parts).is_none())
            && self.above(key).accepts(self.settings.gate, &parts, &mut self.checked)
    }

    fn accept(&mut self, name: &ResourceKey, version: &Version, moved: &mut BTreeSet<TierKey>) {
        let Some(resource) = self.resources.get_mut(name) else { return };
        resource.accepted = true;
        // Nothing was chosen instead of it.
        if resource.pin.is_none() {
            resource.look_at_newest();
        }
        resource.wanted_refusals_mut().clear();
        moved.extend(resource.lost.take().filter(|tier| tier != version.tier()));
        let before = resource.good.replace(version.clone());
        moved.extend(before.map(|before| before.tier().clone()).filter(|tier| tier != version.tier()));
    }

    pub(super) fn refuse(
        &mut self,
        name: &ResourceKey,
        key: &TierKey,
        refusals: Vec<Refusal>,
        moved: &mut BTreeSet<TierKey>,
    ) {
        let Some(resource) = self.resources.get_mut(name) else { return };
        let first_time = resource.accepted || resource.wanted_refusals().is_empty();
        resource.accepted = false;
        *resource.wanted_refusals_mut() = refusals.into_iter().map(|refusal| refusal.of(name)).collect();
        let good = resource.good.as_ref().map(|good| good.tier().clone());
        moved.extend(good.filter(|tier| first_time && tier != key));
    }
}

/// Why a tier denies of which a part is lost.
fn lost(name: &ResourceKey, kind: TierKind) -> String {
    format!(
        "what was in force of the {kind} policy {name} is not accepted any more: correct it, or choose what is to be in \
         force instead"
    )
}

/// The parts of versions, as their tier has them.
pub(super) fn together<'a>(kind: TierKind, versions: impl Iterator<Item = &'a Version>) -> Parts {
    let parts = Parts::together(versions.map(|version| version.parts.as_ref()));
    // What completes the global tier has to fit as well.
    if kind == TierKind::Global { completed(parts) } else { parts }
}
