//! What administrators choose of resources instead of their newest versions: all that is chosen together, or nothing.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::{
    policies::{Policies, PublishedTier, touch},
    publication::Journal,
    resource::{Pin, Resource, StoredVersion, Version},
    tier::Tier,
};
use crate::{policy::ResourceKey, refusal::Refusal, tiers::TierKey};

/// What an administrator wants of a resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Choice {
    /// This version.
    Version(StoredVersion),
    /// Nothing of it in its tier.
    LeftOut,
    /// Whatever is newest, as without a choice.
    Newest,
}

impl Policies {
    /// Makes choices of an administrator, all of them or none. They stand until they are changed or the resource is.
    ///
    /// # Errors
    /// When there is no such resource, or the versions do not stand in their tiers today; then nothing has changed.
    pub fn choose(
        &mut self,
        choices: &[(ResourceKey, Choice)],
        by: &str,
    ) -> Result<BTreeSet<TierKey>, Vec<Refusal>> {
        let mut pins = Vec::new();
        for (key, choice) in choices {
            let unknown = || vec![Refusal::new("unknown", "there is no such resource").of(key)];
            let resource = self.resources.get(key).ok_or_else(unknown)?;
            let of = resource.state;
            let pin = |to| Pin { to, of, by: by.to_owned() };
            let pin = match choice {
                Choice::Newest => None,
                Choice::LeftOut => Some(pin(None)),
                Choice::Version(version) if self.is_still_in_its_tier(version) => {
                    Some(pin(Some(Version::read(self.settings.gate, version.clone())?)))
                }
                Choice::Version(version) => {
                    let message =
                        format!("version {:.12} may not be in the tier {}", version.hash, version.tier);
                    return Err(vec![Refusal::new("scope", message).of(key)]);
                }
            };
            pins.push((key.clone(), pin));
        }
        let before = Before::of(self);
        let touched = self.repin(pins, by);
        let refused: Vec<Refusal> =
            choices.iter().flat_map(|(key, choice)| self.unmet(key, choice)).collect();
        if refused.is_empty() {
            return Ok(touched);
        }
        before.restore(self);
        Err(refused)
    }

    /// Why a choice has not come about.
    fn unmet(&self, key: &ResourceKey, choice: &Choice) -> Vec<Refusal> {
        let Choice::Version(version) = choice else { return Vec::new() };
        let Some(resource) = self.resources.get(key) else { return Vec::new() };
        let stands = resource.good.as_ref().is_some_and(|good| good.stored.hash == version.hash);
        if resource.accepted && stands { Vec::new() } else { resource.chosen_refusals.clone() }
    }

    fn repin(&mut self, pins: Vec<(ResourceKey, Option<Pin<Version>>)>, by: &str) -> BTreeSet<TierKey> {
        let mut touched = BTreeMap::new();
        for (key, pin) in pins {
            let Some(mut resource) = self.resources.remove(&key) else { continue };
            let cause = match pin.as_ref().map(|pin| &pin.to) {
                Some(Some(version)) => format!("{key} rolled back to {:.12}: {by}", version.stored.hash),
                Some(None) => format!("{key} left out: {by}"),
                None => format!("{key} released: {by}"),
            };
            touch(&mut touched, resource.tiers().cloned(), &cause);
            resource.pin = pin;
            resource.lost = None;
            // What stood by the choice before says nothing of what is wanted now.
            resource.accepted = false;
            resource.chosen_refusals.clear();
            self.enlist(&key, resource, &cause, &mut touched);
        }
        // What tenants took before is not to keep an administrator from anything.
        touched.keys().for_each(|tier| self.shares.forget(tier.namespace()));
        self.rebuild_all(touched)
    }

    /// What an administrator has chosen of a resource instead of its newest version.
    #[must_use]
    pub fn pin(&self, key: &ResourceKey) -> Option<Pin<StoredVersion>> {
        let Pin { to, of, by } = self.resources.get(key)?.pin.as_ref()?;
        let to = to.as_ref().map(|version| version.stored.clone());
        Some(Pin { to, of: *of, by: by.clone() })
    }

    /// A tier beside this one that a resource has, or could have, a version in.
    pub(crate) fn other_tier(&self, key: &ResourceKey, tier: &TierKey) -> Option<&TierKey> {
        self.resources.get(key)?.tiers().find(|other| *other != tier)
    }
}

/// All that a choice can change, as it was. Taking the pins back would not do: what stood for a moment beside the one that
/// was refused would count as the last good version from then on, also of resources that nobody chose anything of.
///
/// Contents are shared, so that this copies names. An administrator chooses seldom.
struct Before {
    resources: BTreeMap<ResourceKey, Resource>,
    members: BTreeMap<TierKey, BTreeSet<ResourceKey>>,
    tiers: BTreeMap<TierKey, Arc<Tier>>,
    global: Arc<Tier>,
    published: BTreeMap<TierKey, PublishedTier>,
    untested: BTreeSet<TierKey>,
    journal: Journal,
}

impl Before {
    fn of(policies: &Policies) -> Self {
        Self {
            resources: policies.resources.clone(),
            members: policies.members.clone(),
            tiers: policies.tiers.clone(),
            global: Arc::clone(&policies.global),
            published: policies.published.clone(),
            untested: policies.untested.clone(),
            journal: policies.journal.clone(),
        }
    }

    fn restore(self, policies: &mut Policies) {
        let Self { resources, members, tiers, global, published, untested, journal } = self;
        policies.resources = resources;
        policies.members = members;
        policies.tiers = tiers;
        policies.global = global;
        policies.published = published;
        policies.untested = untested;
        policies.journal = journal;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        compile::{
            Standing,
            policies::Remembered,
            resource::RememberedResource,
            tests::{id, object, policies, set},
        },
        digest::Digest,
        source::Change,
    };

    const BY: &str = "user 0: test";
    const BROKEN: &str = "package authbridge.ns.inbound.request\n\nallow if {\n";
    const FUNCTION: &str = "package authbridge.ns.lib\n\nhelper(x) := x\n";
    const VALUE: &str = "package authbridge.ns.lib\n\nhelper := 1\n";
    const NOTHING: &str = "package authbridge.ns.nothing\n\nx := 1\n";

    fn key(name: &str) -> ResourceKey {
        ResourceKey::new("team-a", name)
    }

    fn apply(policies: &mut Policies, name: &str, content: &str) {
        policies.apply(&[set(&format!("team-a/{name}:namespace"), &[("a.rego", content)])]);
    }

    fn allow_if(number: u32) -> String {
        format!("package authbridge.ns.inbound.request\n\nallow if input.n == {number}\n")
    }

    fn with_default(rule: &str) -> String {
        format!("{rule}\ndefault allow := false\n")
    }

    /// The version of a resource that stands.
    fn good(policies: &Policies, name: &str) -> StoredVersion {
        policies.resources[&key(name)].good.as_ref().unwrap().stored.clone()
    }

    /// `p` and `q`, each with an earlier version to go back to: that of `p` fits today, that of `q` clashes with `r`,
    /// which came later.
    fn fitting_and_clashing(newest_of_p: &str) -> (Policies, Vec<(ResourceKey, Choice)>) {
        let mut policies = policies();
        apply(&mut policies, "p", &allow_if(1));
        apply(&mut policies, "q", FUNCTION);
        let earlier = ["p", "q"].map(|name| (key(name), Choice::Version(good(&policies, name))));
        apply(&mut policies, "p", newest_of_p);
        apply(&mut policies, "q", NOTHING);
        apply(&mut policies, "r", VALUE);
        (policies, earlier.to_vec())
    }

    /// Has a choice refused, and sees that nothing came of it, neither now nor in the history.
    fn refuses_all_of_it(policies: &mut Policies, choices: &[(ResourceKey, Choice)]) {
        let state = |policies: &mut Policies| {
            let verdicts = ["p", "q", "r", "s"].map(|name| policies.verdict(&key(name)));
            (verdicts, policies.bundle(&id("team-a", "agent")).unwrap().revision())
        };
        policies.take_journal();
        let before = state(policies);
        let refused = policies.choose(choices, BY).unwrap_err();
        assert!(refused.iter().any(|refusal| refusal.resource == Some(key("q"))), "{refused:?}");
        assert_eq!(state(policies), before);
        assert_eq!(policies.take_journal(), Journal::default());
        assert!(choices.iter().all(|(key, _)| policies.pin(key).is_none()));
    }

    #[test]
    fn a_refused_choice_leaves_the_last_good_version_of_a_broken_policy() {
        let (mut policies, choices) = fitting_and_clashing(&allow_if(2));
        apply(&mut policies, "p", BROKEN);
        let last = good(&policies, "p");
        refuses_all_of_it(&mut policies, &choices);
        assert_eq!(good(&policies, "p"), last);
    }

    #[test]
    fn a_refused_choice_makes_no_room_for_others() {
        let (mut policies, choices) = fitting_and_clashing(&with_default(&allow_if(2)));
        apply(&mut policies, "s", &allow_if(3));
        apply(&mut policies, "s", &with_default(&allow_if(4)));
        let last = good(&policies, "s");
        refuses_all_of_it(&mut policies, &choices);
        assert_eq!(good(&policies, "s"), last);
    }

    /// What an administrator went back from does not come into force by an upgrade, and what it denied is denied.
    #[test]
    fn a_choice_that_is_not_accepted_any_more_denies() {
        let stored = |text: &str| {
            let policy = object("team-a/p:namespace", &[("a.rego", text)]).policy.unwrap();
            let (tier, hash) = (TierKey::Namespace("team-a".to_owned()), policy.version());
            StoredVersion { tier, policy, hash, origin: "a.yaml".into(), commit: None }
        };
        let of = stored(&allow_if(2)).hash;
        let pin = Some(Pin { to: Some(stored(BROKEN)), of, by: BY.to_owned() });
        let resources = BTreeMap::from([(key("p"), RememberedResource { good: None, pin })]);
        let mut policies = policies();
        policies.restore(Remembered { resources, ..Remembered::default() });
        policies.take_in(&[set("team-a/p:namespace", &[("a.rego", &allow_if(2))])], &[]);
        let verdict = policies.verdict(&key("p")).unwrap();
        assert!(matches!(verdict.standing, Standing::Denied { .. }), "{:?}", verdict.standing);
        let told = verdict.warnings.iter().find(|warning| warning.code == "last_choice").unwrap();
        assert!(told.message.contains(BY), "{told}");
        policies.choose(&[(key("p"), Choice::Newest)], BY).unwrap();
        let verdict = policies.verdict(&key("p")).unwrap();
        assert!(matches!(verdict.standing, Standing::Newest { .. }), "{:?}", verdict.standing);
    }

    /// Earlier releases told the first fault alone, and knew the resource by it.
    #[test]
    fn a_choice_from_before_an_upgrade_holds_where_a_resource_has_several_faults() {
        let modules = [("a//b.rego", allow_if(1)), ("./c.rego", allow_if(2))];
        let modules = modules.each_ref().map(|(path, content)| (*path, content.as_str()));
        let invalid = object("team-a/p:namespace", &modules);
        let faults = invalid.policy.clone().unwrap_err();
        assert!(faults.len() > 1, "{faults:?}");
        let of = Digest::of(&[b"invalid", faults[0].message.as_bytes()]);
        let pin = Some(Pin { to: None, of, by: BY.to_owned() });
        let resources = BTreeMap::from([(key("p"), RememberedResource { good: None, pin })]);
        let mut policies = policies();
        policies.restore(Remembered { resources, ..Remembered::default() });
        policies.take_in(&[Change::Set(Arc::new(invalid))], &[]);
        assert_eq!(policies.take_journal().released, []);
    }

    /// Its denials would go with it, while what others allow stays.
    #[test]
    fn what_stood_and_is_not_accepted_any_more_denies_until_it_is_corrected() {
        let stored = |name: &str, text: &str| {
            let policy = object(&format!("team-a/{name}:namespace"), &[("a.rego", text)]).policy.unwrap();
            let (tier, hash) = (TierKey::Namespace("team-a".to_owned()), policy.version());
            StoredVersion { tier, policy, hash, origin: "a.yaml".into(), commit: None }
        };
        let good = |version: &StoredVersion| RememberedResource { good: Some(version.clone()), pin: None };
        let (p, q) = (stored("p", BROKEN), stored("q", &allow_if(2)));
        let resources = BTreeMap::from([(key("p"), good(&p)), (key("q"), good(&q))]);
        let stood = [(&key("p"), p.hash), (&key("q"), q.hash)];
        let tier = PublishedTier::of(Some(Digest::of(&[b"a tier"])), false, None, stood);
        let tiers = BTreeMap::from([(p.tier.clone(), tier)]);
        let mut policies = policies();
        policies.restore(Remembered { resources, tiers });
        let q = set("team-a/q:namespace", &[("a.rego", &allow_if(2))]);
        policies.take_in(&[set("team-a/p:namespace", &[("a.rego", BROKEN)]), q], &[]);
        for name in ["p", "q"] {
            let standing = policies.verdict(&key(name)).unwrap().standing;
            assert!(matches!(standing, Standing::Denied { .. }), "{name}: {standing:?}");
        }
        policies.apply(&[set("team-a/p:namespace", &[("a.rego", "package authbridge.ns.b\n\ny := 1\n")])]);
        for name in ["p", "q"] {
            let standing = policies.verdict(&key(name)).unwrap().standing;
            assert!(matches!(standing, Standing::Newest { .. }), "{name}: {standing:?}");
        }
    }

    #[test]
    fn makes_all_choices_that_fit_together() {
        let (mut policies, choices) = fitting_and_clashing(&allow_if(2));
        apply(&mut policies, "r", "package authbridge.ns.other\n\ny := 1\n");
        policies.choose(&choices, BY).unwrap();
        for (key, choice) in choices {
            assert_eq!(policies.pin(&key).and_then(|pin| pin.to).map(Choice::Version), Some(choice));
        }
    }
}
