//! What became of a resource: what is refused of it, and which version of it is in force where.

use std::sync::Arc;

use super::{
    policies::Policies,
    resource::{Pin, Resource, Version},
};
use crate::{
    digest::Digest,
    policy::ResourceKey,
    policy_tests::TestSummary,
    refusal::{Refusal, Severity},
    tiers::TierKey,
};

/// What became of a resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// Where the version was found that was judged.
    pub file: Arc<str>,
    /// The version that was judged, as its source counts.
    pub generation: Option<i64>,
    /// Why this version may not take effect; empty when it may, although an administrator can keep it from that.
    pub refusals: Vec<Refusal>,
    /// What its author should look at besides.
    pub warnings: Vec<Refusal>,
    /// What is in force of the resource.
    pub standing: Standing,
    /// What the tests of its tier came to, when this version is in force.
    pub tests: Option<TestSummary>,
}

/// What is in force of a resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// This version, in a tier with that content.
    Newest {
        /// The tier.
        tier: TierKey,
        /// The hash of what the tier holds.
        hash: [u8; 32],
    },
    /// The last version that was good, in a tier with that content.
    Earlier {
        /// The tier.
        tier: TierKey,
        /// The hash of what the tier holds.
        hash: [u8; 32],
    },
    /// The version that an administrator chose instead, in a tier with that content.
    RolledBack {
        /// The tier.
        tier: TierKey,
        /// The hash of what the tier holds.
        hash: [u8; 32],
        /// The version.
        to: Digest,
        /// Who chose, and why.
        by: String,
    },
    /// Nothing: an administrator left it out of its tier, which is what it is without it.
    LeftOut {
        /// Who chose, and why.
        by: String,
    },
    /// Nothing: its tier denies everything until all of its resources can be used.
    Denied {
        /// The tier.
        tier: TierKey,
        /// The hash of what the tier holds.
        hash: [u8; 32],
        /// Which resource is in the way, and why.
        reason: String,
    },
    /// Nothing: it belongs to no tier, or its tier stands without it.
    Nothing,
}

impl Policies {
    /// What became of a resource; `None` when there is no such resource.
    #[must_use]
    pub fn verdict(&self, key: &ResourceKey) -> Option<Verdict> {
        let resource = self.resources.get(key)?;
        let refusals = if resource.is_refused() { resource.refusals.clone() } else { Vec::new() };
        let warnings = resource.warnings().cloned().chain(resource.pinned(key));
        let warnings = warnings.chain(resource.chosen_refusals.iter().cloned());
        // What its tests say since something of others went is told, although nothing of it is refused.
        let told = resource.refusals.iter().filter(|refusal| refusal.severity == Severity::Warning);
        let told = told.filter(|_| !resource.is_refused()).cloned();
        let warnings = warnings.chain(told).collect();
        let standing = self.standing(resource);
        let tests = match &standing {
            Standing::Newest { tier, .. } => self.tier(tier).and_then(|tier| tier.tests),
            _ => None,
        };
        Some(Verdict {
            file: Arc::clone(&resource.file),
            generation: resource.generation,
            refusals,
            warnings,
            standing,
            tests,
        })
    }

    fn standing(&self, resource: &Resource) -> Standing {
        let good = resource.good.as_ref();
        let lost = resource.lost.as_ref().and_then(|key| Some((key, self.tier(key)?)));
        if let Some((key, tier)) = lost
            && let Some(reason) = &tier.denied
        {
            let hash = *tier.member.digest.as_bytes();
            return Standing::Denied { tier: key.clone(), hash, reason: reason.clone() };
        }
        let (key, good) = match &resource.pin {
            Some(Pin { to: None, by, .. }) => return Standing::LeftOut { by: by.clone() },
            // Under a choice, something of it is in the chosen version's tier or nowhere.
            Some(Pin { to: Some(to), .. }) => (to.tier(), good.filter(|good| good.tier() == to.tier())),
            // The version in force is in the tier that it was good in, which may be another one than the newest asks
            // for.
            None => match good.map(Version::tier).or(resource.tier.as_ref()) {
                Some(tier) => (tier, good),
                None => return Standing::Nothing,
            },
        };
        let Some(tier) = self.tier(key) else { return Standing::Nothing };
        let (key, hash) = (key.clone(), *tier.member.digest.as_bytes());
        match (&tier.denied, &resource.pin, good) {
            (Some(reason), ..) => Standing::Denied { tier: key, hash, reason: reason.clone() },
            (None, Some(pin), Some(good)) if good.stored.hash != resource.state => {
                Standing::RolledBack { tier: key, hash, to: good.stored.hash, by: pin.by.clone() }
            }
            // It is the newest that was chosen, as happens where a whole tier is rolled back.
            (None, Some(_), Some(_)) => Standing::Newest { tier: key, hash },
            (None, None, _) if resource.accepted => Standing::Newest { tier: key, hash },
            (None, None, Some(_)) => Standing::Earlier { tier: key, hash },
            (None, _, None) => Standing::Nothing,
        }
    }

    /// The resources whose verdict may have changed with these tiers.
    pub(crate) fn members_of<'a>(
        &'a self,
        tiers: impl IntoIterator<Item = &'a TierKey>,
    ) -> impl Iterator<Item = &'a ResourceKey> {
        tiers.into_iter().filter_map(|tier| self.members.get(tier)).flatten()
    }
}

#[cfg(test)]
mod tests {
    use secplane_identity::TrustDomain;

    use super::*;
    use crate::{
        compile::{Settings, choice::Choice, resource::StoredVersion},
        source::{Change, Object, SourceOptions, manifests::FileContent},
    };

    const GOOD: &str = "package authbridge.ns.inbound.request\n\n\nallow := true";
    const BAD: &str = "package authbridge.ns.inbound.request\n\n\nallow := no_such(1)";

    fn object(name: &str, generation: i64, scope: &str, content: &str) -> Object {
        let text = format!(
            "apiVersion: agent.kagenti.dev/v1alpha1\nkind: AuthorizationPolicy\n\
             metadata: {{name: {name}, namespace: team-a}}\n\
             spec: {{scope: {scope}, policies: [{{path: a.rego, content: '{content}'}}]}}\n"
        );
        let content = FileContent::read("a.yaml", text.as_bytes(), &SourceOptions::default());
        Object { generation: Some(generation), ..content.objects[0].clone() }
    }

    fn policies() -> Policies {
        Policies::new(Settings::new(TrustDomain::parse("example.org").unwrap()))
    }

    fn apply(policies: &mut Policies, object: Object) -> Verdict {
        let key = object.key.clone();
        policies.apply(&[Change::Set(Arc::new(object))]);
        policies.verdict(&key).unwrap()
    }

    fn hash(standing: &Standing) -> [u8; 32] {
        match standing {
            Standing::Newest { hash, .. }
            | Standing::Earlier { hash, .. }
            | Standing::RolledBack { hash, .. }
            | Standing::Denied { hash, .. } => *hash,
            Standing::LeftOut { .. } | Standing::Nothing => panic!("nothing is in force"),
        }
    }

    #[test]
    fn tells_which_version_is_in_force() {
        let mut policies = policies();
        let good = apply(&mut policies, object("p", 1, "namespace", GOOD));
        assert_eq!((good.generation, good.refusals.len()), (Some(1), 0));
        assert!(matches!(good.standing, Standing::Newest { tier: TierKey::Namespace(_), .. }));
        let bad = apply(&mut policies, object("p", 2, "namespace", BAD));
        assert_eq!(bad.generation, Some(2));
        assert!(bad.refusals[0].message.contains("no_such"), "{}", bad.refusals[0]);
        assert!(matches!(bad.standing, Standing::Earlier { .. }), "{:?}", bad.standing);
        assert_eq!(hash(&bad.standing), hash(&good.standing));
        // A version that asks for another tier and is refused there stays where it was.
        let moved = apply(&mut policies, object("p", 3, "client", BAD));
        assert!(matches!(moved.standing, Standing::Earlier { tier: TierKey::Namespace(_), .. }));
        let right = apply(&mut policies, object("p", 4, "namespace", &GOOD.replace("true", "false")));
        assert!(matches!(right.standing, Standing::Newest { .. }));
        assert_ne!(hash(&right.standing), hash(&good.standing));
    }

    #[test]
    fn tells_why_nothing_is_in_force() {
        let mut policies = policies();
        let broken = apply(&mut policies, object("p", 1, "namespace", BAD));
        let Standing::Denied { reason, .. } = &broken.standing else { panic!("{:?}", broken.standing) };
        assert!(reason.contains("team-a/p"), "{reason}");
        let elsewhere = apply(&mut policies, object("g", 1, "global", GOOD));
        assert_eq!((elsewhere.refusals[0].code.as_str(), elsewhere.standing), ("scope", Standing::Nothing));
        // A good one suffers from its neighbour, and is told of whom.
        let neighbour = apply(&mut policies, object("q", 1, "namespace", &GOOD.replace("allow", "other")));
        assert_eq!(neighbour.refusals, []);
        let Standing::Denied { reason, .. } = &neighbour.standing else { panic!("{:?}", neighbour.standing) };
        assert!(reason.contains("team-a/p"), "{reason}");
        let key = ResourceKey::new("team-a", "q");
        let touched = policies.apply(&[Change::Gone(ResourceKey::new("team-a", "p"))]);
        assert!(policies.members_of(&touched).any(|member| *member == key));
        assert!(matches!(policies.verdict(&key).unwrap().standing, Standing::Newest { .. }));
    }

    const BY: &str = "user 0: test";

    fn key(name: &str) -> ResourceKey {
        ResourceKey::new("team-a", name)
    }

    /// The version of a resource that stands.
    fn good(policies: &Policies, name: &str) -> StoredVersion {
        policies.resources[&key(name)].good.as_ref().unwrap().stored.clone()
    }

    fn choose(policies: &mut Policies, name: &str, choice: Choice) -> Verdict {
        policies.choose(&[(key(name), choice)], BY).unwrap();
        policies.verdict(&key(name)).unwrap()
    }

    #[test]
    fn tells_which_version_an_administrator_chose() {
        let mut policies = policies();
        let first = apply(&mut policies, object("p", 1, "namespace", GOOD));
        let earlier = good(&policies, "p");
        let newest = apply(&mut policies, object("p", 2, "namespace", &GOOD.replace("true", "false")));
        let back = choose(&mut policies, "p", Choice::Version(earlier.clone()));
        assert_eq!((back.generation, back.refusals), (Some(2), Vec::new()), "the newest is in order");
        assert_eq!(back.warnings[0].code, "pinned");
        let tier = TierKey::Namespace("team-a".to_owned());
        let rolled_back =
            Standing::RolledBack { tier, hash: hash(&first.standing), to: earlier.hash, by: BY.to_owned() };
        assert_eq!(back.standing, rolled_back);
        let released = choose(&mut policies, "p", Choice::Newest);
        assert_eq!((released.standing, released.warnings), (newest.standing, Vec::new()));
        // Of a tier that is rolled back, some have not changed since.
        let newest = good(&policies, "p");
        let kept = choose(&mut policies, "p", Choice::Version(newest));
        assert!(matches!(kept.standing, Standing::Newest { .. }), "{:?}", kept.standing);
    }

    #[test]
    fn tells_that_an_administrator_left_it_out() {
        let mut policies = policies();
        apply(&mut policies, object("p", 1, "namespace", GOOD));
        apply(&mut policies, object("q", 1, "namespace", &GOOD.replace("allow", "other")));
        let out = choose(&mut policies, "p", Choice::LeftOut);
        assert_eq!(out.refusals, []);
        assert_eq!(out.standing, Standing::LeftOut { by: BY.to_owned() });
        let neighbour = policies.verdict(&key("q")).unwrap();
        assert!(matches!(neighbour.standing, Standing::Newest { .. }), "{:?}", neighbour.standing);
        let released = choose(&mut policies, "p", Choice::Newest);
        assert!(matches!(released.standing, Standing::Newest { .. }), "{:?}", released.standing);
    }

    #[test]
    fn a_choice_hides_nothing_that_is_wrong_with_the_newest_version() {
        let mut policies = policies();
        apply(&mut policies, object("p", 1, "namespace", GOOD));
        let earlier = good(&policies, "p");
        let broken = apply(&mut policies, object("p", 2, "namespace", BAD));
        for choice in [Choice::Version(earlier), Choice::LeftOut] {
            let chosen = choose(&mut policies, "p", choice);
            assert_eq!((chosen.generation, &chosen.refusals), (Some(2), &broken.refusals));
            assert!(matches!(chosen.standing, Standing::RolledBack { .. } | Standing::LeftOut { .. }));
        }
        let released = choose(&mut policies, "p", Choice::Newest);
        assert_eq!(released, broken, "nothing became better by it");
    }

    #[test]
    fn a_newest_version_is_judged_while_another_one_is_chosen() {
        let mut policies = policies();
        let default = "package authbridge.ns.inbound.request\n\n\ndefault allow := false";
        apply(&mut policies, object("p", 1, "namespace", GOOD));
        let earlier = good(&policies, "p");
        apply(&mut policies, object("q", 1, "namespace", default));
        let second = object("p", 2, "namespace", default);
        assert_eq!(apply(&mut policies, second.clone()).refusals.len(), 1, "a second default");
        assert_eq!(choose(&mut policies, "p", Choice::Version(earlier)).refusals.len(), 1);
        let again = apply(&mut policies, second);
        assert_eq!(again.refusals.len(), 1, "read again, as after a restart");
        assert!(matches!(again.standing, Standing::RolledBack { .. }), "{:?}", again.standing);
        policies.apply(&[Change::Gone(key("q"))]);
        assert_eq!(policies.verdict(&key("p")).unwrap().refusals, [], "nothing is in its way any more");
    }

    #[test]
    fn a_preview_finds_what_applying_would_and_changes_nothing() {
        let mut policies = policies();
        let default = "package authbridge.ns.inbound.request\n\n\ndefault allow := false";
        apply(&mut policies, object("p", 1, "namespace", default));
        let judge = |name: &str, scope: &str, content: &str| {
            policies.preview(object(name, 1, scope, content)).judge()
        };
        assert_eq!(judge("q", "namespace", GOOD), []);
        assert!(judge("q", "namespace", BAD)[0].message.contains("no_such"));
        assert_eq!(judge("q", "global", GOOD)[0].code, "scope");
        assert_eq!(judge("q", "namespace", default).len(), 1, "a second default");
        assert_eq!(judge("p", "namespace", default), [], "in its own place");
        assert_eq!(policies.resources(), 1);
    }
}
