//! What administrators choose of resources instead of their newest versions: all that is chosen together, or nothing.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    policies::{Policies, touch},
    resource::{Pin, StoredVersion, Version},
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
        let mut before = Vec::new();
        let mut after = Vec::new();
        for (key, choice) in choices {
            let unknown = || vec![Refusal::new("unknown", "there is no such resource").of(key)];
            let resource = self.resources.get(key).ok_or_else(unknown)?;
            let of = resource.state;
            let pin = |to| Pin { to, of, by: by.to_owned() };
            before.push((key.clone(), resource.pin.clone(), resource.refusals.clone()));
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
            after.push((key.clone(), pin));
        }
        let touched = self.repin(after, by);
        let refused: Vec<Refusal> =
            choices.iter().flat_map(|(key, choice)| self.unmet(key, choice)).collect();
        if refused.is_empty() {
            return Ok(touched);
        }
        let pins = before.iter().map(|(key, pin, _)| (key.clone(), pin.clone())).collect();
        self.repin(pins, "taken back, as it cannot be");
        for (key, _, refusals) in before {
            if let Some(resource) = self.resources.get_mut(&key).filter(|resource| !resource.accepted) {
                resource.refusals = refusals;
            }
        }
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
            // What stood by the choice before says nothing of what is wanted now.
            resource.accepted = false;
            resource.chosen_refusals.clear();
            self.enlist(&key, resource, &cause, &mut touched);
        }
        self.rebuild_all(touched)
    }

    /// What an administrator has chosen of a resource instead of its newest version.
    #[must_use]
    pub fn pin(&self, key: &ResourceKey) -> Option<Pin<StoredVersion>> {
        let Pin { to, of, by } = self.resources.get(key)?.pin.as_ref()?;
        let to = to.as_ref().map(|version| version.stored.clone());
        Some(Pin { to, of: *of, by: by.clone() })
    }
}
