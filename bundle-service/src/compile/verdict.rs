//! What became of a resource: what is refused of it, and which version of it is in force where.

use std::sync::Arc;

use super::{policies::Policies, resource::Resource};
use crate::{policy::ResourceKey, refusal::Refusal, tiers::TierKey};

/// What became of a resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// Where the version was found that was judged.
    pub file: Arc<str>,
    /// The version that was judged, as its source counts.
    pub generation: Option<i64>,
    /// Why this version does not take effect; empty when it does.
    pub refusals: Vec<Refusal>,
    /// What its author should look at, although it takes effect.
    pub warnings: Vec<Refusal>,
    /// What is in force of the resource.
    pub standing: Standing,
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
        let refusals = if resource.accepted { Vec::new() } else { resource.refusals.clone() };
        let warnings = resource.warnings.iter().cloned().chain(resource.pinned(key)).collect();
        Some(Verdict {
            file: Arc::clone(&resource.file),
            generation: resource.generation,
            refusals,
            warnings,
            standing: self.standing(resource),
        })
    }

    fn standing(&self, resource: &Resource) -> Standing {
        // The version in force is in the tier that it was good in, which may be another one than the newest asks for.
        let key = match &resource.good {
            Some(good) => good.tier(),
            None => match &resource.tier {
                Some(tier) => tier,
                None => return Standing::Nothing,
            },
        };
        let Some(tier) = self.tier(key) else { return Standing::Nothing };
        let (key, hash) = (key.clone(), *tier.member.digest.as_bytes());
        match (&tier.denied, resource.accepted, &resource.good) {
            (Some(reason), ..) => Standing::Denied { tier: key, hash, reason: reason.clone() },
            (None, true, _) if resource.pin.is_none() => Standing::Newest { tier: key, hash },
            (None, _, Some(_)) => Standing::Earlier { tier: key, hash },
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
        compile::Settings,
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
            | Standing::Denied { hash, .. } => *hash,
            Standing::Nothing => panic!("nothing is in force"),
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
