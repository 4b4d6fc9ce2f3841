//! One resource: its newest version, the last one that stood, and the one that an administrator chose instead.

use std::sync::Arc;

use secplane_rego::Gate;

use super::{outside::Outside, parts::Parts, tier::warnings_of};
use crate::{
    digest::Digest,
    policy::{AuthorizationPolicy, ResourceKey},
    refusal::Refusal,
    tiers::{TierKey, TierKind},
};

/// A version of a resource, as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredVersion {
    /// The tier that it belongs to.
    pub tier: TierKey,
    /// Its fields.
    pub policy: Arc<AuthorizationPolicy>,
    /// What identifies it.
    pub hash: Digest,
    /// Where it was read: a file of a source.
    pub origin: Arc<str>,
    /// The commit that the file was first read in, where its source has commits.
    pub commit: Option<Arc<str>>,
}

/// A version that compiles by itself.
#[derive(Debug, Clone)]
pub(crate) struct Version {
    pub(crate) stored: StoredVersion,
    pub(crate) parts: Arc<Parts>,
}

impl Version {
    pub(crate) fn read(gate: Gate, stored: StoredVersion) -> Result<Self, Vec<Refusal>> {
        let parts = Arc::new(Parts::read(gate, &stored.policy, stored.tier.kind())?);
        Ok(Self { stored, parts })
    }

    pub(crate) fn tier(&self) -> &TierKey {
        &self.stored.tier
    }
}

/// An administrator's choice of a version, which stands until it is released or the resource changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pin<V> {
    /// The version; `None` leaves the resource out of its tier.
    pub to: Option<V>,
    /// What the resource was when the choice was made.
    pub of: Digest,
    /// Who chose, and why.
    pub by: String,
}

/// What is kept of a resource from before a start.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RememberedResource {
    /// The version that was in force.
    pub good: Option<StoredVersion>,
    /// The administrator's choice.
    pub pin: Option<Pin<StoredVersion>>,
}

#[derive(Debug, Clone)]
pub(super) struct Resource {
    pub(super) file: Arc<str>,
    /// As its source counts.
    pub(super) generation: Option<i64>,
    /// What it is now; of an invalid one, what is wrong with it.
    pub(super) state: Digest,
    /// The tier that its newest version belongs to; `None` when it belongs to none.
    pub(super) tier: Option<TierKey>,
    /// Its newest version, if that compiles by itself.
    pub(super) newest: Option<Version>,
    /// Its newest version, if that would compile by itself but for what it reaches outside its tier.
    pub(super) outside: Option<Arc<Outside>>,
    /// Whether the version that it should have stands in its tier.
    pub(super) accepted: bool,
    /// The last version that stood in a tier.
    pub(super) good: Option<Version>,
    pub(super) pin: Option<Pin<Version>>,
    /// The tier in which something of it stood before the start, or was chosen to, that is not accepted any more. Without it
    /// the tier would be another one, so it denies until something of the resource stands, or an administrator chooses.
    pub(super) lost: Option<TierKey>,
    /// What is wrong with the newest version.
    pub(super) refusals: Vec<Refusal>,
    /// What is wrong with the version that an administrator chose instead.
    pub(super) chosen_refusals: Vec<Refusal>,
    /// What its author should look at in the modules of the newest version, although they take effect. Unknown until they
    /// have passed the gate: the engine that finds some of it reads nothing else.
    pub(super) advice: Option<Vec<Refusal>>,
    /// What its author should know besides.
    pub(super) warnings: Vec<Refusal>,
}

pub(super) enum Fallback {
    /// It has no part in this tier: its last good version stands in another, or it was left out on purpose.
    Elsewhere,
    /// It has no good version, and this tier is its own.
    Broken,
    /// What it had in this tier is not accepted any more.
    Lost,
    Good(Version),
}

impl Resource {
    /// The tiers that it may have a version in.
    pub(super) fn tiers(&self) -> impl Iterator<Item = &TierKey> {
        let good = self.good.as_ref().map(Version::tier);
        let pinned = self.pin.as_ref().and_then(|pin| pin.to.as_ref()).map(Version::tier);
        self.tier.iter().chain(good).chain(pinned).chain(&self.lost)
    }

    /// The version that it should have in a tier: the chosen one, or its newest.
    pub(super) fn wanted_in(&self, tier: &TierKey) -> Option<&Version> {
        let wanted = match &self.pin {
            Some(pin) => pin.to.as_ref(),
            None => self.newest.as_ref(),
        };
        wanted.filter(|version| version.tier() == tier)
    }

    /// The last version that stood in a tier, unless an administrator left it out since.
    pub(super) fn last_in(&self, tier: &TierKey) -> Option<&Version> {
        let is_left_out = self.pin.as_ref().is_some_and(|pin| pin.to.is_none());
        self.good.as_ref().filter(|good| !is_left_out && good.tier() == tier)
    }

    /// What stands for it in a tier where the version that it should have does not.
    pub(super) fn fallback_in(&self, tier: &TierKey) -> Fallback {
        if self.lost.as_ref() == Some(tier) {
            return Fallback::Lost;
        }
        if let Some(pin) = &self.pin
            && pin.to.as_ref().map(Version::tier) != Some(tier)
        {
            return Fallback::Elsewhere;
        }
        match &self.good {
            // It stands elsewhere, or is about to be tried there.
            Some(good) if good.tier() != tier => Fallback::Elsewhere,
            Some(_)
                if self.pin.is_none()
                    && self.newest.is_some()
                    && self.tier.as_ref() != Some(tier)
                    && self.refusals.is_empty() =>
            {
                Fallback::Elsewhere
            }
            Some(good) => Fallback::Good(good.clone()),
            None => Fallback::Broken,
        }
    }

    /// Finds what the author of the newest version should look at, now that it has passed the gate.
    pub(super) fn look_at_newest(&mut self) {
        if self.advice.is_none() {
            self.advice = self.newest.as_ref().map(|newest| warnings_of(&newest.parts.modules));
        }
    }

    /// What its author should look at, although it takes effect.
    pub(super) fn warnings(&self) -> impl Iterator<Item = &Refusal> {
        self.advice.iter().flatten().chain(&self.warnings)
    }

    /// What is wrong with the version that it should have: the chosen one, or its newest.
    pub(super) fn wanted_refusals(&self) -> &[Refusal] {
        if self.pin.is_some() { &self.chosen_refusals } else { &self.refusals }
    }

    pub(super) fn wanted_refusals_mut(&mut self) -> &mut Vec<Refusal> {
        if self.pin.is_some() { &mut self.chosen_refusals } else { &mut self.refusals }
    }

    /// Whether its newest version may not take effect, whatever an administrator chose instead.
    pub(super) fn is_refused(&self) -> bool {
        // That a chosen version stands says nothing of the newest.
        if self.pin.is_some() { !self.refusals.is_empty() } else { !self.accepted }
    }

    /// What a workload is told while the tier denies.
    pub(super) fn reason(&self, name: &ResourceKey, kind: TierKind) -> String {
        let first = self.wanted_refusals().first();
        let place = first.map(|refusal| match (&refusal.path, refusal.line) {
            (Some(path), 0) => format!("{path}: "),
            (Some(path), line) => format!("{path}:{line}: "),
            (None, _) => String::new(),
        });
        format!(
            "the {kind} policy {name} is not usable and denies until it is corrected: {}{}",
            place.unwrap_or_default(),
            first.map(|refusal| refusal.message.as_str()).unwrap_or_default(),
        )
    }

    /// What an administrator chose instead of the newest version, for its author to know.
    pub(super) fn pinned(&self, name: &ResourceKey) -> Option<Refusal> {
        let pin = self.pin.as_ref()?;
        let newest = pin.of;
        let what = match &pin.to {
            // A tier that is rolled back has resources that did not change since.
            Some(version) if version.stored.hash == newest => {
                format!("the newest version, {newest:.12}, was chosen")
            }
            Some(version) => {
                format!("version {:.12} was chosen instead of the newest, {newest:.12}", version.stored.hash)
            }
            None => format!("the resource was left out of its tier, with its newest version, {newest:.12}"),
        };
        let message = format!("{what}: {}", pin.by);
        let advice = format!(
            "release it with `secctl bundle release --resource {name} --reason TEXT`, or change the resource"
        );
        Some(Refusal::new("pinned", message).of(name).warning().suggest(advice))
    }

    /// All that its author should know, each with the file that it is about.
    pub(super) fn findings(&self, name: &ResourceKey) -> Vec<Refusal> {
        let all = self.refusals.iter().chain(&self.chosen_refusals).chain(self.warnings()).cloned();
        let all = all.chain(self.pinned(name));
        let file = |refusal: Refusal| Refusal {
            file: Some(refusal.file.clone().unwrap_or_else(|| self.file.to_string())),
            ..refusal
        };
        all.map(file).collect()
    }
}
