//! Which of the versions that were to stand in a tier keep them from standing together.
//!
//! They are looked for by halves, and no longer than a namespace may: whoever brings hundreds that do not fit holds up
//! nobody else. What is left waits for its namespace's next turn, and comes first then.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Instant,
};

use super::{
    Policies,
    resource::{Resource, Version},
    testing::{is_overrun, is_untested},
};
use crate::{policy::ResourceKey, refusal::Refusal, tiers::TierKey};

/// The code of refusals of what nobody has looked at yet.
const UNJUDGED: &str = "fit_budget";

impl Policies {
    /// Of versions that do not all fit together, those that do beside what was in force of the others, which stays when
    /// they do not. Those that stood before come first: the one that does not fit is the one that changed.
    pub(super) fn without_misfits(
        &mut self,
        key: &TierKey,
        ground: &BTreeMap<ResourceKey, Version>,
        wanted: BTreeMap<ResourceKey, Version>,
        moved: &mut BTreeSet<TierKey>,
    ) -> BTreeMap<ResourceKey, Version> {
        let (stood, new): (BTreeMap<_, _>, BTreeMap<_, _>) =
            wanted.into_iter().partition(|(name, version)| self.has_stood(name, version));
        // What is part of the ground needs no look: nobody can have used up what it takes.
        let (mut fitting, stood): (BTreeMap<_, _>, BTreeMap<_, _>) =
            stood.into_iter().partition(|(name, _)| ground.contains_key(name));
        // The last of them is looked at next.
        let mut groups = vec![self.in_turn(new), stood.into_iter().collect()];
        let (mut reasons, mut unjudged) = (BTreeMap::new(), BTreeSet::new());
        loop {
            let (mut misfits, mut is_late): (Vec<(ResourceKey, Version)>, bool) = (Vec::new(), false);
            while let Some(mut group) = groups.pop() {
                if group.is_empty() {
                    continue;
                }
                let mut together = ground.clone();
                together.extend(fitting.iter().map(|(name, version)| (name.clone(), version.clone())));
                together.extend(group.iter().cloned());
                let together: Vec<&Version> = together.values().collect();
                // Of several all that is asked is whether they fit.
                let looked = match group.len() {
                    1 => self.conflicts_within(key, &together).map(|found| (found.is_empty(), found)),
                    _ => self.fit_within(key, &together).map(|fit| (fit, Vec::new())),
                };
                let Some((fit, refusals)) = looked else {
                    unjudged.extend(group.into_iter().map(|(name, _)| name));
                    continue;
                };
                if fit {
                    is_late |= !misfits.is_empty();
                    fitting.extend(group);
                } else if let [(name, _)] = group.as_slice() {
                    reasons.insert(name.clone(), refusals);
                    misfits.append(&mut group);
                } else {
                    let later = group.split_off(group.len() / 2);
                    groups.extend([later, group]);
                }
            }
            if !is_late {
                break;
            }
            // What came after them may be what they need.
            groups.push(misfits);
        }
        unjudged.retain(|name| !reasons.contains_key(name));
        unjudged.iter().for_each(|name| self.leave_unjudged(name, key, moved));
        for (name, refusals) in reasons {
            if !fitting.contains_key(&name) {
                self.refuse(&name, key, refusals, moved);
            }
        }
        fitting
    }

    /// Why versions do not stand together; `None` when their namespace has had all that it may have.
    pub(super) fn conflicts_within(&mut self, key: &TierKey, versions: &[&Version]) -> Option<Vec<Refusal>> {
        self.look(versions, |policies| policies.conflicts_of(key, versions.iter().copied()))
    }

    /// Whether they do; `None` as well when there is no look left.
    fn fit_within(&mut self, key: &TierKey, versions: &[&Version]) -> Option<bool> {
        self.look(versions, |policies| policies.fit_together(key, versions.iter().copied()))
    }

    fn look<T>(&mut self, versions: &[&Version], look: impl FnOnce(&mut Self) -> T) -> Option<T> {
        let modules = versions.iter().map(|version| version.parts.modules.len() + version.parts.tests.len());
        if !self.left.look(modules.sum()) {
            return None;
        }
        let began = Instant::now();
        let seen = look(self);
        self.left.take(began.elapsed());
        Some(seen)
    }

    /// Versions in the order in which they are looked at: first those that were not tried yet, last those whose tests did
    /// not end, which may take all the time that there is.
    pub(super) fn in_turn(&self, versions: BTreeMap<ResourceKey, Version>) -> Vec<(ResourceKey, Version)> {
        let mut order: Vec<(ResourceKey, Version)> = versions.into_iter().collect();
        order.sort_by_key(|(name, _)| {
            let refusals = self.resources.get(name).map_or(&[][..], Resource::wanted_refusals);
            if refusals.iter().any(is_overrun) {
                Turn::Overran
            } else if refusals.is_empty() || refusals.iter().any(is_untested) {
                Turn::Untried
            } else {
                Turn::Refused
            }
        });
        order
    }

    /// Resources of a tier that are left alone while it is tried again: they were refused for a reason, and nothing
    /// changed, so they are not to use up what others wait for that nobody has tried yet.
    pub(super) fn refused_before(
        &self,
        key: &TierKey,
        members: &BTreeSet<ResourceKey>,
    ) -> BTreeSet<ResourceKey> {
        let waits = |name: &ResourceKey| self.waits_untried(key, name) == Some(true);
        if !self.retrying || !members.iter().any(waits) {
            return BTreeSet::new();
        }
        let has_reason = |name: &&ResourceKey| self.resources.get(*name).is_some_and(is_refused_for_a_reason);
        members.iter().filter(has_reason).cloned().collect()
    }

    /// Refuses what nobody has looked at. What was refused before for a reason, and has only been tried again, keeps that.
    pub(super) fn leave_unjudged(
        &mut self,
        name: &ResourceKey,
        key: &TierKey,
        moved: &mut BTreeSet<TierKey>,
    ) {
        let has_reason = |resource: &Resource| {
            let refusals = resource.wanted_refusals();
            !resource.accepted && !refusals.is_empty() && !refusals.iter().any(is_unjudged)
        };
        let keeps_it = self.retrying && self.resources.get(name).is_some_and(has_reason);
        if !keeps_it {
            self.refuse(name, key, vec![unjudged()], moved);
        }
    }

    /// How many of the first of last good versions fit beside those that stand.
    pub(super) fn most_that_fit(
        &mut self,
        key: &TierKey,
        standing: &BTreeMap<ResourceKey, Version>,
        good: &[Version],
    ) -> usize {
        let (mut fit, mut unfit) = (0, good.len() + 1);
        let mut tried = good.len();
        while fit < tried {
            let versions = standing.values().chain(good.iter().take(tried));
            match self.fit_together(key, versions) {
                true => fit = tried,
                false => unfit = tried,
            }
            tried = fit + (unfit - fit) / 2;
        }
        fit
    }
}

/// When a version is looked at.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Turn {
    Untried,
    Refused,
    Overran,
}

fn is_refused_for_a_reason(resource: &Resource) -> bool {
    let refusals = resource.wanted_refusals();
    !resource.accepted && !refusals.is_empty() && !refusals.iter().any(is_untested)
}

/// Whether a refusal says that nobody has looked yet.
pub(super) fn is_unjudged(refusal: &Refusal) -> bool {
    refusal.code == UNJUDGED
}

pub(super) fn unjudged() -> Refusal {
    let message = "whether it fits was not looked at: its namespace has had all the time that it has for now";
    Refusal::new(UNJUDGED, message).suggest("correct what is refused beside it, or wait: it is tried again")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        compile::{
            Standing,
            allowance::Allowance,
            tests::{policies, set},
        },
        source::Change,
    };

    const VALUE: &str = "package authbridge.ns.lib\n\nhelper := 1\n";
    const FUNCTION: &str = "package authbridge.ns.lib\n\nhelper(x) := x\n";

    fn policy(name: &str, content: &str) -> Change {
        set(&format!("{name}:namespace"), &[("a.rego", content)])
    }

    fn stands(policies: &Policies, namespace: &str, name: &str) -> bool {
        let verdict = policies.verdict(&ResourceKey::new(namespace, name)).unwrap();
        matches!(verdict.standing, Standing::Newest { .. })
    }

    #[test]
    fn finds_one_among_many_by_halves() {
        let mut policies = policies();
        policies.apply(&[policy("team-a/s", VALUE)]);
        let mut changes: Vec<Change> = (0..64)
            .map(|n| policy(&format!("team-a/p{n}"), &format!("package authbridge.ns.p{n}\n\nx := 1\n")))
            .collect();
        changes.push(policy("team-a/p7-misfit", FUNCTION));
        policies.apply(&changes);
        let refused: Vec<_> =
            policies.refusals().into_iter().filter_map(|refusal| refusal.resource).collect();
        assert!(refused.iter().all(|key| key.name == "p7-misfit") && !refused.is_empty(), "{refused:?}");
        assert!((0..64).all(|n| stands(&policies, "team-a", &format!("p{n}"))));
        let looks = policies.allowance.looks - policies.left.looks;
        assert!((2..=16).contains(&looks), "{looks}");
    }

    /// Changes of others stand or fall with what they need, and not with a mistake beside them.
    #[test]
    fn a_misfit_keeps_nothing_from_what_it_needs() {
        let lib =
            |rules: &str| policy("team-a/lib", &format!("package authbridge.ns.functions\n\n{rules}\n"));
        let user = |name: &str| {
            let text = format!("package authbridge.ns.user\n\nx := data.authbridge.ns.functions.{name}(1)\n");
            policy("team-a/a", &text)
        };
        let mut policies = policies();
        policies.apply(&[policy("team-a/s", VALUE), lib("f(x) := x"), user("f")]);
        assert_eq!(policies.refusals(), []);
        policies.apply(&[policy("team-a/m", FUNCTION), lib("f(x) := x\ng(x) := x"), user("g")]);
        assert!(stands(&policies, "team-a", "lib") && stands(&policies, "team-a", "a"));
        assert!(!stands(&policies, "team-a", "m"));
        // The last good version of `lib` stays, with what others need of it.
        let misfit = format!("{FUNCTION}f(x) := x\n");
        policies.apply(&[policy("team-a/lib", &misfit), user("f")]);
        assert!(!stands(&policies, "team-a", "lib") && stands(&policies, "team-a", "a"));
    }

    /// What would fit beside a change that does not stand may not fit beside what stays in its place.
    #[test]
    fn a_tier_goes_on_where_a_change_would_fit_only_beside_a_misfit() {
        let lib =
            |rules: &str| policy("team-a/lib", &format!("package authbridge.ns.functions\n\n{rules}\n"));
        let mut policies = policies();
        policies.apply(&[policy("team-a/s", VALUE), lib("x := 1")]);
        let second = "package authbridge.ns.functions\n\nx(y) := y\n";
        policies.apply(&[policy("team-a/lib", FUNCTION), policy("team-a/b", second)]);
        for name in ["lib", "b"] {
            let verdict = policies.verdict(&ResourceKey::new("team-a", name)).unwrap();
            assert_eq!(verdict.refusals[0].code, "rego_type_error", "{verdict:?}");
            assert!(!matches!(verdict.standing, Standing::Denied { .. }), "{verdict:?}");
        }
        assert!(stands(&policies, "team-a", "s"));
    }

    #[test]
    fn refuses_nothing_that_stood_and_did_not_change_for_lack_of_looks() {
        let mut policies = policies();
        policies.apply(&[policy("team-a/s", VALUE)]);
        policies.allowance = Allowance { looks: 0, modules: 0, ..Allowance::default() };
        policies.apply(&[policy("team-a/m", FUNCTION)]);
        let refusals = policies.refusals();
        assert!(refusals.iter().all(is_unjudged), "{refusals:?}");
        let refused: Vec<_> = refusals.into_iter().filter_map(|refusal| refusal.resource).collect();
        assert_eq!(refused, [ResourceKey::new("team-a", "m")]);
        assert!(stands(&policies, "team-a", "s"));
    }

    #[test]
    fn gives_way_to_other_namespaces_and_goes_on_in_its_turn() {
        let mut policies = policies();
        policies.allowance = Allowance { looks: 8, modules: 0, ..Allowance::default() };
        policies.apply(&[policy("team-a/s", VALUE)]);
        let mut changes: Vec<Change> = (0..8).map(|n| policy(&format!("team-a/m{n}"), FUNCTION)).collect();
        changes.push(policy("team-a/z", "package authbridge.ns.z\n\nx := 1\n"));
        changes.push(policy("team-b/p", VALUE));
        policies.apply(&changes);
        assert!(stands(&policies, "team-b", "p"), "{:?}", policies.refusals());
        let unjudged = |policies: &Policies| policies.refusals().iter().filter(|it| is_unjudged(it)).count();
        assert!(stands(&policies, "team-a", "s") && !stands(&policies, "team-a", "z"));
        assert_eq!(unjudged(&policies), 5, "{:?}", policies.refusals());
        // In the last one those have a turn that were refused, beside what has come.
        for left in [1, 0, 0] {
            let tiers = policies.to_try_again();
            assert!(!tiers.is_empty());
            policies.try_again(&tiers);
            assert_eq!(unjudged(&policies), left, "{:?}", policies.refusals());
        }
        assert!(stands(&policies, "team-a", "z"));
        assert!((0..8).all(|n| !stands(&policies, "team-a", &format!("m{n}"))));
        assert!(policies.to_try_again().is_empty(), "each was looked at");
    }
}
