//! How large one tier may become. Whatever changes in a tier is checked and tested together with all the rest of it, while
//! others wait.
//!
//! What stands has its place, however little room there is; what is new, or grows, is refused when there is none left.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Policies,
    resource::{Fallback, Version},
};
use crate::{
    policy::{AuthorizationPolicy, ResourceKey},
    refusal::Refusal,
    tiers::TierKey,
};

/// What one tier may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Room {
    pub(super) resources: usize,
    /// Of the paths and contents of all modules.
    pub(super) bytes: usize,
}

impl Default for Room {
    fn default() -> Self {
        Self { resources: 1_000, bytes: 16 * 1024 * 1024 }
    }
}

/// The bytes of what stands in a tier, by resource.
#[derive(Debug)]
struct Places(BTreeMap<ResourceKey, usize>);

impl Places {
    /// Why there is no room for a version of so many bytes.
    fn refusal(&self, room: Room, tier: &TierKey, name: &ResourceKey, size: usize) -> Option<Refusal> {
        let place = self.0.get(name).copied();
        if place.is_none() && self.0.len() >= room.resources {
            let message = format!("the tier {tier} holds {} resources, and may hold no more", room.resources);
            return Some(Refusal::new("tier_size", message).suggest("remove resources, or join some"));
        }
        let before = place.unwrap_or_default();
        let others = self.0.values().sum::<usize>() - before;
        if size > before && others + size > room.bytes {
            let message =
                format!("with this the tier {tier} would hold more than {} bytes of policies", room.bytes);
            return Some(Refusal::new("tier_size", message).suggest("make it smaller, or remove others"));
        }
        None
    }
}

impl Policies {
    /// Wanted versions, without those for which their tier has no room.
    pub(super) fn with_room(
        &mut self,
        key: &TierKey,
        members: &BTreeSet<ResourceKey>,
        wanted: BTreeMap<ResourceKey, Version>,
        moved: &mut BTreeSet<TierKey>,
    ) -> BTreeMap<ResourceKey, Version> {
        let mut places = self.places(key, members);
        let mut within = BTreeMap::new();
        for (name, version) in wanted {
            let size = bytes_of(&version.stored.policy);
            match places.refusal(self.room, key, &name, size) {
                Some(refusal) => self.refuse(&name, key, vec![refusal], moved),
                None => {
                    places.0.insert(name.clone(), size);
                    within.insert(name, version);
                }
            }
        }
        within
    }

    /// Why a tier has no room for a policy.
    pub(super) fn no_room(&self, key: &TierKey, policy: &AuthorizationPolicy) -> Option<Refusal> {
        let members = self.members.get(key).cloned().unwrap_or_default();
        let refusal = self.places(key, &members).refusal(self.room, key, &policy.key, bytes_of(policy));
        refusal.map(|refusal| refusal.of(&policy.key))
    }

    fn places(&self, key: &TierKey, members: &BTreeSet<ResourceKey>) -> Places {
        let place = |name: &ResourceKey| match self.resources.get(name)?.fallback_in(key) {
            Fallback::Good(good) => Some((name.clone(), bytes_of(&good.stored.policy))),
            Fallback::Elsewhere | Fallback::Broken | Fallback::Lost => None,
        };
        Places(members.iter().filter_map(place).collect())
    }
}

fn bytes_of(policy: &AuthorizationPolicy) -> usize {
    policy.modules.iter().map(|module| module.path.len() + module.content.len()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        compile::{
            Standing,
            tests::{gone, object, policies, set},
        },
        source::Change,
    };

    fn policy(name: &str, number: &str) -> Change {
        set(&format!("team-a/{name}:namespace"), &[("a.rego", &text(name, number))])
    }

    fn text(name: &str, number: &str) -> String {
        format!("package authbridge.ns.{name}\n\nx := {number}\n")
    }

    fn refused(policies: &Policies) -> Vec<String> {
        let named = |refusal: Refusal| format!("{} {}", refusal.resource.unwrap().name, refusal.code);
        policies.refusals().into_iter().map(named).collect()
    }

    fn is_newest(policies: &Policies, name: &str) -> bool {
        let verdict = policies.verdict(&ResourceKey::new("team-a", name)).unwrap();
        matches!(verdict.standing, Standing::Newest { .. })
    }

    #[test]
    fn refuses_more_resources_and_none_that_stood() {
        let mut policies = policies();
        policies.apply(&[policy("m", "1"), policy("n", "1")]);
        policies.room.resources = 2;
        policies.apply(&[policy("a", "1")]);
        assert_eq!(refused(&policies), ["a tier_size"]);
        policies.apply(&[policy("m", "22")]);
        assert!(is_newest(&policies, "m"), "what stood may change");
        assert_eq!(refused(&policies), ["a tier_size"]);
        policies.room.resources = 1;
        policies.apply(&[policy("n", "22")]);
        assert!(is_newest(&policies, "m") && is_newest(&policies, "n"));
        policies.apply(&[gone("team-a", "m"), gone("team-a", "n")]);
        assert_eq!((refused(&policies), is_newest(&policies, "a")), (Vec::new(), true));
    }

    #[test]
    fn refuses_more_bytes_and_none_that_stood() {
        let mut policies = policies();
        policies.apply(&[policy("m", "1"), policy("n", "1")]);
        policies.room.bytes = 2 * ("a.rego".len() + text("m", "22").len());
        policies.apply(&[policy("m", "22"), policy("n", "333")]);
        assert_eq!(refused(&policies), ["n tier_size"], "one of the two fits");
        assert!(is_newest(&policies, "m"));
        policies.apply(&[policy("n", "22")]);
        assert_eq!(refused(&policies), Vec::<String>::new());
        policies.room.bytes = 1;
        policies.apply(&[policy("m", "1")]);
        assert!(is_newest(&policies, "m"), "what becomes smaller is no burden");
        policies.apply(&[policy("m", "22")]);
        assert_eq!(refused(&policies), ["m tier_size"]);
    }

    #[test]
    fn a_preview_says_that_there_is_no_room() {
        let mut policies = policies();
        policies.apply(&[policy("m", "1")]);
        policies.room.resources = 1;
        let judge = |name: &str| {
            let object = object(&format!("team-a/{name}:namespace"), &[("a.rego", &text(name, "22"))]);
            policies.preview(object).judge()
        };
        assert_eq!(judge("m"), []);
        assert_eq!(judge("n")[0].code, "tier_size");
    }
}
