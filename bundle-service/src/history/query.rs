//! Looking back: what was in force in a tier, of a resource, for an identity, and what a version said.

use std::{collections::BTreeMap, sync::Arc};

use super::{History, HistoryError, Member, Published, segment::Contents};
use crate::{
    compile::resource::StoredVersion,
    digest::Digest,
    policy::{AuthorizationPolicy, ResourceKey},
    tiers::TierKey,
};

/// The fewest digits by which a version or a revision is named.
pub(crate) const LEAST_DIGITS: usize = 6;

/// Why something of the past cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    /// The history cannot be read.
    #[error(transparent)]
    History(#[from] HistoryError),
    /// Nothing is kept under that name.
    #[error("{0} is not in the history; `secctl bundle history` lists what is kept")]
    Unknown(String),
    /// Several are kept under that name.
    #[error("`{0}` names several versions; give more of its digits")]
    Ambiguous(String),
    /// It was not in force: its tier denied.
    #[error("{0}")]
    Denied(String),
}

impl History {
    fn contents(&self, namespace: &str) -> Result<Contents, HistoryError> {
        let path = self.folder.join(format!("{namespace}.jsonl"));
        match self.segments.get(namespace) {
            Some(segment) => segment.read().map_err(|source| HistoryError::Io { path, source }),
            None => Ok(Contents::default()),
        }
    }

    /// What came into force in a tier, the oldest first.
    ///
    /// # Errors
    /// When the history cannot be read.
    pub fn of_tier(&self, tier: &TierKey) -> Result<Vec<Published>, HistoryError> {
        let mut published = self.contents(self.namespace(tier))?.published;
        published.retain(|published| published.tier == *tier);
        Ok(published)
    }

    /// When the version of a resource changed that was in force, or its tier denied, the oldest first. Of each tier only
    /// this resource is told; none means that it was no longer there.
    ///
    /// # Errors
    /// When the history cannot be read.
    pub fn of_resource(&self, key: &ResourceKey) -> Result<Vec<Published>, HistoryError> {
        let mut last: BTreeMap<TierKey, Option<(Digest, bool)>> = BTreeMap::new();
        let mut changes = Vec::new();
        for mut published in self.contents(&key.namespace)?.published {
            published.members.retain(|member| member.resource == *key);
            // The same version is in force no more when its tier denies.
            let denied = published.denied.is_some();
            let now = published.members.first().map(|member| (member.version, denied));
            if last.insert(published.tier.clone(), now).flatten() != now {
                changes.push(published);
            }
        }
        Ok(changes)
    }

    /// A version of a resource, by the first digits of what identifies it.
    ///
    /// # Errors
    /// When no version has them, or several do.
    pub fn version(&self, key: &ResourceKey, digits: &str) -> Result<StoredVersion, QueryError> {
        let name = || format!("version `{digits}` of {key}");
        if digits.len() < LEAST_DIGITS {
            return Err(QueryError::Unknown(format!("{} (at least {LEAST_DIGITS} digits)", name())));
        }
        let contents = self.contents(&key.namespace)?;
        let fits = |policy: &&Arc<AuthorizationPolicy>| policy.key == *key;
        let mut found = contents
            .policies
            .iter()
            .filter(|(hash, policy)| fits(policy) && hash.to_string().starts_with(digits));
        let (hash, policy) = found.next().ok_or_else(|| QueryError::Unknown(name()))?;
        if found.next().is_some() {
            return Err(QueryError::Ambiguous(digits.to_owned()));
        }
        let place = contents.published.iter().rev().find_map(|published| {
            let member = published.members.iter().find(|member| member.version == *hash)?;
            Some((published.tier.clone(), member.clone()))
        });
        let (tier, Member { origin, commit, .. }) = place.ok_or_else(|| QueryError::Unknown(name()))?;
        Ok(StoredVersion { tier, policy: Arc::clone(policy), hash: *hash, origin, commit })
    }

    /// What was in force in a tier by its publication of a number.
    ///
    /// # Errors
    /// When that, or something that was in it, is not kept.
    pub fn publication(&self, tier: &TierKey, number: u64) -> Result<Vec<StoredVersion>, QueryError> {
        let contents = self.contents(self.namespace(tier))?;
        let unknown = || QueryError::Unknown(format!("publication {number} of {tier}"));
        let wanted = |published: &&Published| published.tier == *tier && published.number == number;
        let published = contents.published.iter().find(wanted).ok_or_else(unknown)?;
        let version = |member: &Member| {
            let policy = contents.policies.get(&member.version).ok_or_else(unknown)?;
            let (tier, policy) = (tier.clone(), Arc::clone(policy));
            let Member { version: hash, origin, commit, .. } = member.clone();
            Ok(StoredVersion { tier, policy, hash, origin, commit })
        };
        published.members.iter().map(version).collect()
    }

    /// Why a tier denied everything by its publication of a number; `None` when it did not, or that is not kept.
    ///
    /// # Errors
    /// When the history cannot be read.
    pub fn denial(&self, tier: &TierKey, number: u64) -> Result<Option<String>, HistoryError> {
        let mut all = self.of_tier(tier)?.into_iter();
        Ok(all.find(|published| published.number == number).and_then(|published| published.denied))
    }

    /// As [`History::publication`], for who wants to go back to it. What is listed of one that denied was not in force.
    ///
    /// # Errors
    /// When it is not kept, or denied.
    pub fn standing(&self, tier: &TierKey, number: u64) -> Result<Vec<StoredVersion>, QueryError> {
        let all = self.of_tier(tier)?;
        if !all.iter().any(|published| published.number == number && published.denied.is_some()) {
            return self.publication(tier, number);
        }
        let standing = all.iter().filter(|published| published.denied.is_none());
        let nearest = standing.map(|published| published.number).min_by_key(|other| other.abs_diff(number));
        let instead = match nearest {
            Some(nearest) => format!("the nearest that did not is {nearest}"),
            None => "none is kept that did not".to_owned(),
        };
        let message =
            format!("by publication {number} {tier} denied everything, and nothing in it was in force");
        Err(QueryError::Denied(format!("{message}; {instead}")))
    }
}
