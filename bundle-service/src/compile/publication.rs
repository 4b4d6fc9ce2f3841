//! What came into force in a tier, when it did: the material of its history.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::resource::StoredVersion;
use crate::{digest::Digest, policy::ResourceKey, policy_tests::TestSummary, tiers::TierKey};

/// The most causes that are told of one publication.
const MAX_CAUSES: usize = 20;

/// Tests that passed, which need not be run again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PassedTests {
    /// What identifies all that went into them.
    pub content: Digest,
    /// What they came to.
    pub summary: TestSummary,
}

/// A tier, as it came into force by a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Publication {
    /// The tier.
    pub tier: TierKey,
    /// What identifies its content; `None` when no resource is left in it.
    pub digest: Option<Digest>,
    /// Why it denies, when it is broken. Its members are then the last that stood.
    pub denied: Option<String>,
    /// The versions in force.
    pub members: Vec<StoredVersion>,
    /// The tests that it passed, if it has some.
    pub tests: Option<PassedTests>,
    /// What led to it.
    pub causes: Vec<String>,
}

/// What is worth remembering, in the order in which it happened.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Journal {
    /// What came into force.
    pub publications: Vec<Publication>,
    /// Resources for which an administrator's choice ended because they changed or went.
    pub released: Vec<ResourceKey>,
}

/// Why a tier is rebuilt, each reason once.
#[derive(Debug, Clone, Default)]
pub(super) struct Causes {
    told: BTreeSet<String>,
    more: usize,
}

impl Causes {
    pub(super) fn add(&mut self, cause: &str) {
        if self.told.contains(cause) {
            return;
        }
        if self.told.len() == MAX_CAUSES {
            self.more += 1;
        } else {
            self.told.insert(cause.to_owned());
        }
    }

    pub(super) fn list(self) -> Vec<String> {
        let more = (self.more > 0).then(|| format!("and {} more", self.more));
        self.told.into_iter().chain(more).collect()
    }
}
