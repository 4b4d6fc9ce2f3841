//! The revisions of an identity's bundle while its tiers stay the same: one, or where bundles end one for each end.

use std::time::{Duration, SystemTime};

use super::{
    bundle::{Bundle, Owner},
    freshness,
};
use crate::digest::Digest;

/// In how many ends a revision is looked for, the latest first: years of them, unless bundles end after minutes.
const MOST_ENDS: usize = 20_000;

/// Whose bundle it is, and what is in it.
#[derive(Debug, Clone)]
pub(crate) struct Revisions {
    pub(super) owner: Owner,
    /// What identifies the tiers together.
    pub(super) tiers: Digest,
    pub(super) lifetime: Option<Duration>,
}

impl Revisions {
    /// What identifies the bundle but for its end: its revision, where bundles do not end.
    pub(crate) fn content(&self) -> Digest {
        self.owner.revision(self.tiers, None)
    }

    /// The revision of the bundle that is made at a moment, and its end; `None` where bundles do not end.
    pub(crate) fn made_at(&self, now: SystemTime) -> Option<(Digest, u64)> {
        let end = freshness::not_after(&self.tiers, self.lifetime?, now);
        Some((self.owner.revision(self.tiers, Some(end)), end))
    }

    /// The revision of a bundle and its end; `None` when it is none of these, or where bundles do not end.
    pub(crate) fn of_bundle(&self, bundle: &Bundle) -> Option<(Digest, u64)> {
        let end = bundle.not_after()?;
        let revision = self.owner.revision(self.tiers, Some(end));
        (revision.to_string() == bundle.revision()).then_some((revision, end))
    }

    /// The end of the bundle whose revision begins with these digits, of those that were made between two moments.
    pub(crate) fn end_of(&self, digits: &str, from: SystemTime, until: SystemTime) -> Option<u64> {
        let mut ends = freshness::ends(self.tiers, self.lifetime?, from, until).take(MOST_ENDS);
        ends.find(|end| self.owner.revision(self.tiers, Some(*end)).to_string().starts_with(digits))
    }
}
