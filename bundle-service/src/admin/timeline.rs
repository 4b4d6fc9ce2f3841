//! What an identity had when: what came into force in its tiers, and the revisions of its bundle from then on.
//!
//! Bundles that end are made anew again and again, and each has a revision of its own. What was decided is the same in
//! all of them: it is named by what they have in common, and each of their revisions leads to it too.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use secplane_identity::SpiffeId;

use super::{
    AdminFailure,
    wire::{HistoryEntry, ServedRevision},
};
use crate::{
    catalog::State,
    compile::{Bundle, revisions::Revisions},
    digest::Digest,
    history::{History, Published, query::LEAST_DIGITS},
    tiers::TierKey,
};

/// What came into force in one of the tiers of an identity.
pub(super) struct Moment {
    published: Published,
    /// Of the bundle from then on; none when too little is kept to tell.
    revisions: Option<Revisions>,
    /// Just before something else came into force, or now.
    until: SystemTime,
    /// The bundle that is served now. Bundles get a new end only now and then, so it may be an earlier one than would be
    /// made at this moment.
    served: Option<Arc<Bundle>>,
}

/// What was in force in each tier of an identity at some time, and the end of its bundle if a revision named that.
pub(super) struct Point {
    pub(super) tiers: BTreeMap<TierKey, Published>,
    pub(super) not_after: Option<u64>,
}

/// How digits name what an identity had.
enum Name {
    Content,
    Bundle { not_after: u64 },
}

/// Everything that came into force for an identity, the oldest first.
pub(super) fn of_identity(
    state: &State,
    history: &History,
    id: &SpiffeId,
    now: SystemTime,
) -> Result<Vec<Moment>, AdminFailure> {
    let mut published = Vec::new();
    for tier in state.policies.tier_keys_of(id) {
        published.extend(history.of_tier(&tier)?);
    }
    published.sort_by_key(|published| published.at);
    // A tier of which the first publication is kept had nothing before it; of another nobody knows.
    let mut tiers: BTreeMap<TierKey, Option<Digest>> = BTreeMap::new();
    let mut unknown: BTreeSet<TierKey> = BTreeSet::new();
    for first in published.iter().rev() {
        if first.number == 1 {
            unknown.remove(&first.tier)
        } else {
            unknown.insert(first.tier.clone())
        };
    }
    let mut moments: Vec<Moment> = Vec::new();
    for published in published {
        unknown.remove(&published.tier);
        tiers.insert(published.tier.clone(), published.digest);
        if let Some(before) = moments.last_mut() {
            // That is recorded in whole seconds, and the last bundle was made before it.
            before.until = instant(published.at.saturating_sub(1)).max(before.began());
        }
        let revisions = unknown.is_empty().then(|| state.policies.revisions_of(id, &tiers));
        let until = now.max(instant(published.at));
        moments.push(Moment { published, revisions, until, served: None });
    }
    Ok(moments)
}

/// What an identity had when its bundle had a revision, the last time that it had.
pub(super) fn at(
    state: &State,
    history: &History,
    id: &SpiffeId,
    revision: &str,
    now: SystemTime,
) -> Result<Point, AdminFailure> {
    let unknown = || {
        AdminFailure::NotFound(format!("no bundle of {id} with the revision `{revision}` is in the history"))
    };
    if revision.len() < LEAST_DIGITS {
        return Err(unknown());
    }
    let moments = of_identity(state, history, id, now)?;
    let mut latest_first = moments.iter().enumerate().rev();
    let named = latest_first.find_map(|(index, moment)| Some((index, moment.named(revision)?)));
    let (last, name) = named.ok_or_else(unknown)?;
    let until_then = moments.into_iter().take(last + 1).map(|moment| moment.published);
    let not_after = match name {
        Name::Content => None,
        Name::Bundle { not_after } => Some(not_after),
    };
    Ok(Point { tiers: until_then.map(|published| (published.tier.clone(), published)).collect(), not_after })
}

impl Moment {
    /// Says which bundle is served now; `None` when nobody has asked for one.
    pub(super) fn serving(&mut self, bundle: Option<Arc<Bundle>>) {
        self.served = bundle;
    }

    pub(super) fn entry(self) -> HistoryEntry {
        let revision = self.revisions.as_ref().map(Revisions::content);
        let served = self.revisions.as_ref().and_then(|revisions| match &self.served {
            Some(bundle) => revisions.of_bundle(bundle),
            None => revisions.made_at(self.until),
        });
        let served = served.map(|(revision, not_after)| ServedRevision { revision, not_after });
        HistoryEntry { published: self.published, revision, served }
    }

    fn named(&self, digits: &str) -> Option<Name> {
        let revisions = self.revisions.as_ref()?;
        if revisions.content().to_string().starts_with(digits) {
            return Some(Name::Content);
        }
        let until = self.until.checked_add(Duration::from_secs(1)).unwrap_or(self.until);
        let not_after = revisions.end_of(digits, self.began(), until)?;
        Some(Name::Bundle { not_after })
    }

    fn began(&self) -> SystemTime {
        instant(self.published.at)
    }
}

/// A moment of the history, which counts seconds since 1970.
fn instant(seconds: u64) -> SystemTime {
    UNIX_EPOCH.checked_add(Duration::from_secs(seconds)).unwrap_or(UNIX_EPOCH)
}
